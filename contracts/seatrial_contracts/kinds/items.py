"""A list of values of one kind, such as the products in a basket: padded, with a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

import annotated_types
import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny
from pydantic.fields import FieldInfo

from seatrial_contracts.bins import Bins, split_numbers
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds import kind_of
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.kind import (
    SHORT_BYTES,
    Array,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    in_graph,
)
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.row_mark import Mark, mark_specs, marks
from seatrial_contracts.row import Row

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MOST_ITEMS = 2**20
MANY_DRAWN, FEW_DRAWN = 4096, 8
"""Items of a drawn list at most, and of most of the drawn ones."""


class Items(Kind):
    """`Annotated[list[Literal["tea", "coffee"]], Items(max_items=50)]`, `list[int]`, ...

    The type of an item is declared as that of a field. It enters the graph as its kind does, with
    one more side: `(batch, items)`, padded to the longest list of the batch with 0 (or the bound
    that is nearest to 0), False, or the first category. `<field>_mask`, bool, `(batch, items)`, is
    True where an item is; with `mark="length"` it is `<field>_length`, int64, `(batch,)`. An empty
    list enters as one padded item, so that no graph sees a side of size 0. If `min_items` is
    `max_items`, there is neither.

    Over V2 a list is a row of a tensor of shape `[rows, items]`; `<field>_length`, INT64, says how
    many items of each row count, and may be left out where all do.
    """

    staged: ClassVar[bool] = True
    keeps: ClassVar[Mapping[type, str]] = {
        annotated_types.MinLen: "min_items",
        annotated_types.MaxLen: "max_items",
    }

    kind: Literal["items"] = "items"
    max_items: Annotated[int, Field(ge=1, le=MOST_ITEMS)] | None = None
    min_items: Annotated[int, Field(ge=0, le=MOST_ITEMS)] = 0
    mark: Mark = "mask"
    """"none" where the list of another field of the same objects has it."""
    of_rows: Annotated[str, Field(max_length=1024)] = ""
    """The list of objects of which this is one field, as declared: `lines` of `lines.price`."""
    item: Annotated[SerializeAsAny[Kind], BeforeValidator(kind_of)] | None = None

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if get_origin(annotation) is list else None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if get_origin(annotation) is not list or self.item is not None:
            raise DeclarationError("st.Items", str(annotation), "list[...] of a declared type")
        return self.completed(nullable=nullable, item=item_of(get_args(annotation)[0]))

    def rebuilt(self, annotation: Any, nullable: bool) -> Any:
        item = get_args(annotation)[0] if get_args(annotation) else None
        if isinstance(item, type) and issubclass(item, Row):  # the row's contract has no such kind
            return Annotated[
                annotation, Field(min_length=self.min_items, max_length=self.max_items)
            ]
        return super().rebuilt(annotation, nullable)

    def check(self) -> None:
        if self.max_items is None:
            raise DeclarationError("st.Items", "no max_items", "st.Items(max_items=50)")
        if self.min_items > self.max_items:
            got = f"{self.min_items} to {self.max_items} items"
            raise DeclarationError("st.Items", got, "min_items <= max_items")
        if self.mark == "none" and not self.of_rows:
            raise DeclarationError("st.Items", "mark='none'", "'mask' or 'length'")
        item = self.item
        if item is None or item.ragged or item.marked or len(item.tensors("x")) != 1:
            got = "no kind of an item" if item is None else f"items of kind {item.name}"
            want = "items that are one tensor each and never missing, or numbers and categories"
            whole = "sounds of a list: st.Audio(padding='max_length', mark='none')"
            mend = whole if item is not None and item.name == "audio" else ""
            raise DeclarationError("st.Items", got, want, mend)
        item.check()
        if not all(isinstance(size, int) for size in item.tensors("x")[0].dims):
            got = f"items of kind {item.name} whose sizes vary"
            raise DeclarationError("st.Items", got, "items of one size, such as size_px gives")

    @property
    def each(self) -> Kind:
        """The kind of an item."""
        assert self.item is not None
        return self.item

    @property
    def most(self) -> int:
        """Of a list's items."""
        return self.max_items or 0

    @property
    def ragged(self) -> bool:
        return self.min_items < self.most

    @property
    def looked_up(self) -> Kind | None:
        return self.each.looked_up

    def encodes_inline(self, value: Any) -> bool:
        return len(value) <= FEW_DRAWN and all(map(self.each.encodes_inline, value))

    def front_names(self, field: str) -> Sequence[str]:
        return self.each.front_names(field)

    def front_files(self, field: str) -> Mapping[str, bytes]:
        return self.each.front_files(field)

    def with_files(self, name: str, files: Mapping[str, bytes]) -> Self:
        item = self.each.with_files(name, files)
        return self if item is self.item else self.model_copy(update={"item": item})

    def breaks(self, option: str, old: Self) -> bool:
        if option == "max_items":
            return self.most < old.most
        if option == "min_items":
            return self.min_items > old.min_items
        if option == "mark":
            return False
        if option == "of_rows":
            return True
        if option == "item":
            was, is_ = old.each, self.each
            return was.name != is_.name or any(
                getattr(was, name) != getattr(is_, name) and is_.breaks(name, was)
                for name in type(is_).model_fields
            )
        return super().breaks(option, old)

    def annotation(self) -> Any:
        return self._listed(self.each.annotation())

    def given(self) -> Any:
        return self._listed(self.each.given())

    def json_value(self, value: Any) -> Any:
        return [None if each is None else self.each.json_value(each) for each in value]

    def _listed(self, item: Any) -> Any:
        listed: Any = list[item | None if self.each.nullable else item]  # type: ignore[misc]
        return Annotated[listed, Field(min_length=self.min_items, max_length=self.most)]

    def want(self) -> str:
        missing = " or null" if self.each.nullable else ""
        count = f"{self.min_items} to {self.most}" if self.ragged else str(self.most)
        return f"a list of {count} items, each {self.each.want()}{missing}"

    def part_want(self) -> str:
        return self.each.want()

    @property
    def datatype(self) -> str:
        return self.each.datatype

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        inner = self.each.row_shape
        count = None if self.ragged else self.most
        return (count, *(() if inner == (1,) else inner))

    @property
    def most_values(self) -> int:
        return self.most * self.each.most_values

    @property
    def most_bytes(self) -> int:
        return SHORT_BYTES + self.most * self.each.most_bytes

    def column(self, values: Column) -> Column:
        rows = list(values)
        for place, row in enumerate(rows):
            if not self.min_items <= len(row) <= self.most:
                raise Refusal("E_LIMIT", f"row {place}", f"{len(row)} items", self.want())
        counts = [len(row) for row in rows]
        flat = self._flat(rows)
        if len(flat) == 0:
            return [[] for _ in rows]
        try:
            items = self.each.column(flat)
        except Refusal as refusal:
            if refusal.row is None:
                raise
            row, place = place_of(refusal.row, counts)
            raise refusal.at(f"item {place}, row {row}") from None
        ends = np.cumsum(counts).tolist()
        return [items[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def _flat(self, rows: Sequence[Any]) -> Column:
        """All items of all rows, as the column of their own kind."""
        if self.datatype == "BYTES":
            return [item for row in rows for item in row]
        return np.concatenate(rows)

    def wire(self, value: Any) -> Any:
        if not isinstance(value, (list, np.ndarray)):
            raise TypeError("no list")
        missing = self.each.missing_element if self.each.nullable else None
        return [missing if each is None else self.each.wire(each) for each in value]

    def json_schema(self) -> JsonSchema:
        return {
            "type": "array", "items": self.each.told_schema(), "minItems": self.min_items,
            "maxItems": self.most,
        }  # fmt: skip

    def example(self) -> Any:
        return [self.each.example()] * min(max(2, self.min_items), self.most)

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        item = self.each.strategy()
        if self.each.nullable:
            item = item | some.none()
        least, most = self.min_items, max(self.min_items, min(self.most, FEW_DRAWN))
        few = some.lists(item, min_size=least, max_size=most)
        if most == self.most or least > FEW_DRAWN:
            return few
        many = some.builds(
            repeated,
            some.lists(item, min_size=1, max_size=FEW_DRAWN),
            some.sampled_from([most, min(self.most, MANY_DRAWN)]),
        )
        return few | many

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """The shortest and the longest list, and each edge of an item in a list."""
        items = list(self.each.edges(lambda value: stage([value])))
        named = [edge.value for edge in items if edge.named]
        small = min(max(2, self.min_items), self.most)
        lengths = dict.fromkeys((self.min_items, 1, min(self.most, MANY_DRAWN)))
        for length in lengths:
            if self.min_items <= length <= self.most:
                yield Edge(repeated(named, length), what=f"a list of {length}")
        if self.each.nullable:
            yield Edge([None] * small, what="a list of missing items")
            yield Edge(repeated([None, *named], small), what="a list with a missing item")
        for start, edge in enumerate(items):
            others = repeated(named[start % len(named) :] + named, small - 1)
            yield Edge([edge.value, *others], edge.named)

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        (own,) = self.each.tensors(name)
        if not self.ragged:
            return (own.model_copy(update={"dims": (self.most, *own.dims)}),)
        group = self._group(name)
        count = f"{group}_items"
        spec = own.model_copy(update={"dims": (count, *own.dims), "pad": self.each.padding_item})
        return (spec, *mark_specs(self.mark, group, count))

    def _group(self, name: str) -> str:
        """What the graph calls the list: by its field, or by the objects that it holds."""
        return in_graph(self.of_rows) or name

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        sizes = {f"{self._group(name)}_items": (max(1, self.min_items), self.most)}
        return sizes if self.ragged else {}

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        item = self.each.stage(name, files)
        blank = self._blank(1)

        def stage(values: Any) -> tuple[Any, ...]:
            count = len(values)
            made = np.empty((count, *blank.shape[1:]), blank.dtype) if count else blank
            for place, value in enumerate(values):
                try:
                    (made[place],) = item(value)
                except Refusal as refusal:
                    raise refusal.at(f"item {place}") from None
            return (made, *self._marks(len(made), count))

        return stage

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """An empty list; or, where every list has as many items, as many padded ones."""
        if self.min_items == 0:
            return stage([])
        return (self._blank(self.min_items), *self._marks(self.min_items, 0))

    def _marks(self, size: int, count: int) -> tuple[Any, ...]:
        """What says that so many of the items of a padded list count."""
        return marks(self.mark, size, count) if self.ragged else ()

    def _blank(self, count: int) -> Array:
        """So many padded items."""
        (spec,) = self.each.tensors("x")
        sides = [int(size) for size in spec.dims]
        return np.full((count, *sides), self.each.padding_item, spec.array_dtype)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The number of items, the mean of numbers, and the first of words."""
        words = isinstance(self.each, Category)
        of_item = self.each.features(name, files, stage) if words else None

        def features(values: Column) -> Mapping[str, Column]:
            found: dict[str, Column] = {"items": [len(row) for row in values]}
            if isinstance(self.each, Number):
                rows = [np.asarray(row, np.float64) for row in values]
                found["mean"] = [mean_of(row) for row in rows]
            if of_item is not None:
                there = [row[0] for row in values if len(row)]
                seen = iter(of_item(there)[""] if there else ())
                found["first"] = [next(seen) if len(row) else None for row in values]
            return found

        return features

    def split(self, feature: str, values: Column) -> Bins:
        if feature == "first":
            return self.each.model_copy(update={"nullable": True}).split("", values)
        return split_numbers(values, missing=self.nullable or feature == "mean")


def item_of(annotation: Any) -> Kind:
    """The kind of an item, as a field of that type has it. Raises `DeclarationError`."""
    from seatrial_contracts.annotations import read_field, stated_kind

    field = read_field(FieldInfo.from_annotation(annotation))
    stated = stated_kind(field)
    if stated is None or "input" not in stated.roles or isinstance(stated, Items):
        raise DeclarationError(
            "st.Items", f"items of type {annotation}"[:80], "the type of an input"
        )
    return stated.declared(field.annotation, field.nullable)


def place_of(flat: int, counts: Sequence[int]) -> tuple[int, int]:
    """The row of an item, and its place there, from its place among the items of all rows."""
    for row, count in enumerate(counts):
        if flat < count:
            return row, flat
        flat -= count
    raise IndexError(flat)


def repeated(values: Sequence[Any], count: int) -> list[Any]:
    """So many values: these, again and again."""
    return [values[place % len(values)] for place in range(count)]


def mean_of(row: Array) -> float:
    """The mean of the numbers that are there; NaN of none."""
    there = row[~np.isnan(row)]
    return float(there.mean()) if len(there) else float("nan")
