"""Recurrent layers over sequences of any length.

torch fixes the length while tracing unless the layers are taken apart into loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.export import _patches

from seatrial_contracts.errors import GateError
from seatrial_export.gate.torch_candidate import Graph


@contextmanager
def open_time(graph: Graph) -> Iterator[None]:
    """Trace LSTM and GRU layers as loops over time within.

    The loops are needed where a size besides the batch varies. torch has this as a registered
    private decomposition; its dispatch caches must be cleared first.
    """
    kinds = {type(module) for module in graph.module.modules()} & {nn.LSTM, nn.GRU}
    with ExitStack() as stack:
        if varies(graph) and kinds:
            stack.callback(forget)
            stack.enter_context(_patches.register_lstm_while_loop_decomposition())
            stack.enter_context(_patches.register_gru_while_loop_decomposition())
            forget()
        yield


def varies(graph: Graph) -> bool:
    """Does a size besides the batch vary?"""
    return any(isinstance(dim, str) for spec in graph.specs for dim in spec.dims)


def check_recurrent(graph: Graph) -> None:
    """Raise `GateError` for the one layer that torch cannot open up."""
    plain = [name for name, module in graph.module.named_modules() if type(module) is nn.RNN]
    if plain and varies(graph):
        cause = f"nn.RNN '{plain[0]}': torch fixes the length of its sequence while tracing"
        raise GateError(
            "torch.export", cause, "use nn.GRU or nn.LSTM, or a row of one fixed length"
        )


def forget() -> None:
    """Clear what the dispatcher remembers of these two operators."""
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        operator._dispatch_cache.clear()  # noqa: SLF001  (no public way)
