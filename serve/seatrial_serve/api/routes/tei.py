"""What the routes of text-embeddings-inference share: their errors, and their way with texts."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import orjson
from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, JsonSchema, closed_object
from seatrial_contracts.kinds.text import Text
from seatrial_serve.api.routes.body import TEXT, Body
from seatrial_serve.http.status import ToldError

Side = Literal["right", "left", "Right", "Left"]
TYPES = {413: "validation", 422: "tokenizer", 429: "overloaded", 503: "overloaded", 504: "backend"}
"""HTTP status -> their word for it; other errors of a request are "validation"."""


def tei_error(told: ToldError) -> bytes:
    """An error as their clients read it, with our code beside it."""
    kind = TYPES.get(told.status, "validation" if told.status < 500 else "backend")
    return orjson.dumps({"error": told.text, "error_type": kind, "code": told.code})


TEI_ERROR: JsonSchema = closed_object({"error": TEXT, "error_type": TEXT, "code": TEXT})


class CutBody(Body):
    """How a request has its texts cut."""

    truncate: bool | None = Field(None, description="true or false")
    truncation_direction: Side = Field("right", description="right or left")

    @property
    def may_cut(self) -> bool:
        """May the model read a text in part, where the contract has texts cut?"""
        return self.truncate is not False

    def check_side(self, kind: Text) -> None:
        """Raise `Refusal` where texts are cut on the other side."""
        side = kind.truncation_side or "right"
        other = self.truncation_direction.lower() != side
        if self.truncate and kind.overflow == "truncate" and other:
            raise Refusal("E_OPTION", "field 'truncation_direction'", "the other side", side)


class TextsBody(CutBody):
    """What their routes about embeddings have in common."""

    prompt_name: str | None = Field(None, description="the name of a prompt")


def texts_of(inputs: Any) -> list[Any]:
    """`inputs` is a text, the ids of its tokens, or a list of either."""
    is_one = isinstance(inputs, str) or (inputs and isinstance(inputs[0], int))
    return [inputs] if is_one else list(inputs)


def unit(vector: Array) -> Array:
    """The vector at length 1; one of zeros stays as it is."""
    length = np.linalg.norm(vector)
    return vector / length if length else vector
