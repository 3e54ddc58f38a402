"""Live parity: some answers are computed once more and compared with what was answered.

They are computed alone and on the fp32 graph.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.compare import compare_rows, largest
from seatrial_contracts.errors import SeatrialError
from seatrial_contracts.measures import measure
from seatrial_contracts.promise import Promise
from seatrial_serve.inference.engine import Engine, Outputs, load_engine
from seatrial_serve.metrics.families import Families
from seatrial_serve.models.request import row_at
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.observers.sampling import Answered
from seatrial_serve.process.background import BackgroundWorker
from seatrial_serve.process.token_bucket import TokenBucket
from seatrial_serve.runtimes.runtime import RuntimeOptions

log = logging.getLogger("seatrial.live_parity")
REFERENCE = "fp32"
KEPT = 4


@dataclass(frozen=True)
class ParityPolicy:
    """How many answers are tried again, and how many of the last ones may be wrong.

    The policy bounds the answers a second, and the bytes of the reference that they are tried on.
    """

    per_s: float = 1.0
    reference_bytes: int = 64 * 2**20
    violations: int = 5
    window: int = 50


@dataclass(slots=True)
class Sample:
    """One row and what was answered for it."""

    model: ServedModel
    row: Mapping[str, Any]
    got: Outputs


Distrust = Callable[[ServedModel, str], None]
"""Told once of a model whose answers are wrong again and again, and why."""


class LiveParity:
    """A `SampleObserver` that works in a thread of its own; traffic never waits for it.

    It works only while no request is on its way through the model.

    The thread is of usual priority: a lower one would be taken off its core while it holds the
    interpreter's lock, and traffic would wait for that. A reference graph is loaded with the first
    answer that needs it. If fp32 is what is served, here and on the CPU, the loaded graph itself is
    the reference, and the row in its batch is held against the row alone.
    """

    def __init__(self, policy: ParityPolicy, families: Families, distrust: Distrust) -> None:
        self._policy, self._families, self._distrust = policy, families, distrust
        self._rate = TokenBucket(policy.per_s)
        self._judges: WeakKeyDictionary[ServedModel, Judge | None] = WeakKeyDictionary()
        self._aside = BackgroundWorker[Sample]("live-parity", self._check, KEPT)

    def answered(self, seen: Sequence[Answered]) -> None:
        """See `SampleObserver`."""
        for each in seen:
            if each.model.backlog.users:  # this one is busy; others may be quiet
                continue
            if not self._rate.take():
                return
            self._aside.offer(sample_of(each))

    def wait_idle(self, within_s: float = 5.0) -> bool:
        """Wait until what was sampled is judged: is it?"""
        return self._aside.wait_idle(within_s)

    def close(self, within_s: float) -> None:
        """End the thread, within a moment."""
        self._aside.close(within_s)

    def _check(self, sample: Sample) -> None:
        judge = self._judge_of(sample.model)
        if judge is None:
            return
        finding = judge.judge(sample)
        if finding:
            log.warning("%s %s, variant %s: %s", *judge.labels, finding)
        if judge.sustained:
            reason = (
                f"{sum(judge.wrong)} of the last {len(judge.wrong)} answers that were tried again "
                f"broke what '{judge.labels[2]}' promises; the last: {finding}"
            )
            judge.wrong.clear()
            self._distrust(sample.model, reason)

    def _judge_of(self, model: ServedModel) -> Judge | None:
        if model not in self._judges:
            try:
                self._judges[model] = self._new_judge(model)
            except SeatrialError as error:
                self._judges[model] = None
                log.warning("%s %s: no live parity: %s", model.name, model.version, error)
        return self._judges[model]

    def _new_judge(self, model: ServedModel) -> Judge | None:
        bundle, served = model.bundle, model.engine
        name = reference_variant(bundle)
        on_host = served.variant == name and served.provider == "CPUExecutionProvider"
        if on_host and isinstance(served, Engine):
            return Judge(model, served, self._families, self._policy)
        size = bundle.manifest.graph_bytes(bundle.manifest.variant(name).graph)
        if size > self._policy.reference_bytes:
            text = "%s %s: no live parity: its %s graph has %d bytes; mend: --live-parity-bytes"
            log.warning(text, model.name, model.version, name, size)
            return None
        return Judge(
            model, load_engine(bundle, RuntimeOptions(), name), self._families, self._policy
        )


class Judge:
    """Judges the answers of one version.

    `wrong` holds for each of the last ones whether it broke its promise.
    """

    def __init__(
        self, model: ServedModel, reference: Engine, families: Families, policy: ParityPolicy
    ) -> None:
        bundle = model.bundle
        self.labels = model.name, model.version, model.engine.variant
        self._reference, self._limit = reference, policy.violations
        self._contract = bundle.contract
        self._promise = bundle.manifest.variant(model.engine.variant).promise or Promise(
            tolerance=bundle.contract.tolerance
        )
        names = [tensor.name for tensor in bundle.contract.answer_tensors]
        self._anchors = model.admitted.anchors
        self._scales = {
            name: largest(anchor[name]) for name, anchor in zip(names, self._anchors, strict=True)
        }
        self._error = families.parity_error.labels(*self.labels)
        self._checked = families.parity_checked.labels(*self.labels)
        self._violations = families.parity_violations.labels(*self.labels)
        self.wrong: deque[bool] = deque(maxlen=policy.window)

    @property
    def sustained(self) -> bool:
        """Are too many of the last ones wrong?"""
        return sum(self.wrong) >= self._limit

    def judge(self, sample: Sample) -> str:
        """What is wrong with an answer, without its numbers; empty where nothing is."""
        try:
            answers = self._reference.run([[self._reference.encode(sample.row)]]).outputs
        except SeatrialError:
            finding = f"{self._reference.variant} fails on a row that was answered"
        else:
            finding = self._compare({name: answers[name][0] for name in self._scales}, sample.got)
        self._checked.inc()
        self._violations.inc(bool(finding))
        self.wrong.append(bool(finding))
        return finding

    def _compare(self, want: Outputs, served: Outputs) -> str:
        got = self._contract.arranged(want, served)
        shares = [
            largest(np.subtract(got[name], want[name], dtype=np.float64)) / (scale or 1.0)
            for name, scale in self._scales.items()
            if got[name].shape == want[name].shape
        ]
        self._error.observe(max(shares, default=0.0))
        tolerance = self._promise.tolerance or self._contract.tolerance
        found = compare_rows([*self._anchors, want], [*self._anchors, got], tolerance)[-1]
        if found.cause or not (found.passed or self._promise.tolerance is None):
            return (
                f"output '{found.output}': "
                f"{found.cause or f'error {found.worst_error:.2e}, allowed {found.allowed:.2e}'}"
            )
        return self._promise.finding(
            measure(self._contract, [want], [got]), measure(self._contract, [want], [want])
        )


def reference_variant(bundle: Bundle) -> str:
    """Return the name of the variant that others are held against.

    It is fp32 if there is one, else the first.
    """
    names = [variant.name for variant in bundle.manifest.variants]
    return REFERENCE if REFERENCE in names else names[0]


def sample_of(answered: Answered) -> Sample:
    """Return one row of an answered request, whichever, with its own copy of the answer.

    The batch's memory is not kept.
    """
    answer = answered.answer
    places = list(answer)
    place = secrets.randbelow(len(places))
    outputs, index = places[place]
    got = {
        tensor.name: outputs[tensor.name][index].copy()
        for tensor in answered.model.contract.answer_tensors
    }
    return Sample(answered.model, row_at(answer.given, place), got)
