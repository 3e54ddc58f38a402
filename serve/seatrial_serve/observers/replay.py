"""Replay: a kept failure run again, without a server.

It runs alone, and in a batch as large as the one it was in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError, ModelError, Refusal, Unavailable
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.observers.kept_failure import KeptFailure
from seatrial_serve.runtimes.runtime import RuntimeOptions


@dataclass(frozen=True)
class Replayed:
    """One run: its batches' rows, its code, its seconds, and its answer.

    The answer is as a client would see it.
    """

    batch_rows: int
    code: str
    seconds: float
    predictions: list[Any]


def replay(
    kept: KeptFailure,
    bundle: Bundle,
    options: RuntimeOptions,
    identity: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Replayed]:
    """Run a kept failure again on the variant that it failed on.

    Raises `DeclarationError` for another bundle, or rows that cannot be had.
    """
    if bundle.digest != kept.digest:
        where, want = "bundle", f"{kept.model} {kept.version} of digest {kept.digest[:16]}"
        raise DeclarationError(
            where, f"{bundle.name} {bundle.version} of digest {bundle.digest[:16]}", want
        )
    rows = kept.raw_rows(identity)
    engine = load_engine(bundle, options, kept.variant)
    # What the first run of all costs is no part of this one's time.
    engine.answer(bundle.golden.rows[:1])
    company = min(sum(count for count, _ in kept.mates), kept.batch_rows)
    runs = []
    for batch_rows in sorted({1, max(company, 1)}):
        # its mates are not kept: it keeps itself company, rows of the same shapes
        several = rows * -(-batch_rows // len(rows)) if batch_rows > 1 else rows
        start, code, predictions = clock(), "ok", []
        try:
            answers = engine.answer(several, batch_rows)[: len(rows)]
            predictions = list(map(engine.describe, rows, answers))
        except (ModelError, Refusal, Unavailable) as error:
            code = error.code
        seconds = clock() - start
        runs.append(
            Replayed(
                batch_rows,
                code,
                seconds,
                orjson.loads(orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY)),
            )
        )
    return runs


def recurs(kept: KeptFailure, runs: list[Replayed]) -> bool:
    """Return whether the failure happens again.

    It does if the code is the same, or, if the request was late, if an answer is later than the
    objective.
    """
    if kept.code != "ok":
        return any(run.code == kept.code for run in runs)
    return any(
        run.code != "ok" or (kept.objective_s is not None and run.seconds > kept.objective_s)
        for run in runs
    )
