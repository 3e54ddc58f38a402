"""TorchScript: the model traced or scripted, frozen, without debug files.

The archive holds the facts that a runtime needs of the model.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seatrial_contracts.compare import compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import in_batches, shape_key
from seatrial_contracts.judge import TRIAL_BATCH_SIZES, judge
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.manifest import Variant
from seatrial_export.formats.format import Made
from seatrial_export.gate.sizes import other_sizes
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.graphs.exporter_messages import first_lines, quiet
from seatrial_export.pipeline import Pipeline

FORMAT, GRAPH = "torchscript", "graphs/model.ts"
FACTS = "seatrial.json"
"""The file inside that names inputs, outputs and the words of categories."""
LEFT_OUT = (".debug_pkl", ".data/serialization_id")
"""Files inside that hold the source lines of the author's machine, or an id made anew each time."""
TEXTS = (".py", ".pkl")
KNOWN_TO_TORCH = frozenset({"aten", "prim", "prims", "quantized", "inductor"})
"""Namespaces of operators that torch registers by itself."""
MANGLED = re.compile(rb"___torch_mangle_(\d+)")
Call = Callable[[Mapping[str, Tensor]], dict[str, Array]]


class Ordered(nn.Module):
    """The model with its outputs as a tuple, in the contract's order."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.model = pipeline.sealed_model
        self._names = [tensor.name for tensor in pipeline.contract.answer_tensors]

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The model's own arguments."""
        answer = self.model(*arguments)
        if isinstance(answer, Tensor):
            return (answer,)
        return (
            tuple(answer[name] for name in self._names)
            if isinstance(answer, dict)
            else tuple(answer)
        )


def make(candidate: TorchCandidate) -> Made:
    """Trace the model; if a trace answers otherwise at other sizes, script it.

    Raises `GateError` where neither answers as the model does.
    """
    findings = []
    for way, compile_ in (("traced", traced), ("scripted", scripted)):
        try:
            with quiet(), torch.no_grad():
                module = torch.jit.freeze(compile_(candidate))
                finding = foreign_operators(module)
                if not finding:
                    data = packed(module, candidate)
                    finding = departure(candidate, caller(data, candidate))
        except Exception as error:  # TorchScript raises kinds of its own: this way is none
            finding = first_lines(error)
        if not finding:
            variant = Variant(
                name=FORMAT, format=FORMAT, graph=GRAPH, promise=candidate.pipeline.whole_promise
            )
            return Made(variant, data)
        findings.append(f"{way}: {finding}")
    raise GateError(
        "torchscript",
        "; ".join(findings)[:600],
        "leave --format torchscript out: the ONNX graph needs none of it",
    )


def foreign_operators(module: Any) -> str:
    """Which operators the module calls that torch alone does not have; empty where none."""
    listed: Any = torch.jit.export_opnames
    names = {name.partition("::")[0] for name in listed(module)}
    foreign = sorted(names - KNOWN_TO_TORCH)
    return f"operators of {', '.join(foreign)}, which a server does not know" * bool(foreign)


def traced(candidate: TorchCandidate) -> Any:
    """The path that the traced arguments took."""
    module = Ordered(candidate.pipeline).eval()
    trace: Any = torch.jit.trace
    return trace(module, candidate.model.arguments, strict=False, check_trace=False)


def scripted(candidate: TorchCandidate) -> Any:
    """The module's own code, where TorchScript can read it."""
    return torch.jit.script(candidate.pipeline.sealed_model.eval())


def packed(module: Any, candidate: TorchCandidate) -> bytes:
    """The module's bytes: the same for the same model, and without a trace of this machine."""
    sink = io.BytesIO()
    torch.jit.save(module, sink, _extra_files={FACTS: facts(candidate)})
    return stripped(sink.getvalue())


