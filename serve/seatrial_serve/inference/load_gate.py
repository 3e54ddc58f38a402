"""The load gate: a model takes traffic only after its golden rows were answered rightly on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from seatrial_contracts.errors import BundleError, ModelError, OutOfMemory, Refusal
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.judge import TRIAL_BATCH_SIZES, judge
from seatrial_contracts.receipt import Trial, this_machine
from seatrial_serve.inference.engine import Engine
from seatrial_serve.inference.pace import Pace

log = logging.getLogger("seatrial.load_gate")
MEASURE_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MEASURE_BUDGET_S = 0.4


@dataclass(frozen=True)
class Admitted:
    """What the load gate found: the trials, all passed, and the pace."""

    trials: tuple[Trial, ...]
    pace: Pace


def pass_load_gate(
    engine: Engine, tell: Callable[[bool, float | None], None] = lambda _passed, _worst_error: None
) -> Admitted:
    """Replay the golden set at several batch sizes, then measure. Raises `ModelError` that says what was answered wrongly.

    `tell` hears whether all was right, and the worst error; None for that where a row was not answered, or not by numbers.
    """
    trials = tuple(replay(engine))
    failed = next((trial for trial in trials if not trial.passed), None)
    errors = [trial.worst_error for trial in trials]
    tell(failed is None, None if None in errors else max(error for error in errors if error is not None))
    if failed is not None:
        text = f"golden rows at batch size {failed.batch_sizes[0]} on {failed.provider}: {failed.finding}"
        raise ModelError("E_LOAD_GATE", "; ".join(filter(None, (text, lacking(engine)))))
    if lacking(engine):
        log.warning(
            "%s %s: %s; its golden rows pass here all the same",
            engine.bundle.name,
            engine.bundle.version,
            lacking(engine),
        )
    return Admitted(trials, measure(engine))


def lacking(engine: Engine) -> str:
    """What this machine lacks of every machine that the variant was proven on; empty where nothing, or nothing is known.

    Whole-number kernels are chosen by instruction set, and some of them saturate: without VNNI, sums of u8 times s8 may.
    """
    if engine.remote or not engine.bundle.manifest.variant(engine.variant).recipe:
        return ""
    try:
        receipts = engine.bundle.receipts()
    except (BundleError, OSError):
        log.warning("%s %s: a receipt beside it cannot be read", engine.bundle.name, engine.bundle.version)
        return ""
    here = set(this_machine({}).instruction_sets)
    missing = [
        sorted(set(receipt.machine.instruction_sets) - here)
        for receipt in receipts
        if any(trial.variant == engine.variant and trial.passed for trial in receipt.trials)
    ]
    if not missing or not all(missing):
        return ""
    return f"variant '{engine.variant}' was proven with {', '.join(min(missing))}, which this machine has not"


def settle(engine: Engine, batch_rows: int) -> None:
    """Get ready for batches of `batch_rows` rows, give back what the gate's larger ones took, and say which are outliers, whose memory is not kept.

    An outlier has more elements in its inputs than a batch of `batch_rows` rows as long as the middling golden one, and than the
    longest golden row alone.
    """
    sizes = sorted(sum(np.size(value) for value in row) for row in _encoded(engine))
    engine.usual_elements = 0
    engine.run([[_middling(engine)]])
    engine.settle(batch_rows)
    engine.usual_elements = max(sizes[len(sizes) // 2] * batch_rows, sizes[-1])


def replay(engine: Engine) -> Iterator[Trial]:
    """The golden rows at each batch size, and the rows that must be refused; one trial for each size."""
    golden = engine.bundle.golden
    sizes = [
        size
        for size in TRIAL_BATCH_SIZES
        if size == 1 or (engine.bundle.manifest.batchable and size // 2 < len(golden.rows) and size <= engine.most_rows)
    ]
    variant = engine.bundle.manifest.variant(engine.variant)
    for size in sizes:
        try:
            answers = engine.answer(golden.rows, size)
        except OutOfMemory:
            if size > 1:
                break  # batches that do not fit are never formed: see `measure`
            yield _unanswered(engine, size, "one row alone needs more memory than there is")
            continue
        except (Refusal, ModelError) as error:
            yield _unanswered(engine, size, f"a golden row was not answered: {error}")
            continue
        found = judge(engine.contract, variant.promise, golden, answers)
        yield found.trial("load gate", engine.variant, engine.provider, size)
    wrong = [
        (place, refused.code, code)
        for place, refused in enumerate(golden.refusals)
        if (code := engine.front.refusal_code(refused.row)) != refused.code
    ]
    finding = "" if not wrong else f"refusal {wrong[0][0]}: want {wrong[0][1]}, got {wrong[0][2] or 'an answer'}"
    yield Trial(
        runner="load gate", variant=engine.variant, provider=engine.provider, batch_sizes=(1,), rows=0, refusals=len(golden.refusals),
        worst_error=0.0, allowed=0.0, passed=not wrong, finding=finding,
    )  # fmt: skip


def _unanswered(engine: Engine, size: int, finding: str) -> Trial:
    return Trial(
        runner="load gate", variant=engine.variant, provider=engine.provider, batch_sizes=(size,), rows=len(engine.bundle.golden.rows),
        worst_error=None, allowed=None, passed=False, finding=finding,
    )  # fmt: skip


def measure(engine: Engine) -> Pace:
    """Time growing batches of the golden row of middling length, within a budget; one row alone where rows are never batched.

    On the processor a batch runs in this thread alone, and it is the thread's own time that counts: beside a server that is busy, which a
    reload always is, waiting for a core hides what batches bring.
    """
    clock = time.perf_counter if engine.remote or engine.slots else time.thread_time
    row = _middling(engine)
    seconds: dict[int, float] = {}
    spent = 0.0
    for size in MEASURE_SIZES if engine.bundle.manifest.batchable else (1,):
        expected = 2 * seconds.get(size // 2, 0.0)
        if seconds and (spent + 2 * expected > MEASURE_BUDGET_S or size > engine.most_rows):
            break
        times: list[float] = []
        for _ in range(5 if expected < MEASURE_BUDGET_S / 40 else 2):
            if times and spent + sum(times) + times[-1] > MEASURE_BUDGET_S:
                break
            try:
                if engine.slots and not times:
                    engine.run([[row] * size])  # a device plans, loads kernels and takes memory: once
                start = clock()
                engine.run([[row] * size])
            except OutOfMemory:
                if not seconds:
                    raise
                return Pace(seconds, engine.kin(row)[1])
            times.append(max(clock() - start, 1e-9))
        spent += sum(times)
        seconds[size] = min(times)
    return Pace(seconds, engine.kin(row)[1])


def _middling(engine: Engine) -> EncodedRow:
    rows = sorted(_encoded(engine), key=lambda row: engine.kin(row)[1])
    return rows[len(rows) // 2]


def _encoded(engine: Engine) -> list[EncodedRow]:
    return [engine.encode(engine.contract.validate_row(row)) for row in engine.bundle.golden.rows]
