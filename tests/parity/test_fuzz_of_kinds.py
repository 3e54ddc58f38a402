"""Fuzzing finds a fault planted in a corner of each kind of input, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from support.input_kinds import KINDS, InputKind, files_of, score
from support.made import fake_runtime, made_bundle

from seatrial_contracts.answer_changes import Answered
from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import collate
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.fuzz.case import drawn_cases
from seatrial_parity.fuzz.disagreement import Disagreement
from seatrial_parity.fuzz.fuzz import Fuzz
from seatrial_parity.fuzz.side import Side
from seatrial_parity.runners.onnx import OnnxRunner

GOLDEN_ROWS, ROWS, FEW_ROWS = 6, 160, 20
"""`FEW_ROWS` are tried where nothing is to be found."""


class Twin:
    """The training side: the bundle's own contract, and the sound model, on each row alone."""

    def __init__(self, bundle: Any) -> None:
        self._front = bundle.make_front()

    def answer(self, row: Any) -> Answered:
        try:
            encoded = self._front.encode_row(self._front.contract.validate_row(row))
        except Refusal as refusal:
            return refusal.code
        return {"score": score(collate(self._front.specs, [encoded]))["score"][0]}

    def cause(self, row: Any) -> str:
        return ""


def disagreements(
    kind: InputKind, folder: Path, patch: pytest.MonkeyPatch, *, broken: bool
) -> Iterator[Disagreement]:
    """What fuzzing finds in a bundle whose served side may have the planted fault.

    First come the rows that every gate draws from the contract, then a whole fuzz.
    """

    def served(feeds: Mapping[str, Array]) -> dict[str, Array]:
        mine = {name: np.array(array) for name, array in feeds.items()}
        if broken:
            kind.broken(mine)
        return score(mine)

    golden = kind.golden(GOLDEN_ROWS)
    bundle = made_bundle(folder, patch, kind.contract, score, golden, files_of(kind))
    fake_runtime(patch, kind.contract, served)
    with OnnxRunner(bundle) as runner:
        for row, answer in zip(golden, runner.run(golden, 1), strict=True):
            assert answer["score"] == Twin(bundle).answer(row)["score"], "golden rows show nothing"
        sides = [Side(bundle, runner, bundle.contract.tolerance)]
        made = Fuzz(bundle, Twin(bundle), sides, rows=ROWS)  # type: ignore[arg-type]
        cases = drawn_cases(bundle, ROWS if broken else FEW_ROWS, Random(0))
        yield from filter(None, map(made.disagreement, cases))
        if broken and (found := made.run()) is not None:
            yield found
        answered = [not isinstance(made.training.answer(case.row), str) for case in cases]
        assert sum(answered) >= len(cases) // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_fault_that_no_golden_row_shows_is_found_by_fuzzing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = KINDS[name]
    for found in disagreements(kind, tmp_path / "sound", monkeypatch, broken=False):
        pytest.fail("\n".join(found.lines(kind.contract)))
    found = next(disagreements(kind, tmp_path / "broken", monkeypatch, broken=True))
    assert "output 'score'" in found.finding
