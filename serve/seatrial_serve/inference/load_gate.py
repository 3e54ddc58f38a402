"""The load gate: a model takes traffic only after its golden rows were answered rightly.

They are answered on this machine.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.compare import largest
from seatrial_contracts.errors import BundleError, ModelError, OutOfMemory, Refusal
from seatrial_contracts.host_stage import EncodedRow, collate, group_places
from seatrial_contracts.judge import TRIAL_BATCH_SIZES, judge
from seatrial_contracts.receipt import Trial, this_machine
from seatrial_serve.inference.engine import Engine, Outputs
from seatrial_serve.inference.kept_receipt import KeptReceipt
from seatrial_serve.inference.lengths import each_length, settled_lengths
from seatrial_serve.inference.pace import Pace

log = logging.getLogger("seatrial.load_gate")
RUNNER = "load gate"
UNLIKE = 4
"""A batch of the replay costs at most so many times its cost with rows of middling length.

Rows of unlike length meet in it, but one text of 256 tokens does not make 31 others as long: the
batcher forms no such batch, and it took 430 MB and 8 s of a load (MiniLM).
"""
MEASURE_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MEASURE_BUDGET_S = 0.4
Tell = Callable[[bool, float | None], None]


@dataclass(frozen=True)
class Admitted:
    """What the load gate found: the trials, all passed, and the pace."""

    trials: tuple[Trial, ...]
    pace: Pace
    elements: tuple[int, int]
    """In the inputs of the golden row of middling size, and of the largest one."""
    row: int | None
    """The golden row that says most about the others; None where none passes alone.

    Of those that pass alone, the one nearest to what is allowed; if all are exact, the one with the
    largest answer.
    """
    anchors: tuple[Outputs, ...]
    """For each output, the golden answers where it is largest: a tolerance is a share of that."""
    kept_at: str = ""
    """When the whole gate was passed, if `row` alone was replayed for a kept receipt; or empty."""

    @property
    def worst_error(self) -> float:
        """The largest error of all trials."""
        return max((trial.worst_error or 0.0 for trial in self.trials), default=0.0)


def pass_load_gate(engine: Engine) -> Admitted:
    """The whole load gate, for whoever needs nothing else of it. Raises `ModelError`."""
    return LoadGate(engine).run()


class LoadGate:
    """Tries one engine by its golden rows, each of which is validated and encoded once."""

    def __init__(
        self, engine: Engine, measuring: AbstractContextManager[object] | None = None
    ) -> None:
        """`measuring` is entered for as long as time is measured."""
        self._engine, self._golden = engine, engine.bundle.golden
        self._variant = engine.bundle.manifest.variant(engine.variant)
        self._measuring = measuring or nullcontext()
        self._alone: list[Outputs] = []
        """The answers to the golden rows, one at a time."""

    @cached_property
    def _rows(self) -> list[EncodedRow]:
        return [self._encode(place) for place in range(len(self._golden.rows))]

    def _encode(self, place: int) -> EncodedRow:
        row = self._engine.contract.validate_row(self._golden.rows[place], place)
        return self._engine.encode(row, place)

    def _elements(self, row: EncodedRow) -> int:
        """In the inputs of the graph, for a batch of this row alone."""
        feeds = collate(self._engine.specs, [row], self._engine.lengths)
        return sum(array.size for array in feeds.values())

    @cached_property
    def _middling(self) -> EncodedRow:
        rows = sorted(self._rows, key=lambda row: self._engine.batch_key(row)[1])
        return rows[len(rows) // 2]

    def run(self, tell: Tell = lambda _passed, _worst_error: None) -> Admitted:
        """Replay the golden set at several batch sizes, then measure.

        Raises `ModelError` that says what was answered wrongly.

        `tell` hears whether all was right, and the worst error; None for that where a row was not
        answered, or not by numbers.
        """
        if self._engine.slots and self._engine.bundle.manifest.batchable:
            lengths = settled_lengths(self._engine.specs, self._rows)
            if lengths:
                self._engine.settle_on(lengths)
        trials = tuple(self.replay())
        failed = next((trial for trial in trials if not trial.passed), None)
        errors = [trial.worst_error for trial in trials]
        tell(
            failed is None,
            None if None in errors else max(error for error in errors if error is not None),
        )
        hides = self._engine.bundle.encryption is not None
        shown = tuple(trial.without_values() for trial in trials) if hides else trials
        missing = lacking(self._engine)
        if failed is not None:
            text = (
                f"golden rows at batch size {failed.batch_sizes[0]} on {failed.provider}: "
                f"{(failed.without_values() if hides else failed).finding}"
            )
            raise ModelError("E_LOAD_GATE", "; ".join(filter(None, (text, missing))))
        if missing:
            text = "%s %s: %s; its golden rows pass here all the same"
            log.warning(text, self._engine.bundle.name, self._engine.bundle.version, missing)
        sizes = sorted(map(self._elements, self._rows))
        elements = sizes[len(sizes) // 2], sizes[-1]
        with self._measuring:
            pace = self.measure()
        return Admitted(
            shown, pace, elements, self._telling_row(trials[0]), anchors_of(self._engine.bundle)
        )

    def resume(self, kept: KeptReceipt) -> Admitted | None:
        """What a kept receipt says, if its golden row is answered rightly once more; else None."""
        engine, bundle = self._engine, self._engine.bundle
        engine.usual_elements = 0  # this run's memory is not kept
        try:
            row = self._encode(kept.row)
            outputs = engine.run([[row]]).outputs
            answer = {name: array[0] for name, array in outputs.items()}
            golden = self._golden.at([kept.row])
            finding = judge(engine.contract, self._variant.promise, golden, [answer]).finding
        except (Refusal, ModelError, OutOfMemory, IndexError) as error:
            finding = f"it was not answered: {error}"
        if finding:
            text = (
                "%s %s: golden row %d, which passed at %s, does not pass now: %s; all are replayed"
            )
            log.warning(text, bundle.name, bundle.version, kept.row, kept.made_at, finding)
            engine.usual_elements = math.inf
            return None
        return Admitted(
            kept.trials, kept.pace, kept.elements, kept.row, anchors_of(bundle), kept.made_at
        )

    def set_outlier_limit(self, admitted: Admitted, batch_rows: int) -> None:
        """Get ready for batches of `batch_rows` rows, and give back what larger ones took.

        Memory of outliers is not kept from here on: of batches with more elements in their inputs
        than `batch_rows` rows like the middling golden one have, and than the longest golden row.
        """
        engine = self._engine
        if engine.usual_elements:
            engine.usual_elements = 0
            engine.run([[self._middling]])
        middling, largest_one = admitted.elements
        limit = max(middling * batch_rows, largest_one)
        if engine.lengths:
            shortest = min(self._rows, key=lambda row: engine.batch_key(row)[1])
            batches = partial(
                each_length, engine.specs, shortest, engine.lengths, batch_rows, limit
            )
            engine.warm_up(batch_rows, batches)
        else:
            engine.warm_up(batch_rows)
        engine.usual_elements = limit

    def replay(self) -> Iterator[Trial]:
        """A trial of the golden rows at each batch size, and one of the rows to be refused."""
        engine, golden = self._engine, self._golden
        for size in self._sizes():
            try:
                answers = self._engine.answer_encoded(self._rows, self._batches(size))
            except OutOfMemory:
                if size > 1:
                    break  # batches that do not fit are never formed: see `measure`
                yield self._unanswered(size, "one row alone needs more memory than there is")
                continue
            except (Refusal, ModelError) as error:
                yield self._unanswered(size, f"a golden row was not answered: {error}")
                continue
            self._alone = self._alone or answers
            found = judge(engine.contract, self._variant.promise, golden, answers)
            yield found.trial(RUNNER, engine.variant, engine.provider, size)
        wrong = [
            (place, refused.code, code)
            for place, refused in enumerate(golden.refusals)
            if (code := engine.front.refusal_code(refused.row)) != refused.code
        ]
        finding = (
            ""
            if not wrong
            else f"refusal {wrong[0][0]}: want {wrong[0][1]}, got {wrong[0][2] or 'an answer'}"
        )
        yield Trial(
            runner=RUNNER,
            variant=engine.variant,
            provider=engine.provider,
            batch_sizes=(1,),
            rows=0,
            refusals=len(golden.refusals),
            worst_error=0.0,
            allowed=0.0,
            passed=not wrong,
            finding=finding,
        )

    def _sizes(self) -> list[int]:
        batchable, rows = self._engine.bundle.manifest.batchable, len(self._golden.rows)
        return [
            size
            for size in TRIAL_BATCH_SIZES
            if size == 1 or (batchable and size // 2 < rows and size <= self._engine.most_rows)
        ]

    def _batches(self, size: int) -> Iterator[Sequence[int]]:
        """Places of rows that run together: of like shape, at most `size`, and see `UNLIKE`."""
        keys = [self._engine.batch_key(row) for row in self._rows]
        most_cost = UNLIKE * size * self._engine.batch_key(self._middling)[1]
        for places in group_places(shape for shape, _ in keys).values():
            batch, longest = list[int](), 0
            for place in places:
                length = keys[place][1]
                if batch and (
                    len(batch) == size or (len(batch) + 1) * max(longest, length) > most_cost
                ):
                    yield batch
                    batch, longest = [], 0
                batch.append(place)
                longest = max(longest, length)
            yield batch

    def _unanswered(self, size: int, finding: str) -> Trial:
        engine = self._engine
        return Trial(
            runner=RUNNER,
            variant=engine.variant,
            provider=engine.provider,
            batch_sizes=(size,),
            rows=len(self._golden.rows),
            worst_error=None,
            allowed=None,
            passed=False,
            finding=finding,
        )

    def measure(self) -> Pace:
        """Time growing batches of the golden row of middling length, within a budget.

        If rows are never batched, one row alone is timed. On the processor a batch runs in this
        thread alone, and the thread's own time counts: beside a busy server, waiting for a core
        hides what batches bring.
        """
        engine, row = self._engine, self._middling
        clock = time.perf_counter if engine.remote or engine.slots else time.thread_time
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
                        # A device plans, loads kernels and takes memory: once.
                        engine.run([[row] * size])
                    start = clock()
                    engine.run([[row] * size])
                except OutOfMemory:
                    if not seconds:
                        raise
                    return Pace(seconds, engine.batch_key(row)[1])
                times.append(max(clock() - start, 1e-9))
            spent += sum(times)
            seconds[size] = min(times)
        return Pace(seconds, engine.batch_key(row)[1])

    def _telling_row(self, alone: Trial) -> int | None:
        """See `Admitted.row`; `alone` is the trial of single rows."""
        contract, golden = self._engine.contract, self._golden
        nearest = [row.sample for row in alone.worst]
        sizes = [max(map(largest, answer.values()), default=0.0) for answer in golden.answers]
        plainest = sorted(range(len(sizes)), key=lambda place: -sizes[place])
        for place in dict.fromkeys([*nearest, *plainest]):
            if not judge(
                contract, self._variant.promise, golden.at([place]), [self._alone[place]]
            ).finding:
                return place
        return None


def anchors_of(bundle: Bundle) -> tuple[Outputs, ...]:
    """See `Admitted.anchors`."""
    answers = bundle.golden.answers

    def peak(name: str) -> Outputs:
        return dict(max(answers, key=lambda answer: largest(answer[name])))

    return tuple(peak(tensor.name) for tensor in bundle.contract.answer_tensors)


def lacking(engine: Engine) -> str:
    """Return what this machine lacks of every machine that the variant was proven on.

    It is empty if the machine lacks nothing, or if nothing is known.

    Whole-number kernels are chosen by instruction set, and some of them saturate: without VNNI,
    sums of u8 times s8 may.
    """
    if engine.remote or not engine.bundle.manifest.variant(engine.variant).recipe:
        return ""
    try:
        receipts = engine.bundle.receipts()
    except (BundleError, OSError):
        log.warning(
            "%s %s: a receipt beside it cannot be read", engine.bundle.name, engine.bundle.version
        )
        return ""
    here = set(this_machine({}).instruction_sets)
    missing = [
        sorted(set(receipt.machine.instruction_sets) - here)
        for receipt in receipts
        if any(trial.variant == engine.variant and trial.passed for trial in receipt.trials)
    ]
    if not missing or not all(missing):
        return ""
    return (
        f"variant '{engine.variant}' was proven with {', '.join(min(missing))}, "
        "which this machine has not"
    )
