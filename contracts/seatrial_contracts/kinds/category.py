"""A category: one of a closed list of words or whole numbers, looked up inside the graph."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PrivateAttr

from seatrial_contracts.bins import UNSEEN, Bins, split_words
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.classes import MOST_LISTED
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    MAX_WORDS,
    SHORT_BYTES,
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    Word,
    refuse,
    refuse_rows,
    text_of,
)
from seatrial_contracts.kinds.vocabulary import (
    LEAST_INTEGER,
    MOST_INTEGER,
    Integers,
    Listed,
    Sort,
    Vocabulary,
    declared_vocabulary,
    read_vocabulary,
)
from seatrial_contracts.own_values import own_value

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MISSING = ""
"""The text of a missing category where a string must stand (V2 tensors and the graph's input)."""
MISSING_INTEGER = -(2**63)
"""The same of whole numbers, as NaN is among floats."""
BUCKET = re.compile(r"\[bucket (\d{1,7})\]")
"""How the graph's input names one of the hash buckets; among whole numbers: `bucket_key`."""
FEW = 2**14
"""So many words of a file are looked up in the graph, and by a table of Python's own."""
MOST_SHOWN = 10
MOST_EXAMPLES = 100
"""Words of a longer list that schemas and forms know."""
MOST_DRAWN = 256
OPEN_WORD = "word"
Integer = Annotated[int, Field(strict=True, ge=LEAST_INTEGER, le=MOST_INTEGER)]


class Category(Kind):
    """`Literal["a", "b"]`, an `Enum`, or `Annotated[str, Category("a", "b", unknown="bucket")]`.

    The entries are words, or whole numbers of 64 bits: `Literal[1, 2]`, an `IntEnum`, `Annotated[
    int, Category(1, 2)]`. `Category(file="products.txt")` reads up to 2**20 of them from a text
    file of one a line; the bundle holds them in a file of its own.

    `unknown="reject"` refuses what is no entry; `"bucket"` gives it one code; `"hash"` gives it the
    code of one of `buckets`, see `bucket_of`. The graph's input is a string or an int64, shape
    `(batch,)`, or the code itself (see `hosted`). Inside, and in training, it is an int64 code: the
    place in the list, then one for missing (where the field is `| None`), then the code or the
    codes of unknown entries. `codes_count` is the number of codes, for an embedding.
    """

    marks_missing: ClassVar[bool] = False
    kind: Literal["category"] = "category"
    categories: Annotated[
        tuple[Word | Integer, ...], Field(strict=False, max_length=MAX_WORDS)
    ] = ()
    entries: Sort = "words"
    vocabulary: Vocabulary | None = None
    unknown: Literal["reject", "bucket", "hash"] = "reject"
    buckets: Annotated[int, Field(ge=1, le=MAX_WORDS)] | None = None
    max_chars: Annotated[int, Field(ge=1, le=2**20)] = 256
    file: str | None = Field(default=None, exclude=True)

    _listed: Listed | None = PrivateAttr(default=None)

    def __init__(self, *categories: str | int, **options: Any) -> None:
        if categories:
            options = {"categories": categories, "entries": sort_of(categories)} | options
        super().__init__(**options)

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if is_listed(annotation) else None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if is_listed(annotation):
            found = entries_of(annotation)
            if self.categories or self.file is not None:
                got = "its words twice, in the type and in st.Category"
                raise DeclarationError("st.Category", got, "once")
            known = tuple(entry for entry in found if entry is not None)
            return self.completed(
                categories=known, entries=sort_of(known), nullable=nullable or None in found
            )
        sort: Sort = "integers" if annotation is int else "words"
        if annotation not in (str, int) or (self.categories and sort != self.entries):
            raise DeclarationError(
                "st.Category",
                f"{getattr(annotation, '__name__', annotation)} with {self.categories[:4]!r}",
                "str, or a Literal or Enum, of words; int, Literal or IntEnum of whole numbers",
            )
        if self.file is None:
            return self.completed(nullable=nullable, entries=sort)
        if self.categories:
            raise DeclarationError("st.Category", "words and a file", "one of both")
        listed = declared_vocabulary(self.file, sort, "st.Category")
        kind = self.completed(nullable=nullable, entries=sort, vocabulary=listed.facts, file=None)
        if sort == "words":
            kind.check_words(listed)
        return kind.bound(listed)

    def check(self) -> None:
        if self.file is not None:
            raise DeclarationError("st.Category", "a file that was not read", "str or int with it")
        if (self.unknown == "hash") != (self.buckets is not None):
            got = f"unknown='{self.unknown}' with buckets={self.buckets}"
            raise DeclarationError("st.Category", got, "unknown='hash' with buckets=N")
        if self.vocabulary is not None:
            return
        found, want = self.categories, str if self.entries == "words" else int
        open_ = self.unknown == "hash"
        if (
            not (found or open_)
            or not all(type(entry) is want and entry != "" for entry in found)
            or len(set(found)) != len(found)
        ):
            raise DeclarationError(
                "st.Category",
                repr(found)[:80],
                "a list of different, non-empty words, or of different whole numbers",
                "write numbers that stand for classes as words, or all of them as int",
            )
        if self.entries == "words":
            self.check_words([str(entry) for entry in found])

    def check_words(self, words: Sequence[str]) -> None:
        """Raise `DeclarationError` for words that could not come, or that mean something else."""
        if self.unknown == "reject":
            return
        longest = max(map(len, words), default=0)
        if longest > self.max_chars:
            got = f"a word of {longest} characters"
            raise DeclarationError("st.Category", got, f"max_chars={longest} or more")
        if self.unknown == "hash":
            odd = next((word for word in words if BUCKET.fullmatch(word)), None)
            if odd is not None:
                raise DeclarationError("st.Category", f"the word '{odd}'", "no name of a bucket")

    def bound(self, listed: Listed) -> Self:
        """The kind with the entries of its file."""
        return self.model_copy().hold(listed)

    def hold(self, listed: Listed) -> Self:
        """Take the entries of its file."""
        self._listed = listed
        return self

    def with_files(self, name: str, files: Mapping[str, bytes]) -> Self:
        if self.vocabulary is None or self._listed is not None:
            return self
        where = f"vocabulary of '{name}'"
        data = files[vocabulary_name(name)]
        return self.bound(read_vocabulary(self.vocabulary, data, self.entries, where))

    def front_names(self, field: str) -> tuple[str, ...]:
        return () if self.vocabulary is None else (vocabulary_name(field),)

    def front_files(self, field: str) -> Mapping[str, bytes]:
        return {} if self._listed is None else {vocabulary_name(field): self._listed.to_file()}

    @cached_property
    def known(self) -> Sequence[Any]:
        """The entries in order, from the contract or from the file beside it."""
        if self.vocabulary is None:
            return Integers.of(self.categories) if self.whole else self.categories  # type: ignore[arg-type]
        if self._listed is None:
            got, want = "a contract without its vocabulary", "the bundle's contract"
            raise DeclarationError("st.Category", got, want)
        return self._listed

    @property
    def whole(self) -> bool:
        """Are the entries whole numbers?"""
        return self.entries == "integers"

    @cached_property
    def _place(self) -> Callable[[Any], int | None]:
        """The place of an entry in the list; None of what is none."""
        known = self.known
        if isinstance(known, Listed) and (self.whole or len(known) > FEW):
            return known.place
        return {word: place for place, word in enumerate(known)}.get

    @property
    def is_long(self) -> bool:
        """Are there too many entries for schemas and messages?"""
        return self._count > MOST_LISTED

    @property
    def _count(self) -> int:
        return len(self.categories) if self.vocabulary is None else self.vocabulary.count

    def breaks(self, option: str, old: Self) -> bool:
        if option in ("categories", "vocabulary"):
            return self.entries != old.entries or not all(map(self._holds, old.known))
        if option == "unknown":
            return self.unknown == "reject" or "hash" in (self.unknown, old.unknown)
        if option == "max_chars":
            return self.max_chars < old.max_chars
        return super().breaks(option, old)

    def _holds(self, entry: Any) -> bool:
        return self._place(entry) is not None

    @property
    def _others(self) -> int:
        """How many codes there are for what is no entry."""
        return {"reject": 0, "bucket": 1, "hash": self.buckets or 0}[self.unknown]

    @property
    def codes_count(self) -> int:
        """How many codes there are, those of missing and unknown included."""
        return self._count + self.nullable + self._others

    @property
    def unknown_code(self) -> int:
        """What the graph's lookup makes of an entry that is not in its table.

        The code is -1, which no model sees, where there is no such entry: it is refused, or stands
        there as one of the buckets.
        """
        return self._count + self.nullable if self.unknown == "bucket" else -1

    def lookup(self) -> dict[Any, int]:
        """Entry -> code, missing and buckets included: what the graph's lookup holds."""
        missing = (self.missing,) if self.nullable else ()
        buckets = map(self.bucket_key, range(self.buckets or 0))
        return {entry: code for code, entry in enumerate(chain(self.known, missing, buckets))}

    @property
    def missing(self) -> str | int:
        """What stands for a missing value where one must stand: V2 tensors, the graph's input."""
        return MISSING_INTEGER if self.whole else MISSING

    @property
    def range(self) -> tuple[int, int]:
        """Of whole numbers: the least and the most that the graph's input holds."""
        if self.unknown != "reject" or self.nullable:
            return MISSING_INTEGER, MOST_INTEGER
        return min(self.known), max(self.known)

    def bucket_of(self, value: str | int) -> int:
        """Which of the `buckets` an unknown entry falls into, from 0.

        The first 8 bytes of BLAKE2b (RFC 7693, 8 bytes of digest) of the entry as text in UTF-8,
        a whole number in decimal digits, are a little-endian number; the bucket is its remainder by
        `buckets`.
        """
        digest = blake2b(str(value).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") % (self.buckets or 1)

    def bucket_key(self, bucket: int) -> str | int:
        """What the graph's input holds for an entry of a bucket."""
        return MISSING_INTEGER + 1 + bucket if self.whole else f"[bucket {bucket}]"

    def _keyed(self, value: Any) -> Any:
        """An entry as it is, anything else as its bucket; a bucket's own key stays."""
        if self._place(value) is not None:
            return value
        if self.whole:
            own = MISSING_INTEGER < value <= MISSING_INTEGER + (self.buckets or 0)
        else:
            named = BUCKET.fullmatch(value)
            own = named is not None and self.bucket_key(int(named[1])) == value
            own = own and named is not None and int(named[1]) < (self.buckets or 0)
        return value if own else self.bucket_key(self.bucket_of(value))

    @property
    def hosted(self) -> bool:
        """Are the entries looked up by the host stage, so that their codes enter the graph?

        So are words of a file of more than `FEW`: onnxruntime's table of a million strings takes
        404 MB and 1.35 s of CPU time to load (measured, 1.32), the host's own takes 26 MB.
        """
        return not self.whole and self.vocabulary is not None and self._count > FEW

    @property
    def by_row(self) -> bool:
        return self.hosted

    @property
    def looked_up(self) -> Kind | None:
        return None if self.hosted else self

    def codes(self, values: Sequence[Any] | Array) -> NDArray[np.int64]:
        """Look up the int64 codes of graph-side entries, in the shape that they have.

        The method is the training-side twin of the lookup in the graph. Unknown entries may stand
        as they are where they are hashed.
        """
        entries = np.asarray(values, np.int64 if self.whole else object)
        codes = [self._code(value) for value in entries.ravel().tolist()]
        return np.array(codes, np.int64).reshape(entries.shape)

    def _code(self, value: Any) -> int:
        if self.unknown == "hash":
            value = value if self._is_missing(value) else self._keyed(value)
        place = self._place(value)
        if place is not None:
            return place
        if self._is_missing(value):
            return self._count
        if self.unknown != "hash":
            return self.unknown_code
        bucket = (
            value - MISSING_INTEGER - 1 if self.whole else int(BUCKET.fullmatch(value)[1])  # type: ignore[index]
        )
        return self._count + self.nullable + bucket

    def _is_missing(self, value: Any) -> bool:
        return self.nullable and bool(value == self.missing)

    def entries_of_codes(self, codes: Array) -> Array:
        """Graph-side entries of codes, in their shape: one that is none for the code of such."""
        found = {code: entry for entry, code in self.lookup().items()}
        other = next(iter(self.outsiders()), self.example())
        entries = [found.get(int(code), other) for code in codes.ravel()]
        return np.array(entries, np.int64 if self.whole else object).reshape(codes.shape)

    @property
    def padding_item(self) -> int | str:
        """The entry of code 0."""
        if self.hosted:
            return 0
        first: int | str = self.known[0] if self._count else next(iter(self.lookup()))
        return first

    def annotation(self) -> Any:
        if self.whole:  # a Literal of numbers takes 1.0
            typed = Annotated[int, Field(ge=MISSING_INTEGER, le=MOST_INTEGER, strict=True)]
            if self.unknown == "bucket":
                return typed
            return Annotated[typed, AfterValidator(self._checked_integer)]
        if self.unknown == "reject" and not self.is_long:
            return Literal[tuple(self.known)]
        if self.unknown == "bucket":
            return Annotated[str, Field(min_length=1, max_length=self.max_chars, strict=True)]
        return Annotated[str, Field(strict=True), AfterValidator(self._checked_word)]

    def _checked_word(self, word: str) -> str:
        if self.unknown == "reject":
            if self._place(word) is None:
                refuse("E_CATEGORY", f"a string of {len(word)} characters", self.want())
            return word
        if not 0 < len(word) <= self.max_chars:
            refuse("E_TEXT_LIMIT", f"a string of {len(word)} characters", self.want())
        return str(self._keyed(word))

    def _checked_integer(self, value: int) -> int:
        if self.unknown == "hash":
            return value if self._is_missing(value) else int(self._keyed(value))
        if self._place(value) is None:
            refuse("E_CATEGORY", str(value), self.want())
        return value

    def want(self) -> str:
        if self.unknown != "reject":
            if self.whole:
                return "a whole number that fits int64"
            return f"a word of 1 to {self.max_chars} characters"
        if self.vocabulary is not None and self._listed is None:
            return f"one of {self._count} in all"
        shown = [f"{entry}" if self.whole else f"'{entry}'" for entry in self.known[:MOST_SHOWN]]
        more = f" ... ({self._count} in all)" if self._count > MOST_SHOWN else ""
        return f"one of {', '.join(shown)}{more}"

    @property
    def datatype(self) -> str:
        return "INT64" if self.whole else "BYTES"

    @property
    def missing_element(self) -> Any:
        return self.missing

    @property
    def most_bytes(self) -> int:
        if self.whole or (self.unknown == "reject" and self.vocabulary is not None):
            return SHORT_BYTES if self.whole else 1024 * ESCAPED_BYTES
        most = max(map(len, self.categories)) if self.unknown == "reject" else self.max_chars  # type: ignore[arg-type]
        return most * ESCAPED_BYTES + SHORT_BYTES

    def column(self, values: Column) -> Column:
        return self._integers(np.asarray(values)) if self.whole else self._words(values)

    @cached_property
    def _written(self) -> Mapping[bytes | str | None, str]:
        """Every way a word can stand in a V2 column -> the word; of few words alone."""
        words = self.known if self._count <= FEW else ()
        written: dict[bytes | str | None, str] = {word: word for word in words}
        written |= {word.encode(): word for word in words}
        return (
            written | dict.fromkeys((None, MISSING, MISSING.encode()), MISSING)
            if self.nullable
            else written
        )

    def _words(self, values: Column) -> Column:
        words = list(map(self._written.get, values))
        if None in words:
            words = [
                self._other(value, place) if word is None else word
                for place, (word, value) in enumerate(zip(words, values, strict=True))
            ]
        return np.array(words, object)

    def own_column(self, values: Array) -> Column:
        """A column of words in a data frame, as `column` gives it.

        Each different value is looked up once. Missing values are those of Python's users; an empty
        word, which stands for one in V2, is no word here. Raises `Refusal`, perhaps without the
        row.
        """
        listed = values.tolist()
        try:
            own = {value: own_value(value) for value in set(listed)}
        except TypeError:  # a list, say, stands among them
            raise Refusal("E_TYPE", "", "a value that is no word", self.want()) from None
        if not all(type(word) is str or word is None for word in own.values()) or MISSING in own:
            raise Refusal("E_TYPE", "", "a value that is no word", self.want())
        if self._count > FEW or self.unknown != "reject":
            return self.column([own[value] for value in listed])
        written = {value: self._written.get(word) for value, word in own.items()}
        if None in written.values():
            raise Refusal("E_CATEGORY", "", "an unknown word", self.want())
        if None not in own.values():
            return values
        if all(type(value) in (str, float) for value in own):  # NaN is unlike itself
            words = values.copy()
            words[values != values] = self.missing  # noqa: PLR0124  (NaN alone)
            return words
        return np.fromiter(map(written.__getitem__, listed), object, len(listed))

    def _other(self, value: bytes | str | None, place: int) -> str:
        """A word outside the few that are written down."""
        word = text_of(value, place, self.want())
        if self.unknown == "reject":
            if self._count <= FEW or self._place(word) is None:
                raise Refusal("E_CATEGORY", f"row {place}", "an unknown word", self.want())
            return word
        if not 0 < len(word) <= self.max_chars:
            raise Refusal("E_TEXT_LIMIT", f"row {place}", f"{len(word)} characters", self.want())
        return word if self.unknown == "bucket" else str(self._keyed(word))

    def _integers(self, values: Array) -> Array:
        if self.unknown == "bucket":
            return values
        other = self._unknown_among(values)
        if not other.any():
            return values
        if self.unknown == "reject":
            first = int(values[other.argmax()])
            refuse_rows(other, "E_CATEGORY", str(first), self.want())
        keyed = values.copy()
        keyed[other] = [self._keyed(value) for value in values[other].tolist()]
        return keyed

    def _unknown_among(self, values: Array) -> Array:
        known = self.known
        assert isinstance(known, Integers)
        other: Array = known.places(values) < 0
        return other & (values != MISSING_INTEGER) if self.nullable else other

    def json_schema(self) -> JsonSchema:
        type_ = {"type": "integer" if self.whole else "string"}
        if self.unknown == "reject" and not self.is_long:
            return {**type_, "enum": list(self.known)}
        examples = {"examples": list(islice(self.known, MOST_EXAMPLES))} if self._count else {}
        if self.whole:
            return {**type_, "minimum": MISSING_INTEGER, "maximum": MOST_INTEGER, **examples}
        if self.unknown == "reject":
            return {**type_, "minLength": 1, **examples}
        return {**type_, "minLength": 1, "maxLength": self.max_chars, **examples}

    def example(self) -> Any:
        if self._count:
            return self.known[0]
        return 1 if self.whole else OPEN_WORD[: self.max_chars]

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        known = (
            some.integers(0, self._count - 1).map(self.known.__getitem__)
            if self._count
            else some.nothing()
        )
        if self.unknown == "reject":
            return known
        if self.whole:
            return known | some.integers(LEAST_INTEGER, MOST_INTEGER)
        nearly = some.builds(str.__add__, known, some.sampled_from([" ", "\x00", "\u0301", "."]))
        odd = some.text(
            some.characters(codec="utf-8"), min_size=1, max_size=min(self.max_chars, 100)
        )
        return (
            known
            | (nearly | known.map(str.swapcase)).filter(
                lambda word: 0 < len(word) <= self.max_chars
            )
            | odd
        )

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Entries, the last among them; others where they are taken."""
        last = self.known[-1:] if self._count > MOST_DRAWN else ()
        yield from map(Edge, chain(islice(self.known, MOST_DRAWN - 1), last))
        if self.unknown != "reject":
            yield from map(Edge, self.outsiders())

    def outsiders(self) -> list[Any]:
        """Values that are no entries: near misses, a foreign word, the longest; far numbers."""
        if self.whole:
            near = [int(entry) + step for entry in islice(self.known, 3) for step in (1, -1)]
            others: Any = (*near, 0, -1, MOST_INTEGER, LEAST_INTEGER, MOST_INTEGER - 1)
            taken = [value for value in others if LEAST_INTEGER <= value <= MOST_INTEGER]
        else:
            first = str(self.example())
            others = (f"{first} ", f"{first}s", first.swapcase(), "\u5e74", "x" * self.max_chars)
            taken = [word for word in others if 0 < len(word) <= self.max_chars]
        return [value for value in dict.fromkeys(taken) if self._place(value) is None]

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        codes = self.whole or self.hosted
        return (TensorSpec(name=name, dtype="int64" if codes else "string"),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        missing, code = self.missing, self._code
        if self.hosted:
            return lambda value: (code(missing if value is None else value),)
        return lambda value: (missing if value is None else value,)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The entry as text; a missing one as None, one outside the list as `UNSEEN`."""

        def seen(value: Any) -> str | None:
            if value is None or self._is_missing(value):
                return None
            return UNSEEN if self._place(value) is None else str(value)

        def features(values: Column) -> Mapping[str, Column]:
            return {
                "": list(map(seen, values.tolist() if isinstance(values, np.ndarray) else values))
            }

        return features

    def split(self, feature: str, values: Column) -> Bins:
        listed = [str(entry) for entry in self.known] if self.whole else self.known
        return split_words(values, listed, unseen=True, missing=self.nullable)


def vocabulary_name(field: str) -> str:
    """Where a category's entries lie in the bundle."""
    return f"front/{field}.vocabulary.txt"


def is_listed(annotation: Any) -> bool:
    """Is it a type of named values: a `Literal`, or an `Enum`?"""
    return get_origin(annotation) is Literal or is_enum(annotation)


def is_enum(annotation: Any) -> bool:
    """Is it an `Enum` class?"""
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def entries_of(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal` or an `Enum`, those of members in the place of members."""
    members = list(annotation) if is_enum(annotation) else get_args(annotation)
    return tuple(member.value if isinstance(member, enum.Enum) else member for member in members)


def sort_of(found: Sequence[Any]) -> Sort:
    """Words, unless a whole number is the first."""
    return "integers" if found and type(found[0]) is int else "words"
