"""Parts of a text: Hugging Face's token classification and question answering."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.extract import Extract
from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_contracts.kinds.output_kind import Arrays
from seatrial_contracts.kinds.parts import place_schemas
from seatrial_contracts.kinds.spans import Spans
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_serve.api.routes.body import Body
from seatrial_serve.api.tasks.task import RowTask, Telling, TextBody, check_fixed
from seatrial_serve.models.described import KnownModel

NOT_CUT = "a request without it: a text is read as one"
SCORE = {"score": {"type": "number"}}


class TokenParameters(Body):
    """How tokens become spans. The contract says so; a request may say the same."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = Field(
        None, description="none, simple, first, average or max"
    )
    ignore_labels: list[str] | None = Field(None, description="a list of labels")
    stride: int | None = Field(None, description="a whole number")


class TokensBody(TextBody):
    """A text."""

    parameters: TokenParameters = Field(
        TokenParameters(), description="an object of aggregation_strategy, ignore_labels, stride"
    )


class TokenClassification(RowTask[TokensBody]):
    """The spans of a text, in its order; places count code points."""

    name = "token-classification"
    body = TokensBody
    takes_kind, gives_kinds = Text, (Spans,)
    answers: ClassVar[JsonSchema] = {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "entity_group": {"type": "string"}, "entity": {"type": "string"},
                "word": {"type": "string"}, **SCORE, **place_schemas(),
            },
            "required": ["score", "word", "start", "end"],
            "additionalProperties": False,
        },
    }  # fmt: skip

    def telling(self, body: TokensBody) -> Telling:
        """See `RowTask`."""
        asked, kind = body.parameters, self.output.kind
        assert isinstance(kind, Spans)
        want = f"{kind.aggregate}, as is declared"
        check_fixed("aggregation_strategy", asked.aggregation_strategy, kind.aggregate, want)
        check_fixed("stride", asked.stride, None, NOT_CUT)
        hidden = set(kind.ignore_labels)
        if asked.ignore_labels is not None and not hidden <= {*asked.ignore_labels}:
            want = f"these among others, which the contract ignores: {', '.join(sorted(hidden))}"
            raise Refusal("E_OPTION", "parameter 'ignore_labels'", "fewer", want[:300])
        options, ignored = self.options(), asked.ignore_labels or ()
        label = "entity" if kind.aggregate == "none" else "entity_group"

        def spans(arrays: Arrays, note: Any) -> list[dict[str, Any]]:
            return [
                {
                    label: each["label"], "score": each["score"], "word": each["text"],
                    "start": each["start"], "end": each["end"],
                }
                for each in kind.describe(arrays, note, options)
                if each["label"] not in ignored
            ]  # fmt: skip

        return spans


class Question(Body):
    """A question, and the text that may answer it."""

    question: str = Field(description="a text")
    context: str = Field(description="a text")


class AnswerParameters(Body):
    """Which answers are told. The contract decides all but `top_k`; a request may say the same."""

    top_k: int | None = Field(None, description="a whole number")
    align_to_words: bool | None = Field(None, description="true or false")
    doc_stride: int | None = Field(None, description="a whole number")
    handle_impossible_answer: bool | None = Field(None, description="true or false")
    max_answer_len: int | None = Field(None, description="a whole number")
    max_question_len: int | None = Field(None, description="a whole number")
    max_seq_len: int | None = Field(None, description="a whole number")


class QuestionBody(Body):
    """A question about a text."""

    inputs: Question = Field(description='{"question": "...", "context": "..."}')
    parameters: AnswerParameters = Field(
        AnswerParameters(), description="an object of top_k and other parameters of the task"
    )


class QuestionAnswering(RowTask[QuestionBody]):
    """The parts of the context that answer the question, the best first."""

    name = "question-answering"
    body = QuestionBody
    takes_kind, gives_kinds = TextPair, (Extract,)
    answers: ClassVar[JsonSchema] = {
        "type": "array",
        "items": closed_object({"answer": {"type": "string"}, **SCORE, **place_schemas()}),
    }

    def __init__(self, model: KnownModel) -> None:
        super().__init__(model)
        assert isinstance(self.output.kind, Extract)
        self.extract = self.output.kind

    def takes(self, inputs: Any) -> bool:
        """See `Task`."""
        return isinstance(inputs, dict) and "question" in inputs

    def value(self, body: QuestionBody) -> Any:
        """See `Task`."""
        assert isinstance(self.kind, TextPair)
        first, second = self.kind.texts
        context = self.extract.text or second
        question = first if context == second else second
        return {question: body.inputs.question, context: body.inputs.context}

    def telling(self, body: QuestionBody) -> Telling:
        """See `RowTask`."""
        asked, kind = body.parameters, self.extract
        for name in ("doc_stride", "max_seq_len", "max_question_len"):
            check_fixed(name, getattr(asked, name), None, NOT_CUT)
        want = f"{kind.longest} tokens, as is declared"
        check_fixed("max_answer_len", asked.max_answer_len, kind.longest, want)
        has_null = kind.null_threshold is not None
        want = f"{str(has_null).lower()}, as is declared"
        check_fixed("handle_impossible_answer", asked.handle_impossible_answer, has_null, want)
        want = "false: answers end at tokens"
        check_fixed("align_to_words", asked.align_to_words, False, want)
        options, most = self.best(asked.top_k, kind.top)

        def answers(arrays: Arrays, note: Any) -> list[dict[str, Any]]:
            found = kind.describe(arrays, note, options)
            return list(found if "top_k" in options else found[:most])

        return answers
