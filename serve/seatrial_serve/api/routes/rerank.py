"""What routes of reranking share: one query and several texts, by how relevant each text is.

Each text is a row of a model whose only input is an `st.TextPair`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.contract_fields import OutputField
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_contracts.kinds.tokenised import Tokenise
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.texts import check_number
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel, loaded
from seatrial_serve.process.json_pieces import write_json


class Ranked(NamedTuple):
    """A text of a request: its place, and how relevant it is."""

    place: int
    """In the request."""
    score: float


Described = Callable[[list[Ranked]], Any]
"""Makes the JSON values of a reply of the ranked texts, the most relevant first."""


class Reranker:
    """A model that says how relevant a text is to a query."""

    def __init__(self, model: KnownModel) -> None:
        """Raises `Refusal` where the model takes or answers something else."""
        fields = model.contract.inputs
        kind = fields[0].kind
        if len(fields) > 1 or not isinstance(kind, TextPair):
            raise Refusal(
                "E_UNSUPPORTED",
                "model",
                "one that takes something else than a pair of texts",
                "a model whose only input is an st.TextPair",
            )
        self.model, self.name, self.kind = model, fields[0].name, kind
        self.output = score_of(model.contract.outputs)

    def job(
        self, query: str, texts: Sequence[str], describe: Described, *, raw: bool, may_cut: bool
    ) -> Job:
        """Score each text, and reply with what `describe` makes of their ranks.

        With `raw`, scores are the model's own logits; they are probabilities otherwise. Without
        `may_cut`, a text that would be read in part is refused. Raises `Refusal`.
        """
        if raw and self._is_probability:
            raise Refusal(
                "E_UNSUPPORTED", "raw scores", "a model that answers probabilities",
                "a model that answers logits, or scores that are not raw",
            )  # fmt: skip
        contract = self.model.contract
        check_number(texts, contract)
        first, second = self.kind.texts
        rows = [
            contract.validate_row({self.name: {first: query, second: text}}, place)
            for place, text in enumerate(texts)
        ]
        if not may_cut:
            self._check_uncut(rows)
        return Job(rows, partial(self._reply, describe, raw))

    @property
    def _is_probability(self) -> bool:
        kind = self.output.kind
        return isinstance(kind, Label) or (
            isinstance(kind, Number)
            and kind.ge is not None
            and kind.le is not None
            and 0 <= kind.ge <= kind.le <= 1
        )

    def _check_uncut(self, rows: Sequence[dict[str, Any]]) -> None:
        stage = loaded(self.model).engine.front.stages[self.name]
        assert isinstance(stage, Tokenise)
        for place, row in enumerate(rows):
            if stage.cuts(row[self.name]):
                want = f"{self.kind.max_tokens} tokens at most"
                raise Refusal("E_TOKENS", f"text {place}", "more tokens with the query", want)

    def _reply(self, describe: Described, raw: bool, answer: Answer) -> Reply:
        name = self.output.name
        scores = np.array([outputs[name][index].ravel()[-1] for outputs, index in answer])
        scores = scores.astype(np.float32)
        if not raw and not self._is_probability:
            scores = sigmoid(scores)
        order = np.argsort(-scores, kind="stable").tolist()
        value = describe([Ranked(place, scores[place]) for place in order])
        few = answer.rows <= loaded(self.model).few_rows
        return Reply(write_json(value, 0 if few else answer.size_bytes), answer=answer)


def score_of(outputs: Sequence[OutputField]) -> OutputField:
    """The only output that is a score: a number, or a label of one class or two.

    Of two classes, the second is the relevant one. Raises `Refusal`.
    """
    found = [
        field
        for field in outputs
        if (isinstance(field.kind, Number) and field.kind.datatype in ("FP32", "FP64"))
        or (isinstance(field.kind, Label) and len(field.kind.classes) <= 2)
    ]
    if len(found) != 1:
        raise Refusal(
            "E_UNSUPPORTED",
            "model",
            f"one with {len(found)} scores of a pair",
            "a model that answers one float, or a label of two classes, the second one relevant",
        )
    return found[0]


def sigmoid(logits: Any) -> Any:
    """Probabilities of logits, float32, without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))).astype(np.float32)
