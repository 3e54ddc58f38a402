"""text-embeddings-inference's `POST /predict`: the labels of texts."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, JsonSchema, closed_object
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.body import NUMBER, TEXT, listed
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TEI_ERROR, CutBody, tei_error
from seatrial_serve.api.routes.texts import TextInput
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel
from seatrial_serve.process.json_pieces import write_json


class PredictBody(CutBody):
    """Of `POST /predict`. A list of lists of one text each is a batch, as a list of texts is."""

    inputs: str | list[str] | list[list[str]] = Field(
        description="a text, or a list of texts, or of lists of one text each"
    )
    raw_scores: bool = Field(False, description="false: scores are answered as the model has them")

    @property
    def texts(self) -> list[str]:
        """The texts. Raises `Refusal` for pairs."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        flat = [[each] if isinstance(each, str) else each for each in self.inputs]
        if any(len(each) != 1 for each in flat):
            where, want = "field 'inputs'", "one text each"
            raise Refusal("E_UNSUPPORTED", where, "a list of several texts", want)
        return [text for (text,) in flat]


LABELS = listed(closed_object({"label": TEXT, "score": NUMBER}))


class TeiPredict(Route[PredictBody]):
    """Answers all labels of each text with their scores, the highest first."""

    path: ClassVar[str] = "/predict"
    summary = "text-embeddings-inference's labels of texts"
    body = PredictBody
    answers: ClassVar[JsonSchema] = {"anyOf": [LABELS, listed(LABELS)]}
    fails: ClassVar[JsonSchema] = TEI_ERROR

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def fit(self, model: KnownModel) -> Any:
        """See `Route`."""
        return labels_of(model.contract), TextInput(model)

    def is_slow(self, body: PredictBody) -> bool:
        """See `Route`: texts are tokenised to see whether they would be cut."""
        return not body.may_cut

    def job(self, asked: RouteExchange, body: PredictBody) -> Job:
        """See `Route`."""
        (name, kind), given = self.fit(asked.model)
        if body.raw_scores:
            raise Refusal("E_OPTION", "field 'raw_scores'", "true", "false, as the model has them")
        body.check_side(given.kind)
        rows = given.rows(body.texts, may_cut=body.may_cut)
        return Job(rows, partial(write_labels, name, kind, isinstance(body.inputs, str)))


def labels_of(contract: Contract) -> tuple[str, Label | Labels]:
    """The contract's only output of labels. Raises `Refusal`."""
    found = [
        (field.name, field.kind)
        for field in contract.outputs
        if isinstance(field.kind, (Label, Labels))
    ]
    if len(found) != 1:
        got = f"one with {len(found)} outputs of labels"
        raise Refusal("E_UNSUPPORTED", "model", got, "a model that answers one st.Label")
    return found[0]


def write_labels(name: str, kind: Label | Labels, is_one: bool, answer: Answer) -> Reply:
    """The labels of each text; of a single text that stood in no list, its labels alone."""
    told = [described(kind, outputs[name][index]) for outputs, index in answer]
    return Reply(write_json(told[0] if is_one else told), answer=answer)


def described(kind: Label | Labels, scores: Array) -> list[dict[str, Any]]:
    """All labels with their scores, the highest first."""
    order = np.argsort(-scores, kind="stable")
    return [{"label": kind.classes[place], "score": scores[place]} for place in order]
