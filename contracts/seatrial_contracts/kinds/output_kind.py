"""An output kind: which tensors of the graph it reads, and what a client sees of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from seatrial_contracts.compare import Answers
from seatrial_contracts.kinds.kind import Array, JsonSchema, Kind
from seatrial_contracts.kinds.truth import Hit
from seatrial_contracts.options import Option

Arrays = Sequence[Array]
"""The tensors of one row's answer, without the batch, in the order of their declaration."""
OptionValues = Mapping[str, Any]
"""The options of a request, by name: the client's values, and the defaults of all others."""
NO_OPTIONS: OptionValues = MappingProxyType({})


class AnswerTensor(NamedTuple):
    """A tensor of an answer, without its batch."""

    name: str
    datatype: str
    """V2's."""
    shape: tuple[int | None, ...] = ()
    """None is any size."""


class FlatColumn(NamedTuple):
    """A column of answers in a data frame."""

    name: str
    """Within the answer; empty where the answer is the one value."""
    values: Array
    """`(rows,)`."""
    words: Sequence[str] | None = None
    """If given, `values` are places in this list."""


class OutputKind(Kind):
    """A kind that can be answered.

    Unless a subclass overrides the methods, the answer is one tensor of the graph, and a client
    sees its numbers.
    """

    roles: ClassVar[frozenset[str]] = frozenset({"output"})
    reads_options: ClassVar[frozenset[str]] = frozenset()
    """Options that shape the answer where a contract lets clients choose them."""

    decides: ClassVar[bool] = False
    """Is an answer right or wrong as a whole, by what `decision` says of it?"""

    def decision(self, array: Array) -> str:
        """What an answer decides, by name; empty where it has no right numbers.

        Kinds that decide have it.
        """
        raise NotImplementedError(f"{self.name} decides nothing: this is a bug in seatrial")

    def agrees(self, want: Array, got: Array) -> bool:
        """Whether two answers decide alike: each a tensor of scores, or of whole numbers."""
        if self.decides:
            return self.decision(want) == self.decision(got)
        return np.array_equal(want, got)

    @property
    def truth_want(self) -> str:
        """What the truth of an answer looks like, for messages; empty where none can be told."""
        return ""

    def truth_schema(self) -> JsonSchema:
        """JSON Schema (2020-12) of a truth. Kinds whose truth can be told have it."""
        raise NotImplementedError(f"{self.name} has no truth: this is a bug in seatrial")

    def is_truth(self, value: Any) -> bool:
        """May this be the truth of an answer?"""
        return False

    def truth_example(self) -> Any:
        """A truth, for the documentation. Kinds whose truth can be told have it."""
        raise NotImplementedError(f"{self.name} has no truth: this is a bug in seatrial")

    @property
    def hit_labels(self) -> Sequence[str]:
        """What `hits` can name; empty where an answer has no things that are right or wrong."""
        return ()

    def hits(self, arrays: Arrays, note: Any, options: OptionValues, truth: Any) -> Iterator[Hit]:
        """Everything that the answer to one row or its truth holds, each thing once.

        `arrays` are those of `hit_tensors`. Kinds with `hit_labels` have it.
        """
        raise NotImplementedError(f"{self.name} has no hits: this is a bug in seatrial")

    def hit_tensors(self, name: str) -> tuple[str, ...]:
        """Those of the graph's tensors that `hits` needs: the first ones."""
        return tuple(tensor.name for tensor in self.answer_tensors(name))

    def surety(self, arrays: Arrays, truth: Any) -> Iterator[tuple[float, bool]]:
        """Probabilities that an answer states, each with whether what is probable is true.

        Scores that are no probabilities state none.
        """
        return iter(())

    @property
    def about(self) -> str | None:
        """The input field that the answer is about, whose note of the row `describe` needs."""
        return None

    def told_schema(self) -> JsonSchema:
        schema = super().told_schema()
        return schema if self.about is None else {**schema, "x-about": self.about}

    @property
    def needs_text(self) -> bool:
        """Does `client` read the text that it is about, which token ids do not have?"""
        return False

    def check_about(self, kind: Kind) -> None:
        """Raise `DeclarationError` where the answer cannot be about a field of this kind."""

    def prompt(self, options: OptionValues) -> str:
        """What these options put before the text that the answer is about."""
        return ""

    @property
    def is_sealed(self) -> bool:
        """Has the kind all that an export fills in?"""
        return True

    def sealed(self, name: str, reference: Answers, held_out: Answers) -> Self:
        """This kind, of the output `name`, with what an export fills in.

        `reference` are the training side's answers to the reference rows, and `held_out` those to
        the rows that promises are held against.

        Raises `DeclarationError` where rows are missing, or a promise is broken.
        """
        return self

    def own_options(self) -> Mapping[str, Option]:
        """Options that clients may choose because this kind stands in the contract, by name."""
        return {}

    def beside(self, options: Mapping[str, Option]) -> Self:
        """This kind as it answers in a contract that declares these options."""
        return self

    def breaks_answer(self, option: str, old: Self) -> bool:
        """Whether the change of this option from its value in `old` breaks clients.

        It breaks if they may misread an answer that they read rightly today, or no longer get one.
        Unless a subclass overrides the method, every change but the description's breaks.
        """
        return option != "description"

    def check_option(self, name: str, option: Option) -> None:
        """Raise `DeclarationError` where an option of `reads_options` does not fit this kind."""

    def faults(self, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
        """Rows of a batch whose answer nobody may be given, each with what the model answered.

        `arrays` are those of `answer_tensors`, rows first and of right shapes; rows with NaN or an
        infinity are faults already. `about` is the kind of the field that the answer is about.
        """
        return {}

    def arranged(self, want: Arrays, got: Arrays) -> Arrays:
        """`got` as near to `want` as an answer that says the same is.

        It stands in the order of `want`, where the order of an answer's things says nothing, and
        holds the numbers of `want`, where an element type is too coarse to tell them from its own.
        Both are the graph's tensors of one row.
        """
        return got

    @property
    def is_bounded(self) -> bool:
        """Is there a bound beyond the element type's own?"""
        return False

    @property
    def breach(self) -> str:
        """What an answer holds that breaks a bound, for messages."""
        return "a number out of the bounds that the contract promises"

    def outside(self, array: Array) -> Array:
        """Which elements break a bound: bool, of the array's shape. NaN breaks none.

        A kind whose bound is about several elements together answers once for these.
        """
        return np.zeros(array.shape, bool)

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """Shape of one row's answer as the model gives it; None is any size.

        Of several tensors, it is the shape of the first.
        """

    def answer_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        """The tensors of the graph that the answer is made of."""
        return (AnswerTensor(name, self.datatype, self.shape),)

    @abstractmethod
    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        """Write the answer of one row for a client.

        `arrays` are those of `answer_tensors`, `note` is that of the field `about`.

        The values are JSON values, or numpy ones that orjson writes in their shortest form.
        """

    def flat_columns(self, arrays: Arrays) -> Sequence[FlatColumn] | None:
        """The columns that the answers of many rows have in a data frame.

        `arrays` are those of `answer_tensors`, rows first. None where the answer of each row has to
        be described by itself.
        """
        return None

    @abstractmethod
    def recover(self, value: Any) -> tuple[Array, ...]:
        """Read the tensors of the answer back from what a client saw, for parity over the wire.

        The method is the inverse of `describe` with `whole_options`.
        """

    def whole_options(self) -> OptionValues:
        """The options with which a client sees all that the model answered."""
        return NO_OPTIONS

    def filled(self, want: Arrays, got: Arrays, options: OptionValues) -> Arrays:
        """What `recover` read, with what these options keep from clients taken from `want`.

        Only what may be so by what the client did see is taken.
        """
        return got
