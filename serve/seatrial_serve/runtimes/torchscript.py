"""The TorchScript runtime: a graph that is a program.

It runs only if the operator trusts whoever sealed it.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from seatrial_contracts.errors import MissingExtra, ModelError
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.runtimes.runtime import Batches, Runtime, RuntimeOptions, no_batches

FORMAT = "torchscript"
FACTS = "seatrial.json"


def load(graph: bytes, options: RuntimeOptions) -> Runtime:
    """Load the module on the CPU.

    Raises `ModelError` if it is not declared as trusted, or if torch cannot read it.
    """
    if not options.trust_torchscript:
        raise ModelError(
            "E_UNTRUSTED",
            (
                "a TorchScript graph is a program; start with --trust-torchscript where you trust "
                "who sealed it"
            ),
        )
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("a TorchScript graph", "torchscript") from error
    read: Any = torch.jit.load
    inside = {FACTS: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that TorchScript is deprecated, docs/how-to/engines.md says
            module = read(io.BytesIO(graph), map_location="cpu", _extra_files=inside)
        facts = json.loads(inside[FACTS])
    except (RuntimeError, ValueError) as error:
        raise ModelError("E_LOAD", "torch cannot load this graph") from error
    return TorchScriptRuntime(torch, module.eval(), facts, options.intra_op_threads)


class TorchScriptRuntime:
    """A module, its inputs in order, and the codes of its categories' entries."""

    remote, healthy, provider, placement = False, True, "torch cpu", None

    def __init__(self, torch: Any, module: Any, facts: Mapping[str, Any], threads: int) -> None:
        self._torch, self._module, self._threads = torch, module, threads
        self.version = f"torch {torch.__version__}"
        self.inputs: Mapping[str, str] = dict(facts["inputs"])
        self.outputs: Sequence[str] = facts["outputs"]
        self._categories = {
            name: (dict(zip(known["entries"], count(), strict=False)), known["unknown"])
            for name, known in facts["categories"].items()
        }

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """See `Runtime.run`."""
        try:
            with self._on_threads(), self._torch.inference_mode():
                answer = self._module(*(self._tensor(name, feeds[name]) for name in self.inputs))
        except RuntimeError as error:
            raise ModelError("E_MODEL", "the model failed on this input") from error
        if isinstance(answer, self._torch.Tensor):
            answer = (answer,)
        named = answer if isinstance(answer, dict) else dict(zip(self.outputs, answer, strict=True))
        return {name: named[name].numpy() for name in self.outputs}

    @contextmanager
    def _on_threads(self) -> Iterator[None]:
        """Let torch compute on this runtime's number of threads inside the block.

        After the block the process's own number is put back.
        """
        before = self._torch.get_num_threads()
        if before == self._threads:
            yield
            return
        self._torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)

    def _tensor(self, name: str, array: Array) -> Any:
        known = self._categories.get(name)
        if known is not None:
            codes, unknown = known
            found = [codes.get(entry, unknown) for entry in array.ravel().tolist()]
            array = np.array(found, np.int64).reshape(array.shape)
        return self._torch.from_numpy(np.require(array, requirements=["C", "W"]))

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """See `Runtime.warm_up`: every batch is like the first."""

    def close(self) -> None:
        """See `Runtime.close`."""
