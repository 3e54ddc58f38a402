"""Fuzzing of sounds: a fault at some of them is found, shrunk, and shown by what the file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from support.made import made_bundle

import seatrial as st
from seatrial_contracts.answer_changes import Answered
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.sound import draw_sound
from seatrial_parity.fuzz.disagreement import described
from seatrial_parity.fuzz.fuzz import Fuzz
from seatrial_parity.fuzz.side import Side
from seatrial_parity.runners.onnx import OnnxRunner


class Recording(st.Row):
    clip: Annotated[bytes, st.Audio(max_seconds=1)]


class Level(st.Answer):
    level: float


CONTRACT = st.contract_from_rows(Recording, Level)


def right(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The mean of the row's own samples' sizes."""
    own = np.arange(feeds["clip"].shape[1]) < feeds["clip_length"][:, None]
    sizes = np.where(own, np.abs(feeds["clip"]), 0).sum(1, dtype=np.float64)
    return {"level": (sizes / feeds["clip_length"]).astype(np.float32)}


def wrong_at_full_scale(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Off by one where a sample reaches full scale."""
    return {"level": right(feeds)["level"] + (np.abs(feeds["clip"]).max(1) > 0.99)}


class Twin:
    """The training side."""

    front = HostStage(CONTRACT, {})

    def answer(self, row: Any) -> Answered:
        try:
            encoded = self.front.encode_row(CONTRACT.validate_row(row))
        except st.Refusal as refusal:
            return refusal.code
        return {"level": right(collate(self.front.specs, [encoded]))["level"][0]}

    def cause(self, row: Any) -> str:
        return ""


def test_a_fault_at_full_scale_alone_is_found_and_shown_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"clip": base64_text(draw_sound(800, 16_000))}]
    bundle = made_bundle(tmp_path, monkeypatch, CONTRACT, wrong_at_full_scale, rows)
    with OnnxRunner(bundle) as runner:
        sides = [Side(bundle, runner, CONTRACT.tolerance)]
        found = Fuzz(bundle, Twin(), sides, rows=60).run()  # type: ignore[arg-type]
    assert found is not None
    assert "output 'level': got 1." in found.finding
    (shown,) = described(CONTRACT, found.row)
    assert shown.startswith("  clip: WAV (PCM_16) of 0.00")
