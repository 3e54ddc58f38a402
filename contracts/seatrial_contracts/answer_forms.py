"""How answers look to clients: options, names, JSON, and tensors in the clients' own terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import model_validator

from seatrial_contracts.compare import Array
from seatrial_contracts.contract_fields import ContractFields, is_field_name, object_schema
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.embedding import NO_PROMPT
from seatrial_contracts.kinds.kind import Column, JsonSchema
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import (
    NO_OPTIONS,
    AnswerTensor,
    Arrays,
    OptionValues,
    OutputKind,
)
from seatrial_contracts.options import Option, read_options, widest

RowsOrColumns = Sequence[Mapping[str, Any]] | Mapping[str, Column]
"""Validated rows, or columns."""


def prompted(given: RowsOrColumns, prompts: Mapping[str, str]) -> RowsOrColumns:
    """Validated rows or columns with these prompts before their texts.

    Raises `Refusal` for token ids, before which no text can be put.
    """
    for name, prompt in prompts.items():
        given = (
            {**given, name: [behind(prompt, text, name) for text in given[name]]}
            if isinstance(given, Mapping)
            else [{**row, name: behind(prompt, row[name], name)} for row in given]
        )
    return given


def behind(prompt: str, text: Any, name: str) -> str:
    """The text of this field behind a prompt. Raises `Refusal` for token ids."""
    if isinstance(text, str):
        return prompt + text
    mend = f'send the ids of the prompt with them, and "prompt": "{NO_PROMPT}"'
    raise Refusal("E_OPTION", f"input '{name}'", "token ids behind a prompt", "a text", mend)


def unprompted(given: RowsOrColumns, prompts: Mapping[str, str]) -> RowsOrColumns:
    """The client's own rows or columns, back from what `prompted` made."""
    for name, prompt in prompts.items():
        given = (
            {**given, name: [text[len(prompt) :] for text in given[name]]}
            if isinstance(given, Mapping)
            else [{**row, name: row[name][len(prompt) :]} for row in given]
        )
    return given


class MappedOutput(NamedTuple):
    """An output in the client's own terms."""

    name: str
    kind: MappedKind
    tensors: tuple[str, ...]
    """Of the graph."""
    place: int | None
    """Of its note among a row's notes; None where it needs none."""

    def client(
        self, answer: Mapping[str, Array], notes: Sequence[Any], options: OptionValues
    ) -> tuple[Array, ...]:
        """One row's answer as its client's tensors, from the graph's without the batch."""
        arrays = [answer[name] for name in self.tensors]
        return self.kind.client(arrays, None if self.place is None else notes[self.place], options)


