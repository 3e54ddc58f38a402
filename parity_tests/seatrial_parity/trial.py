"""The trial of a bundle: every runner answers the golden rows.

The answers are compared with the training side's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.client_terms import ClientTerms
from seatrial_contracts.errors import SeatrialError
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import TRIAL_BATCH_SIZES, Verdict, judge
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import (
    Receipt,
    SignedBy,
    Trial,
    installed_versions,
    now,
    this_machine,
)
from seatrial_parity.runners import runners
from seatrial_parity.runners.runner import Inexpressible, Runner, TrialRequest

PACKAGES = ("onnxruntime", "torch", "numpy", "pillow", "tokenizers", "seatrial")


def try_bundle(
    asked: TrialRequest, only: Collection[str] = (), progress: Callable[[str], None] | None = None,
    signed_by: SignedBy | None = None,
) -> Receipt:  # fmt: skip
    """Try every variant in its runtime, PyTorch, and the named servers, on the golden rows.

    PyTorch is tried where there is a pipeline. The reference is PyTorch's answer of the day when
    the bundle was sealed; with a `pipeline` PyTorch answers again, and must still agree. `only`
    names the runners to try, all where it is empty. `signed_by`: whose signature of the bundle was
    verified. Of an encrypted bundle no answer is written.
    """
    bundle, trials = asked.bundle, list[Trial]()
    for runner in chosen(asked, only):
        if progress is not None:
            progress(f"{runner.name} {runner.variant}")
        made = try_runner(bundle, runner)
        trials += made if bundle.encryption is None else [each.without_values() for each in made]
    return Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=now(),
        machine=this_machine(installed_versions(PACKAGES)),
        signed_by=signed_by,
        trials=tuple(trials),
    )


def chosen(asked: TrialRequest, only: Collection[str]) -> Iterator[Runner]:
    """The runners of a trial, the reference first."""
    for name, make in runners().items():
        if not only or name in only:
            yield from make(asked)


def try_runner(bundle: Bundle, runner: Runner) -> list[Trial]:
    """Run one runner's trials: the golden rows at each batch size, then the rows to be refused."""
    with ExitStack() as stack:
        try:
            stack.enter_context(runner)
        except SeatrialError as error:
            return [_trial(runner, (), 0, None, f"it did not start: {error}")]
        sizes = batch_sizes(bundle, runner)
        terms = ClientTerms(bundle.make_front()) if bundle.contract.mapped else None
        trials = [try_golden(bundle, runner, bundle.golden, size, terms) for size in sizes]
        if bundle.held_out is not None:
            held = bundle.held_out
            trials.append(try_golden(bundle, runner, held, sizes[-1], terms, held_out=True))
        return [*trials, try_refusals(bundle, runner)]


def batch_sizes(bundle: Bundle, runner: Runner) -> Sequence[int]:
    """1, and larger ones where rows are run together."""
    if runner.name == "pytorch" or not bundle.manifest.batchable:
        return (1,)
    return [size for size in TRIAL_BATCH_SIZES if size // 2 < len(bundle.golden.rows)]


def try_golden(
    bundle: Bundle, runner: Runner, golden: Golden, size: int, terms: ClientTerms | None, *,
    held_out: bool = False,
) -> Trial:  # fmt: skip
    """The golden or the held-out rows, `size` at a time."""
    try:
        answers = runner.run(golden.rows, size)
    except SeatrialError as error:
        finding = f"a {'held-out' if held_out else 'golden'} row was not answered: {error}"
        return _trial(runner, (size,), len(golden.rows), None, finding, held_out=held_out)
    found = judge_answers(bundle, runner, golden, answers, terms)
    return found.trial(runner.name, runner.variant, runner.provider, size, held_out=held_out)


def judge_answers(
    bundle: Bundle, runner: Runner, golden: Golden, answers: Sequence[dict[str, Any]],
    terms: ClientTerms | None,
) -> Verdict:  # fmt: skip
    """Judge answers by the graph's tensors, and by what clients see of them.

    A runner that asks over the wire sees mapped outputs in the client's terms alone.
    """
    contract, promise = bundle.contract, promise_of(bundle, runner)
    if runner.client_terms and len(answers) == len(golden.answers):
        pairs = zip(golden.answers, answers, strict=True)
        answers = [contract.filled(want, got) for want, got in pairs]
    if terms is None:
        return judge(contract, promise, golden, answers)
    notes = terms.notes(golden.rows)
    want = terms.of(notes, golden.answers)
    got = answers if runner.client_terms else terms.of(notes, answers)
    tolerance = (promise and promise.tolerance) or contract.tolerance
    compared = terms.compare(want, got, tolerance) if len(answers) == len(want) else ()
    if not runner.client_terms:
        return judge(contract, promise, golden, answers, compared)
    seen = [tensor.name for tensor in contract.plain_tensors]
    raw = [{name: answer[name] for name in seen} for answer in answers]
    return judge(contract, promise, golden.only(seen), raw, compared)


def try_refusals(bundle: Bundle, runner: Runner) -> Trial:
    """The rows that must be refused, each with its code, as far as the runner can be asked them."""
    finding, refusals = "", 0
    for place, refused in enumerate(bundle.golden.refusals):
        try:
            code = runner.refusal_code(refused.row)
        except Inexpressible:
            continue
        except SeatrialError as error:  # it fails on the way to an answer
            finding = finding or f"refusal {place}: {error}"
            continue
        refusals += 1
        if code != refused.code:
            finding = finding or f"refusal {place}: got {code or 'an answer'}, want {refused.code}"
    return _trial(runner, (1,), 0, 0.0, finding, refusals=refusals)


def promise_of(bundle: Bundle, runner: Runner) -> Promise | None:
    """What the runner's variant promises; None where the contract's tolerance is all."""
    return {variant.name: variant.promise for variant in bundle.manifest.variants}.get(
        runner.variant
    )


def _trial(
    runner: Runner,
    sizes: tuple[int, ...],
    rows: int,
    error: float | None,
    finding: str,
    *,
    refusals: int = 0,
    held_out: bool = False,
) -> Trial:
    return Trial(
        runner=runner.name,
        variant=runner.variant,
        provider=runner.provider,
        batch_sizes=sizes,
        rows=rows,
        held_out=held_out,
        refusals=refusals,
        worst_error=error,
        allowed=error,
        passed=not finding,
        finding=finding,
    )
