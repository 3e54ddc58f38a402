"""Labels of a text, a picture or a sound: Hugging Face's three tasks of classification."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from seatrial_contracts.kinds.audio import Audio
from seatrial_contracts.kinds.classes import best_of
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.output_kind import Arrays
from seatrial_contracts.kinds.text import Text
from seatrial_serve.api.routes.body import Body
from seatrial_serve.api.tasks.task import LABELS, RowTask, Telling, check_fixed


class LabelParameters(Body):
    """How labels are told."""

    top_k: int | None = Field(None, description="a whole number")
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = Field(
        None, description="sigmoid, softmax or none"
    )


class LabelBody(Body):
    """A text, or a picture or a sound in base64."""

    inputs: str = Field(description="a text, or a picture or a sound in base64")
    parameters: LabelParameters = Field(
        LabelParameters(), description="an object of top_k, function_to_apply"
    )


class Classification(RowTask[LabelBody]):
    """What the three tasks share."""

    body = LabelBody
    gives_kinds = (Label, Labels)

    def telling(self, body: LabelBody) -> Telling:
        """See `RowTask`."""
        kind = self.output.kind
        assert isinstance(kind, (Label, Labels))
        asked = body.parameters
        if isinstance(kind, Labels):
            want, most = "sigmoid, which the model's scores have", kind.top
            check_fixed("function_to_apply", asked.function_to_apply, "sigmoid", want)
        else:
            want, most = "none: scores are told as the model has them", kind.most
            check_fixed("function_to_apply", asked.function_to_apply, "none", want)
        options, told = self.best(asked.top_k, most or len(kind.classes))

        def labels(arrays: Arrays, note: Any) -> list[dict[str, Any]]:
            if isinstance(kind, Labels):
                return list(kind.describe(arrays, note, options)[:told])
            scores, most = arrays[0], options.get("top_k", told)
            return [
                {"label": kind.classes[place], "score": scores[place]}
                for place in best_of(scores, most).tolist()
            ]

        return labels


class TextClassification(Classification):
    """Labels in a list within a list: Hugging Face's Python client reads the first of them."""

    name = "text-classification"
    takes_kind = Text
    answers: ClassVar[JsonSchema] = {
        "type": "array", "items": LABELS, "minItems": 1, "maxItems": 1,
    }  # fmt: skip

    def telling(self, body: LabelBody) -> Telling:
        """See `RowTask`."""
        labels = super().telling(body)
        return lambda arrays, note: [labels(arrays, note)]


class ImageClassification(Classification):
    """Labels in a list."""

    name = "image-classification"
    takes_kind = Image
    answers = LABELS


class AudioClassification(Classification):
    """Labels in a list."""

    name = "audio-classification"
    takes_kind = Audio
    answers = LABELS
