"""Does a model read the hour, the environment, the machine?

The graph would hold their values of the day of the export.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, fx

from seatrial_contracts.compare import compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.gate.elsewhere import CHANGES, changed_to
from seatrial_export.gate.held import digest_of
from seatrial_export.gate.sizes import arrays
from seatrial_export.gate.torch_candidate import Graph, TorchCandidate
from seatrial_export.gate.torch_export import traced_anew
from seatrial_export.gate.train_mode import EAGER_TOLERANCE

Call = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
ANOTHER_THREAD = "the thread"
MEND = (
    "pass what the answer depends on as a field of the row, or fix it where the model is made; "
    "if it is harmless, say waive={'surroundings': 'why'}"
)


def check_surroundings(candidate: TorchCandidate) -> None:
    """Check that modules answer as before with each of `CHANGES`, and on another thread.

    Tracing the modules must give the same program too. Only the user's own code sees the changes. A
    module that raises is passed over: it needs a file or a card that is not there.
    """
    for name, call, graph in candidate.calls:
        want = arrays(call(graph.feeds))
        for what in (*CHANGES, ANOTHER_THREAD):
            got = answer_under(what, call, graph.feeds)
            found = None if got is None else compare_outputs([want], [got], EAGER_TOLERANCE)
            if found is not None and not found.passed:
                raise GateError(
                    "surroundings",
                    f"{name} answers otherwise when one changes {what}: {found}",
                    MEND,
                )
        if graph.program is not None:
            check_trace(name, graph)


def answer_under(what: str, call: Call, feeds: Mapping[str, Tensor]) -> dict[str, Array] | None:
    """The answer with that changed; None where the module raises."""
    if what == ANOTHER_THREAD:
        return on_another_thread(call, feeds)
    try:
        with changed_to(what):
            return arrays(call(feeds))
    except Exception:  # a named file or a card may not be there: that is no other answer
        return None


def on_another_thread(call: Call, feeds: Mapping[str, Tensor]) -> dict[str, Array] | None:
    """The answer of a thread that was never there before."""
    answers: list[dict[str, Array]] = []
    thread = threading.Thread(target=lambda: answers.append(arrays(call(feeds))))
    thread.start()
    thread.join()
    return answers[0] if answers else None


def check_trace(name: str, graph: Graph) -> None:
    """Check that a second trace with everything changed at once gives the same program.

    Raises `GateError` that names the first difference.
    """
    first = lines_of(graph.program)
    if trace_under(graph, list(CHANGES)) in (first, None) or trace_under(graph, []) != first:
        return
    for what in CHANGES:
        again = trace_under(graph, [what])
        if again is not None and again != first:
            difference = next((line for line in first if line not in again), "further lines")
            raise GateError(
                "surroundings",
                f"{name} is traced otherwise when one changes {what}; first: {difference[:160]}",
                MEND,
            )


def trace_under(graph: Graph, changes: list[str]) -> list[str] | None:
    """The program's lines with these changed; None where it cannot be traced so."""
    try:
        with ExitStack() as stack:
            for what in changes:
                stack.enter_context(changed_to(what))
            return lines_of(traced_anew(graph))
    except Exception:  # as above
        return None


def lines_of(program: Any, *, constants: bool = True) -> list[str]:
    """One line for each node and, where wanted, each constant that is no weight."""
    nodes = []
    for node in program.graph.nodes:
        given = fx.node.map_arg((node.args, node.kwargs), lambda inner: inner.name)
        nodes.append(f"{node.name} = {node.target}{given}")
    kept = sorted(program.constants.items()) if constants else []
    return nodes + [
        f"{name} = {digest_of(value)}" for name, value in kept if isinstance(value, torch.Tensor)
    ]
