"""A foreign file whose answers are of several tensors, and in the client's own terms."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from support.foreign import adopt, parsed

import seatrial as st
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

BOXES = """g (uint8[n, 32, 32, 3] photo)
  => (float[n, 1, 4] pred_boxes, float[n, 1, 2] probabilities)
  <float[1, 1, 4] box = {0.25, 0.25, 0.75, 0.5}, float[1, 1, 2] score = {0.9, 0.1}> {
  axes = Constant <value_ints = [1, 2, 3]> ()
  light = Cast <to = 1> (photo)
  mean = ReduceMean <keepdims = 0> (light, axes)
  none = Sub (mean, mean)
  last = Constant <value_ints = [1, 2]> ()
  zero = Unsqueeze (none, last)
  pred_boxes = Add (box, zero)
  probabilities = Add (score, zero) }"""


class Shot(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",), size_px=(32, 32), fit="letterbox")]


class Found(st.Answer):
    things: Annotated[list, st.Detections("boat", "buoy", on="photo", relative=True, candidates=1)]


def png(width: int, height: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height), (20, 90, 160)).save(sink, "PNG")
    return sink.getvalue()


def test_a_detector_of_two_tensors_is_adopted_and_answers_in_the_clients_pixels(
    tmp_path: Path,
) -> None:
    rows: list[dict[str, Any]] = [{"photo": png(64, 32)}, {"photo": png(33, 80)}]
    adopted = adopt(
        parsed(BOXES, 18), tmp_path, Shot, Found, rows,
        renamed={"pred_boxes": "things_boxes", "probabilities": "things_scores"},
    )  # fmt: skip
    engine = load_engine(adopted, RuntimeOptions())
    [answer] = engine.answer(rows[:1])
    [thing] = engine.describe(rows[0], answer)["things"]
    assert thing["label"] == "boat"
    # 64 x 32 pixels are 32 x 16 of the graph's 32 x 32, with 8 rows of filling above and below.
    sides = [float(thing["box"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]
    assert np.allclose(sides, [16, 0, 48, 16])
