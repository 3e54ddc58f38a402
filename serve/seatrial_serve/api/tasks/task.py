"""A task of Hugging Face's over a contract: its inputs become rows, and answers its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Generic, NamedTuple

from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import JsonSchema, Kind, closed_object
from seatrial_contracts.kinds.output_kind import Arrays, OptionValues, OutputKind
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.body import NUMBER, TEXT, B, Body, listed
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel
from seatrial_serve.process.json_pieces import write_json

SCORED = {"label": TEXT, "score": NUMBER}
LABELS = listed(closed_object(SCORED))
"""Labels with their scores, the highest first."""


Telling = Callable[[Arrays, Any], Any]
"""Makes a task's output of the tensors of one row's answer, and of the row's note."""


class Task(ABC, Generic[B]):
    """A task that a model does."""

    name: ClassVar[str]
    body: type[B]
    answers: ClassVar[JsonSchema]
    """JSON Schema (2020-12) of its output."""

    def __init__(self, model: KnownModel) -> None:
        """Raises `Refusal` where the model does not do it."""
        self.model, self.contract = model, model.contract

    def takes(self, inputs: Any) -> bool:
        """Are these inputs its own, rather than those of another task of the same model?"""
        return isinstance(inputs, str)

    @abstractmethod
    def job(self, body: B) -> Job:
        """What a body asks of the model. Any thread may call it. Raises `Refusal`."""

    def options(self, **asked: Any) -> OptionValues:
        """The contract's options for these parameters, those that are None aside.

        Raises `Refusal` for one that the contract does not have, or with another value.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        for name in given:
            if name not in self.contract.known_options:
                check_fixed(name, True, None, "a request without it: the contract has no option")
        return self.contract.read_options(given)

    def best(self, top_k: int | None, most: int) -> tuple[OptionValues, int]:
        """The contract's options for the best `top_k` of a list, and how many of it to tell.

        Where `top_k` is no option of the contract, it ends the list of `most` that a client sees
        anyway. Raises `Refusal`.
        """
        if top_k is None or "top_k" in self.contract.known_options:
            return self.options(top_k=top_k), most
        if not 1 <= top_k <= most:
            want = f"a whole number from 1 to {most}"
            raise Refusal("E_OPTION", "parameter 'top_k'", str(top_k)[:24], want)
        return self.contract.default_options, top_k


class Output(NamedTuple):
    """The output of a contract that a task is about."""

    name: str
    kind: OutputKind
    tensors: tuple[str, ...]
    """Of the graph."""
    place: int | None
    """Of its note among a row's notes; None where it needs none."""


class RowTask(Task[B]):
    """A task of one row: one input of the model, and one of its outputs."""

    takes_kind: ClassVar[type[Kind]]
    gives_kinds: ClassVar[tuple[type[OutputKind], ...]]

    def __init__(self, model: KnownModel) -> None:
        super().__init__(model)
        fields = self.contract.inputs
        given = fields[0].kind
        found = [each for each in self.contract.outputs if isinstance(each.kind, self.gives_kinds)]
        if len(fields) > 1 or not isinstance(given, self.takes_kind) or len(found) != 1:
            wants = " or ".join(f"st.{each.__name__}" for each in self.gives_kinds)
            want = f"one that answers one {wants} of an st.{self.takes_kind.__name__} alone"
            raise Refusal("E_UNSUPPORTED", "model", f"one that does no {self.name}", want)
        self.given, self.kind = fields[0].name, given
        name = found[0].name
        kind = self.contract.answered[name]
        place = None if kind.about is None else self.contract.noted.index(kind.about)
        self.output = Output(name, kind, self.contract.tensor_names[name], place)

    def value(self, body: B) -> Any:
        """The value of the row."""
        return body.inputs  # type: ignore[attr-defined]

    @abstractmethod
    def telling(self, body: B) -> Telling:
        """How the answer to a body becomes the task's output.

        Raises `Refusal` for a parameter that the contract does not offer.
        """

    def job(self, body: B) -> Job:
        """See `Task`."""
        tell = self.telling(body)
        row = self.contract.validate_row({self.given: self.value(body)}, 0)
        return Job([row], partial(self._reply, tell))

    def _reply(self, tell: Telling, answer: Answer) -> Reply:
        [(outputs, index)] = answer
        arrays = [outputs[name][index] for name in self.output.tensors]
        place = self.output.place
        note = None if place is None else next(iter(answer.notes_by_row))[place]
        return Reply(write_json(tell(arrays, note), answer.size_bytes), answer=answer)


def check_fixed(name: str, asked: Any, declared: Any, want: str) -> None:
    """Raise `Refusal` where a parameter asks for another thing than the contract declares."""
    if asked is not None and asked != declared:
        raise Refusal("E_OPTION", f"parameter '{name}'", "another value", want)


class TextBody(Body):
    """A text."""

    inputs: str = Field(description="a text")
