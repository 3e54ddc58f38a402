"""The engine of one bundle: raw rows to the model's numbers, without a server.

The load gate, the server and parity all run this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from seatrial_contracts.answer_faults import NO_ROWS, OutputFault
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import BundleError, ModelError, OutOfMemory, Unavailable
from seatrial_contracts.host_stage import (
    NO_LENGTHS,
    EncodedRow,
    HostStage,
    Lengths,
    Part,
    collate_parts,
    in_batches,
)
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.manifest import ONNX, data_name
from seatrial_serve.inference.row_encoder import REMOTE_ANSWER, RowEncoder
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.onnx import load_kept
from seatrial_serve.runtimes.onnx.needs import check_needs
from seatrial_serve.runtimes.runtime import (
    Batches,
    LoadRuntime,
    Runtime,
    RuntimeOptions,
    no_batches,
)

Outputs = dict[str, Array]


class Answers(NamedTuple):
    """The answers of a batch for its rows from `start` to `stop`.

    A slice is `Answers` again.
    """

    outputs: Outputs
    start: int
    stop: int
    faults: Mapping[int, OutputFault] = NO_ROWS
    """Of these rows, by their place in the outputs: which nobody may be given, and why."""

    @property
    def rows(self) -> range:
        """Their places in the outputs."""
        return range(self.start, self.stop)

    def part(self, start: int, stop: int) -> Answers:
        """Those from `start` to `stop` of these."""
        first, end = self.start + start, self.start + stop
        if not self.faults:
            return Answers(self.outputs, first, end)
        return Answers(
            self.outputs,
            first,
            end,
            {row: fault for row, fault in self.faults.items() if first <= row < end},
        )


class Engine(RowEncoder):
    """Host stage, prepare graph and model graph of one variant, loaded."""

    def __init__(
        self,
        bundle: Bundle,
        front: HostStage,
        prepare: Runtime | None,
        model: Runtime,
        variant: str,
    ) -> None:
        super().__init__(bundle, front, prepare)
        self.variant = variant
        self._model = model
        self.provider, self.remote, self.placement = model.provider, model.remote, model.placement
        self.runtime_version = "; ".join(
            sorted({each.version for each in (prepare, model) if each is not None})
        )
        """What computes, by name and version."""
        self.most_rows = (
            math.inf if model.placement is None else model.placement.most_rows or math.inf
        )
        """Most rows in a batch that the model graph takes."""
        self.slots = None if model.placement is None else model.placement.slots
        """How many batches run at once on devices, where the event loop does not wait for them.

        None: the model runs on the processor.
        """
        self.lengths: Lengths = NO_LENGTHS
        """The lengths to which padded inputs are filled up; beyond, or without, to the longest row.
        """
        self.usual_elements: float = math.inf
        """A batch with more elements in its inputs is an outlier, whose memory is not kept."""

    @property
    def healthy(self) -> bool:
        """Can the model graph run now?"""
        return self._model.healthy

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """See `Runtime.warm_up`."""
        self._model.warm_up(most_rows, batches)

    def settle_on(self, lengths: Lengths) -> None:
        """Pad batches to these lengths from here on; for a graph on devices."""
        assert self.placement is not None
        self.lengths = lengths
        self.placement = replace(self.placement, lengths=lengths)

    def close(self) -> None:
        """Let go of both graphs."""
        self._model.close()
        super().close()

    def run(self, parts: Sequence[Part], deadline_s: float = math.inf) -> Answers:
        """Run encoded rows of like shape; return batched outputs, checked against the contract.

        Raises `ModelError`, or `Unavailable` if a remote runtime or memory fails.
        """
        answers = self.run_rows(parts, deadline_s)
        for row, fault in answers.faults.items():
            raise self.fault(fault, row)
        return answers

    def run_rows(self, parts: Sequence[Part], deadline_s: float = math.inf) -> Answers:
        """Run rows as `run` does, with the faults of single rows.

        If a row's answer has NaN or an infinity or breaks its bounds, the answers hold that as a
        fault; it is not raised, and the other rows have their answers.
        """
        rows = sum(map(len, parts))
        feeds = collate_parts(self.specs, parts, self.lengths)
        elements = (
            rows * len(feeds) if self._scalars else sum(array.size for array in feeds.values())
        )
        try:
            outputs = self._model.run(
                feeds, deadline_s=deadline_s, outlier=elements > self.usual_elements
            )
        except OutOfMemory:
            # The batch's halves shall leave nothing behind.
            self.usual_elements = min(self.usual_elements, elements // 4)
            raise
        try:
            bad = self.contract.faulty_rows(outputs, rows)
        except ModelError as error:
            if not self.remote:
                raise
            raise Unavailable("E_RUNTIME_ANSWER", REMOTE_ANSWER) from error
        return Answers(outputs, 0, rows, bad)

    def answer(self, rows: Sequence[Mapping[str, Any]], batch_rows: int = 1) -> list[Outputs]:
        """Return the model's numbers for raw rows, one mapping for each row.

        Rows of like shape run together, at most `batch_rows` of them.
        """
        encoded = [
            self.encode(self.contract.validate_row(row, place), place)
            for place, row in enumerate(rows)
        ]
        return self.answer_encoded(
            encoded, in_batches((self.batch_key(row)[0] for row in encoded), batch_rows)
        )

    def describe(self, row: Any, answer: Mapping[str, Array]) -> dict[str, Any]:
        """What a client without options sees of the model's answer to a raw row."""
        notes = self.front.notes(row) if self.contract.noted else ()
        batched = {name: array[None] for name, array in answer.items()}
        return self.contract.describe(batched, 0, notes, self.contract.default_options)

    def answer_encoded(
        self, rows: Sequence[EncodedRow], batches: Iterable[Sequence[int]]
    ) -> list[Outputs]:
        """Return the model's numbers for encoded rows, one mapping for each row.

        `batches`: the places of those that run together, which are of like shape.
        """
        answers: list[Outputs] = [{}] * len(rows)
        for places in batches:
            outputs = self.run([[rows[place] for place in places]]).outputs
            for index, place in enumerate(places):
                answers[place] = {name: array[index] for name, array in outputs.items()}
        return answers


