"""Fuzzing: rows through training code and bundle, and the smallest disagreement.

The contract allows most of the rows, and forbids some.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from seatrial_contracts.errors import DeclarationError
from seatrial_parity.fuzz.disagreement import Disagreement
from seatrial_parity.fuzz.fuzz import Fuzz, Progress
from seatrial_parity.fuzz.side import Side, Training
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import chosen, promise_of

__all__ = ["Disagreement", "Fuzz", "fuzz_of"]


@contextmanager
def fuzz_of(
    asked: TrialRequest,
    only: Collection[str],
    rows: int,
    seed: int,
    within_s: float,
    progress: Progress,
) -> Iterator[Fuzz]:
    """Make a fuzz of every wanted runner, each entered.

    A variant that promises only means or shares is left out: no single row breaks such a promise.
    Raises `BundleError` for an encrypted bundle, whose golden rows are among what is saved, and
    `DeclarationError` where there is no pipeline, or nothing to hold against it.
    """
    asked.bundle.refuse_encrypted("what --fuzz saves")
    if asked.pipeline is None:
        raise DeclarationError(
            "--fuzz", "no pipeline", "--pipeline FILE.py:NAME, whose answers are the reference"
        )
    bundle, sides = asked.bundle, list[Side]()
    with ExitStack() as stack:
        for runner in chosen(asked, only):
            promise = promise_of(bundle, runner)
            tolerance = bundle.contract.tolerance if promise is None else promise.tolerance
            if runner.name != "pytorch" and tolerance is not None:
                sides.append(Side(bundle, stack.enter_context(runner), tolerance))
        if not sides:
            raise DeclarationError(
                "--fuzz", "no runner that promises anything of a single row", "another --runner"
            )
        yield Fuzz(bundle, Training(asked.pipeline), sides, rows, seed, within_s, progress=progress)
