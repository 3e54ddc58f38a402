"""Small pictures, and what an image field makes of them."""

from __future__ import annotations

import io
from typing import Annotated, Any

import numpy as np
from PIL import Image as Pillow

import seatrial as st
from seatrial_contracts.host_stage import HostStage

RNG = np.random.default_rng(0)
PICTURE = Pillow.fromarray(RNG.integers(0, 255, (40, 60, 3), np.uint8).repeat(4, 0).repeat(4, 1))


class Score(st.Answer):
    score: float


def front(**options: Any) -> HostStage:
    class Photo(st.Row):
        photo: Annotated[bytes, st.Image(**options)]

    Photo.model_rebuild(_types_namespace={"options": options, "Annotated": Annotated, "st": st})
    return HostStage(st.contract_from_rows(Photo, Score), {})


def encoded(picture: Pillow.Image, fmt: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, fmt, **options)
    return sink.getvalue()


def decode(data: bytes | str, **options: Any) -> np.ndarray:
    stage = front(**options)
    (pixels,) = stage.encode_row(stage.contract.validate_row({"photo": data}))
    return pixels


def code_of(data: Any, **options: Any) -> str | None:
    return front(**options).refusal_code({"photo": data})