def load_engine(bundle: Bundle, options: RuntimeOptions, variant: str | None = None) -> Engine:
    """Load a variant (the first one unless named).

    Raises `ModelError` if a graph needs another onnxruntime, does not load, or does not fit its
    contract.
    """
    known = {each.name: each for each in bundle.manifest.variants}
    if variant is not None and variant not in known:
        raise ModelError(
            "E_LOAD", f"no variant '{variant}' in this bundle; sealed: {', '.join(known)}"
        )
    chosen = bundle.manifest.variants[0] if variant is None else known[variant]
    load = runtimes().get(options.runtime or chosen.format)
    if load is None:
        raise ModelError(
            "E_LOAD",
            (
                f"no runtime for graphs of format '{chosen.format}'; installed: "
                f"{', '.join(sorted(runtimes()))}"
            ),
        )
    check_needs(bundle, chosen if (options.runtime or chosen.format) == ONNX else None)
    host = RuntimeOptions(intra_op_threads=options.intra_op_threads)
    options = replace(
        options,
        serves=(bundle.name, bundle.version, bundle.digest),
        cache=None if bundle.encryption is not None else options.cache,
    )
    reads = any(field.kind.front_names(field.name) for field in bundle.contract.inputs)
    with ThreadPoolExecutor(1) as beside, ExitStack() as unless_loaded:
        # A tokenizer takes as long as a cached graph; without one, a thread takes longer.
        front = beside.submit(bundle.make_front) if reads else None
        prepared = load_prepare(bundle, host)
        if prepared is not None:
            unless_loaded.callback(prepared.close)
        model = load_graph(bundle, chosen.graph, options, load)
        unless_loaded.callback(model.close)
        check_structure(bundle, prepared, model)
        stage = bundle.make_front() if front is None else front.result()
        engine = Engine(bundle, stage, prepared, model, chosen.name)
        unless_loaded.pop_all()
    return engine


def load_prepare(bundle: Bundle, options: RuntimeOptions) -> Runtime | None:
    """Load a bundle's prepare graph, on the host; None where it has none. Raises `ModelError`."""
    prepare = bundle.manifest.prepare
    return load_graph(bundle, prepare.graph, options) if prepare is not None else None


def load_graph(
    bundle: Bundle, graph: str, options: RuntimeOptions, load: LoadRuntime | None = None
) -> Runtime:
    """Load one of a bundle's graphs, by onnxruntime unless `load` is given.

    Weights outside of the graph are those that were sealed with it. Raises what the runtime raises,
    and `BundleError` where a file is not as it was sealed.
    """
    load = load or runtimes()[ONNX]
    data, verified = bundle.weights(graph), bundle.verified_sha256(graph)
    check_data = partial(bundle.check_weights, graph)
    outside = bundle.manifest.files[data_name(graph)].sha256 if data is not None else ""
    options = replace(
        options, data=data, data_sha256=outside, check_data=check_data, graph_sha256=verified
    )
    kept = load_kept(options) if load is runtimes().get(ONNX) and verified else None
    if kept is not None:
        return kept
    loaded = load(bundle.graph(graph), options)
    try:
        check_data()
    except BundleError:
        loaded.close()
        raise
    return loaded


def check_structure(bundle: Bundle, prepare: Runtime | None, model: Runtime) -> None:
    """Raise `ModelError` if a graph does not fit the contract.

    A graph must take what the contract gives, and answer what the contract promises.
    """
    wanted = {spec.name: spec.dtype for spec in bundle.specs}
    odd = [
        name for name in {**wanted, **model.inputs} if model.inputs.get(name) != wanted.get(name)
    ]
    if odd:
        takes, gives = (each.get(odd[0], "no such input") for each in (model.inputs, wanted))
        text = f"input {ascii(odd[0])[:200]}: the graph takes {takes}, the contract gives {gives}"
        more = f"; {len(odd) - 1} inputs more differ" if len(odd) > 1 else ""
        raise ModelError("E_STRUCTURE", text + more)
    promised = {tensor.name for tensor in bundle.contract.answer_tensors}
    missing = sorted(promised - set(model.outputs))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        text = f"the graph does not answer {missing[0]!r}{more}, which the contract promises"
        raise ModelError("E_STRUCTURE", text)
    if prepare is not None and bundle.manifest.prepare is not None:
        made = bundle.manifest.prepare.graph_outputs
        if (
            set(prepare.inputs) != set(bundle.manifest.prepare.inputs)
            or list(prepare.outputs) != made
        ):
            raise ModelError(
                "E_STRUCTURE", "the prepare graph does not take and give what the manifest says"
            )
