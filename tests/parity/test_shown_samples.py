"""What the report shows of the rows of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from support.made import made_bundle

import seatrial as st
from seatrial_contracts.kinds.image import base64_text, draw
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.report.samples import shown_inputs

PICTURE = base64_text(draw(8, 6, (200, 10, 10), "PNG"))


class Page(st.Row):
    photo: Annotated[bytes | None, st.Image(size_px=(6, 8))]
    words: int


class Book(st.Row):
    cover: Page
    pages: Annotated[list[Annotated[int, st.Number(ge=0)]], st.Items(max_items=4)]


class Out(st.Answer):
    y: float


def ones(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {"y": np.ones(len(feeds["cover_words"]), np.float32)}


def test_objects_are_shown_by_field_and_a_missing_picture_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Book, Out)
    whole: dict[str, Any] = {"cover": {"photo": PICTURE, "words": 3}, "pages": [1, 2]}
    missing: dict[str, Any] = {"cover": {"words": 4}, "pages": []}
    bundle = made_bundle(tmp_path, monkeypatch, contract, ones, [whole, missing])
    shown = {each.name: each for each in shown_inputs(bundle, whole)}
    assert shown["cover.photo"].picture.startswith("data:image/png")
    assert (shown["cover.words"].text, shown["pages"].text) == ("3", "[1, 2]")
    shown = {each.name: each for each in shown_inputs(bundle, missing)}
    assert not shown["cover.photo"].picture
    assert shown["cover.words"].text == "4"