def facts(candidate: TorchCandidate) -> str:
    """Inputs in the order in which the module takes them, with each category's entries by code."""
    pipeline = candidate.pipeline
    specs = {spec.name: spec for spec in pipeline.specs}
    known = {
        name: {"entries": list(kind.lookup()), "unknown": kind.unknown_code}
        for name, kind in pipeline.categories.items()
    }
    return json.dumps(
        {
            "inputs": [[name, specs[name].dtype] for name in pipeline.arguments],
            "outputs": [tensor.name for tensor in pipeline.contract.answer_tensors],
            "categories": known,
        },
        sort_keys=True,
    )


def stripped(data: bytes) -> bytes:
    """Write the archive anew: no debug files, one time for every entry, types numbered from 0.

    TorchScript numbers the types of a process as they come, and keeps an id of the archive beside
    them; neither is a fact of the model.
    """
    sink = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as new,
    ):
        entries = {name: old.read(name) for name in old.namelist() if not name.endswith(LEFT_OUT)}
        numbers = sorted(
            {
                int(found)
                for name, held in entries.items()
                if name.endswith(TEXTS)
                for found in MANGLED.findall(name.encode() + held)
            }
        )
        renumbered: Callable[[re.Match[bytes]], bytes] = lambda found: (
            b"___torch_mangle_%d" % numbers.index(int(found[1]))
        )
        for name, held in entries.items():
            entry = zipfile.ZipInfo(
                MANGLED.sub(renumbered, name.encode()).decode(), (1980, 1, 1, 0, 0, 0)
            )
            new.writestr(entry, MANGLED.sub(renumbered, held) if name.endswith(TEXTS) else held)
    return sink.getvalue()


def caller(data: bytes, candidate: TorchCandidate) -> Call:
    """The packed module, as the gate asks it."""
    load: Any = torch.jit.load
    module, pipeline = load(io.BytesIO(data), map_location="cpu"), candidate.pipeline

    def call(feeds: Mapping[str, Tensor]) -> dict[str, Array]:
        answer = module(*(feeds[name] for name in pipeline.arguments))
        names = [tensor.name for tensor in pipeline.contract.answer_tensors]
        values = (answer,) if isinstance(answer, Tensor) else answer
        named = values if isinstance(values, dict) else dict(zip(names, values, strict=True))
        return {name: named[name].numpy() for name in names}

    return call


def departure(candidate: TorchCandidate, call: Call) -> str:
    """Describe where the TorchScript departs from the model.

    Compared are sizes other than the traced ones, and golden rows in batches.
    """
    pipeline, graph = candidate.pipeline, candidate.model
    for _, feeds in (
        other_sizes(graph) if any(graph.dim_names(spec) for spec in graph.specs) else ()
    ):
        try:
            want = {name: value.numpy() for name, value in pipeline.call(feeds).items()}
        except RuntimeError:
            # The model itself cannot take such sizes, and the gate refuses it: unless that is
            # waived, or `prepare` alone knows its sizes.
            continue
        near = pipeline.contract.arranged_batch(want, call(feeds))
        found = compare_outputs([want], [near], pipeline.tolerance)
        if not found.passed:
            return (
                f"at sizes { {name: list(value.shape) for name, value in feeds.items()} }, {found}"
            )
    rows = pipeline.encoded_golden
    shapes = [shape_key(pipeline.specs, pipeline.prepared(row)) for row in rows]
    for size in TRIAL_BATCH_SIZES if candidate.batchable else (1,):
        answers: list[dict[str, Array]] = [{}] * len(rows)
        for places in in_batches(shapes, size):
            outputs = call(pipeline.batch([rows[place] for place in places]))
            for index, place in enumerate(places):
                answers[place] = {name: array[index] for name, array in outputs.items()}
        judged = judge(pipeline.contract, pipeline.whole_promise, candidate.golden, answers)
        if judged.finding:
            return f"at batch size {size}: {judged.finding}"
        candidate.trials.append(judged.trial(FORMAT, FORMAT, "torch cpu", size))
    return ""