class AnswerForms(ContractFields):
    """The part of a contract that turns the graph's tensors into what clients see, and back."""

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        """Raise `DeclarationError` where an option is declared twice, or nothing reads it."""
        names = [field.name for field in self.options]
        own = [name for field in self.outputs for name in field.kind.own_options()]
        unlike = [
            name
            for name, each in self._own_options.items()
            if len(set(each)) > 1 and any(option.choices for option in each)
        ]
        if unlike:
            got = "two answers that know it otherwise"
            raise DeclarationError(f"option '{unlike[0]}'", got, "answers that know it alike")
        read = {name for field in self.outputs for name in field.kind.reads_options}
        for field in self.options:
            taken = names.count(field.name) > 1 or (field.name in own and field.name not in read)
            if taken or not is_field_name(field.name):
                raise DeclarationError(f"option '{field.name}'", "this name", "one of its own")
            if field.name not in read:
                raise DeclarationError(
                    f"option '{field.name}'",
                    "an option that no answer reads",
                    f"one of: {', '.join(sorted(read)) or 'none, by these kinds of answers'}",
                    "what the model itself shall see is an input field",
                )
            field.option.check()
            for output in self.outputs:
                if field.name in output.kind.reads_options:
                    output.kind.check_option(field.name, field.option)
        return self

    @cached_property
    def mapped(self) -> tuple[MappedOutput, ...]:
        """The outputs whose answer is in the client's own terms."""
        return tuple(
            MappedOutput(
                field.name,
                field.kind,
                self.tensor_names[field.name],
                self._place_of_note(field.kind),
            )
            for field in self.outputs
            if isinstance(field.kind, MappedKind)
        )

    @cached_property
    def plain_tensors(self) -> tuple[AnswerTensor, ...]:
        """Those of the graph's tensors that clients see as they are."""
        mapped = {name for output in self.mapped for name in output.tensors}
        return tuple(tensor for tensor in self.answer_tensors if tensor.name not in mapped)

    @cached_property
    def client_tensors(self) -> Mapping[str, AnswerTensor]:
        """What a client sees over V2 and gRPC, by name, in the order of the outputs."""
        found: list[AnswerTensor] = []
        for field in self.outputs:
            if isinstance(field.kind, MappedKind):
                found += field.kind.counted_tensors(field.name)
            else:
                found += field.kind.answer_tensors(field.name)
        return {tensor.name: tensor for tensor in found}

    def client_bytes(self, notes: Sequence[Sequence[Any]]) -> int:
        """What clients' tensors take of rows with these notes, beside the graph's own tensors."""
        return sum(
            output.kind.client_bytes(of_row[output.place])
            for output in self.mapped
            if output.place is not None
            for of_row in notes
        )

    def client_tensors_for(self, options: OptionValues) -> Mapping[str, AnswerTensor]:
        """The same for a request with these options, which may change types and sizes."""
        changed = {
            tensor.name: tensor
            for output in self.mapped
            for tensor in output.kind.tensors_for(output.name, options)
        }
        return {**self.client_tensors, **changed} if changed else self.client_tensors

    def prompts(self, options: OptionValues) -> Mapping[str, str]:
        """What these options put before the client's texts, by the name of their input."""
        found: dict[str, str] = {}
        for name, prompt_of in self._prompters:
            prompt = prompt_of(options)
            if prompt:
                found[name] = prompt + found.get(name, "")
        return found

    @cached_property
    def _prompters(self) -> list[tuple[str, Callable[[OptionValues], str]]]:
        """Of the kinds that have prompts: the input that they stand before, and which it is."""
        return [
            (field.kind.about, field.kind.prompt)
            for field in self.outputs
            if field.kind.about is not None and type(field.kind).prompt is not OutputKind.prompt
        ]

    def _place_of_note(self, kind: OutputKind) -> int | None:
        return None if kind.about is None else self.noted.index(kind.about)

    @cached_property
    def known_options(self) -> Mapping[str, Option]:
        """What a request may choose: declared options, and those that kinds bring with them.

        If several kinds bring one of a name, a request may choose what any of them takes.
        """
        own = {name: widest(each) for name, each in self._own_options.items()}
        return {**own, **self._declared}

    @cached_property
    def _declared(self) -> Mapping[str, Option]:
        return {field.name: field.option for field in self.options}

    @cached_property
    def _own_options(self) -> Mapping[str, list[Option]]:
        found: dict[str, list[Option]] = {}
        for kind in self.answered.values():
            for name, option in kind.own_options().items():
                found.setdefault(name, []).append(option)
        return found

    @cached_property
    def answered(self) -> Mapping[str, OutputKind]:
        """The outputs' kinds by name, as they answer beside the declared options."""
        return {field.name: field.kind.beside(self._declared) for field in self.outputs}

    @cached_property
    def default_options(self) -> OptionValues:
        """The options of a request that chooses none.

        If kinds bring an option with defaults of their own, each of them goes by its own.
        """
        unlike = {
            name
            for name, own in self._own_options.items()
            if name not in self._declared and len({option.default for option in own}) > 1
        }
        return {
            name: option.default
            for name, option in self.known_options.items()
            if name not in unlike
        }

    @cached_property
    def whole_options(self) -> Mapping[str, Any]:
        """The options to choose in order to see all that the model answered."""
        wanted: dict[str, Any] = {}
        for kind in self.answered.values():
            for name, value in kind.whole_options().items():
                wanted[name] = max(value, wanted.get(name, value))
        known = self.known_options.items()
        return {name: option.nearest(wanted[name]) for name, option in known if name in wanted}

    def read_options(self, given: Mapping[str, Any]) -> OptionValues:
        """The options of a request that chooses these.

        Raises `Refusal` where one is unknown, or cannot have such a value.
        """
        return read_options(self.known_options, self.default_options, given)

    @cached_property
    def _describers(
        self,
    ) -> list[tuple[str, tuple[str, ...], int | None, Callable[[Arrays, Any, OptionValues], Any]]]:
        return [
            (
                field.name,
                self.tensor_names[field.name],
                self._place_of_note(field.kind),
                self.answered[field.name].describe,
            )
            for field in self.outputs
        ]

    def describe(
        self,
        outputs: Mapping[str, Array],
        index: int,
        notes: Sequence[Any] = (),
        options: OptionValues = NO_OPTIONS,
    ) -> dict[str, Any]:
        """The answer of row `index` as a client sees it; `outputs` are batched.

        `notes` are those of the row, one for each of `noted`.
        """
        return {
            name: describe(
                (outputs[names[0]][index],)
                if len(names) == 1
                else [outputs[each][index] for each in names],
                None if place is None else notes[place],
                options,
            )
            for name, names, place, describe in self._describers
        }

    def recover(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """What the model answered to one row, back from what a client saw with `whole_options`.

        The numbers stand by the tensors' names; a mapped output stands by its own name, as its
        client's tensors.
        """
        found: dict[str, Any] = {}
        for field in self.outputs:
            values = self.answered[field.name].recover(prediction[field.name])
            if isinstance(field.kind, MappedKind):
                found[field.name] = values
            else:
                found |= dict(zip(self.tensor_names[field.name], values, strict=True))
        return found

    def filled(self, want: Mapping[str, Array], got: Mapping[str, Any]) -> dict[str, Any]:
        """What `recover` read of a row, with what `whole_options` cannot show taken from `want`.

        See `OutputKind.filled`.
        """
        found = dict(got)
        for name, kind in self.answered.items():
            if not isinstance(kind, MappedKind):
                names = self.tensor_names[name]
                wanted, seen = ([answer[each] for each in names] for answer in (want, got))
                shown = kind.filled(wanted, seen, self.whole_options)
                found |= dict(zip(names, shown, strict=True))
        return found

    def arranged(self, want: Mapping[str, Array], got: Mapping[str, Array]) -> Mapping[str, Array]:
        """`got` of a row as near to `want` as an answer that says the same is.

        See `OutputKind.arranged`.
        """
        for names, arrange in self._arrangers:
            if all(name in want and name in got for name in names):
                pair = [[each[name] for name in names] for each in (want, got)]
                got = {**got, **dict(zip(names, arrange(*pair), strict=True))}
        return got

    def arranged_batch(
        self, want: Mapping[str, Array], got: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        """The same of batched answers, rows first."""
        if not self._arrangers or any(
            name not in got or got[name].shape != array.shape for name, array in want.items()
        ):
            return got
        rows = [
            self.arranged(*({name: each[name][row] for name in want} for each in (want, got)))
            for row in range(len(next(iter(want.values()))))
        ]
        return {name: np.stack([row[name] for row in rows]) for name in want}

    @cached_property
    def _arrangers(self) -> list[tuple[tuple[str, ...], Callable[[Arrays, Arrays], Arrays]]]:
        return [
            (self.tensor_names[field.name], field.kind.arranged)
            for field in self.outputs
            if type(field.kind).arranged is not OutputKind.arranged
        ]

    def answer_schema(self) -> JsonSchema:
        """JSON Schema of one prediction."""
        return object_schema(self.answered, [*self.answered])

    def options_schema(self) -> JsonSchema:
        """JSON Schema of a request's options."""
        properties = {
            name: option.json_schema() | {"x-want": option.want()}
            for name, option in self.known_options.items()
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}
