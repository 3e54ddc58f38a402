"""Labels of a text that the request names: Hugging Face's zero-shot classification.

A model of entailment reads the text with a hypothesis for each label. Each pair is a row.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.body import Body
from seatrial_serve.api.routes.texts import check_number
from seatrial_serve.api.tasks.task import LABELS, Task, TextBody
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel
from seatrial_serve.process.json_pieces import write_json

BLANK = "{}"
"""Where a label stands in a template."""
WANT = "a model of an st.TextPair that answers one st.Label of entailment and contradiction"


class ZeroShotParameters(Body):
    """Which labels, and how they are put."""

    candidate_labels: list[str] = Field(description="a list of labels")
    hypothesis_template: str = Field("This example is {}.", description="a text with {} in it")
    multi_label: bool = Field(False, description="true or false")


class ZeroShotBody(TextBody):
    """A text."""

    parameters: ZeroShotParameters = Field(
        description="an object of candidate_labels, hypothesis_template, multi_label"
    )


class ZeroShotClassification(Task[ZeroShotBody]):
    """Labels with their scores, the highest first.

    A label's score is its share of all labels' probabilities of entailment. With `multi_label`, or
    with one label alone, it is the probability of entailment against contradiction.
    """

    name = "zero-shot-classification"
    body = ZeroShotBody
    answers = LABELS

    def __init__(self, model: KnownModel) -> None:
        super().__init__(model)
        fields, kind = self.contract.inputs, self.contract.inputs[0].kind
        found = [
            (field.name, sides)
            for field in self.contract.outputs
            if isinstance(field.kind, Label)
            for sides in [sides_of(field.kind.classes)]
            if sides is not None
        ]
        if len(fields) > 1 or not isinstance(kind, TextPair) or len(found) != 1:
            raise Refusal("E_UNSUPPORTED", "model", f"one that does no {self.name}", WANT)
        [(self.output, self.sides)] = found
        self.given, self.texts = fields[0].name, kind.texts

    def job(self, body: ZeroShotBody) -> Job:
        """See `Task`."""
        asked = body.parameters
        if BLANK not in asked.hypothesis_template:
            where, want = "field 'parameters.hypothesis_template'", "a text with {} in it"
            raise Refusal("E_SCHEMA", where, "a text without a place for the label", want)
        check_number(asked.candidate_labels, self.contract, "labels")
        premise, hypothesis = self.texts
        rows = [
            self.contract.validate_row(
                {
                    self.given: {
                        premise: body.inputs,
                        hypothesis: asked.hypothesis_template.replace(BLANK, label),
                    }
                },
                place,
            )
            for place, label in enumerate(asked.candidate_labels)
        ]
        return Job(rows, partial(self._reply, asked))

    def _reply(self, asked: ZeroShotParameters, answer: Answer) -> Reply:
        scores = np.array([outputs[self.output][index] for outputs, index in answer], np.float64)
        if scores.min() < 0 or scores.max() > 1:
            raise Refusal(
                "E_UNSUPPORTED", "model", "one whose scores are no probabilities",
                "one with its softmax inside",
            )  # fmt: skip
        shares = shares_of(scores[:, self.sides], alone=asked.multi_label or len(scores) == 1)
        told = [
            {"label": asked.candidate_labels[place], "score": shares[place]}
            for place in np.argsort(-shares, kind="stable").tolist()
        ]
        return Reply(write_json(told), answer=answer)


def sides_of(classes: tuple[str, ...]) -> tuple[int, int] | None:
    """The places of contradiction and entailment among classes; None where they are not there.

    Entailment is the class that begins so, as transformers has it. Contradiction is the other one
    of two classes, or the one that begins so.
    """
    names = [name.lower() for name in classes]
    entails = [place for place, name in enumerate(names) if name.startswith("entail")]
    denies = [
        place
        for place, name in enumerate(names)
        if place not in entails and (len(names) == 2 or name.startswith("contradict"))
    ]
    return (denies[0], entails[0]) if len(entails) == len(denies) == 1 else None


def shares_of(scores: Array, *, alone: bool) -> Array:
    """Labels' scores, float64, from the probabilities of contradiction and entailment, `(n, 2)`.

    The least positive number stands in for sums of zeros, which share nothing.
    """
    total = scores.sum(1) if alone else scores[:, 1].sum()
    shares: Array = scores[:, 1] / np.maximum(total, np.finfo(np.float64).tiny)
    return shares
