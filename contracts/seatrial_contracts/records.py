"""Nested rows: an object within a row, or a list of objects, is fields of dotted names.

`{"address": {"zip": "0150"}, "lines": [{"price": 2.0}, {"price": 3.5}]}` has the fields
`address.zip` and `lines.price`, a list. All but V1's JSON knows the fields alone.

Packed columns are the other way round: many numbers of the row are one field (`kinds/columns.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle, islice
from typing import Annotated, Any

from pydantic import Field, create_model, model_validator

from seatrial_contracts.errors import Refusal
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds.columns import ABSENT, Columns
from seatrial_contracts.kinds.items import Items
from seatrial_contracts.kinds.kind import Column, JsonSchema, Kind, refuse
from seatrial_contracts.row import BuiltRow, Row

SEPARATOR = "."
"""Between the name of an object and that of a field in it."""


@dataclass
class Record:
    """The objects that stand at one place of a row, or the row itself."""

    name: str = ""
    """Of the object, with the names of those around it; empty for the row itself."""
    parts: dict[str, InputField | Record] = field(default_factory=dict)
    listed: Items | None = None
    """The list that holds such objects, where the object is the item of one."""

    @property
    def leaves(self) -> Iterator[InputField]:
        """Every field within."""
        for part in self.parts.values():
            if isinstance(part, Record):
                yield from part.leaves
            else:
                yield part

    @cached_property
    def packed(self) -> dict[str, Columns]:
        """The inputs that pack columns of this object, by name."""
        leaves = (part for part in self.parts.values() if isinstance(part, InputField))
        return {leaf.name: leaf.kind for leaf in leaves if isinstance(leaf.kind, Columns)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that the object has in JSON: those of its parts, and of packed columns."""
        return tuple(
            name
            for part in self.parts
            for name in (self.packed[part].column_names if part in self.packed else (part,))
        )

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    @property
    def nullable(self) -> bool:
        """May the object be missing, since every field in it may be?"""
        return all(leaf.kind.nullable for leaf in self.leaves)

    def model(self, *, incomplete: bool = False) -> type[Row]:
        """A strict Pydantic model of the object.

        With `incomplete`, it takes an object that lacks what is required: see `is_complete`.
        Pydantic holds a copy of an object from JSON for each field that it lacks, so that one of
        a hundred thousand unknown names, for a hundred required ones, takes a gigabyte.
        """
        lacking, optional = None if incomplete else ..., self.optional
        fields: dict[str, Any] = {
            name: (annotation | None if nullable else annotation, optional.get(name, lacking))
            for name, (annotation, nullable) in self.annotations_of(incomplete=incomplete).items()
        }
        packing = self.packing(self.with_packed)
        return create_model("Row", __base__=BuiltRow, __validators__=packing, **fields)

    def packing(self, pack: Callable[[Any], Any]) -> dict[str, Any]:
        """The validator of a Pydantic model that packs columns first, where there are such."""
        if not self.packed:
            return {}
        validate: Any = classmethod(lambda _, value: pack(value))
        return {"packing": model_validator(mode="before")(validate)}

    def with_packed(self, row: Any) -> Any:
        """A row in JSON, with the values of each packed input together. Raises what `refuse` does.

        The same holds of what is no row, and of names that no row has: a model refuses them.
        """
        if not isinstance(row, Mapping):
            return row
        made = {name: row[name] for name in self.parts if name in row and name not in self.packed}
        used = len(made)
        for name, kind in self.packed.items():
            made[name], count = kind.counted(row)
            used += count
        if len(row) != used or self.packed.keys() & row.keys():
            for name in row.keys() - self._known:
                if name in self.packed:
                    want = "its columns, each by its name"
                    refuse("E_UNKNOWN_FIELD", "the name of packed columns", want, field=name)
                made[name] = row[name]
        return made

    def with_packed_columns(self, columns: Any) -> Any:
        """The same of rows that came by column: a list of values for each name."""
        if not isinstance(columns, Mapping):
            return columns
        made = self.with_packed(columns)
        for name, kind in self.packed.items():
            made[name] = rows_of(kind, made[name])
        return made

    def is_complete(self, row: Row) -> bool:
        """Has an object of the model that takes incomplete ones all that is required?"""
        given = row.__pydantic_fields_set__
        if len(given) < len(self.parts) and not self._required <= given:
            return False
        for name, part in self._records:
            value = getattr(row, name)
            if value is None:
                continue
            if part.listed is None:
                if not part.is_complete(value):
                    return False
            elif not all(map(part.item_record.is_complete, value)):
                return False
        return True

    def are_complete(self, rows: Sequence[Row]) -> bool:
        """Have they all? What is asked of each request, without a call for each row."""
        if self._records:
            return all(map(self.is_complete, rows))
        whole = len(self.parts)
        for row in rows:
            given = row.__pydantic_fields_set__
            if len(given) != whole and not self._required <= given:
                return False
        return True

    @cached_property
    def _required(self) -> frozenset[str]:
        return frozenset(self.parts) - self.optional.keys()

    @cached_property
    def _records(self) -> list[tuple[str, Record]]:
        return [(name, part) for name, part in self.parts.items() if isinstance(part, Record)]

    def annotations_of(self, *, incomplete: bool = False) -> dict[str, tuple[Any, bool]]:
        """Of each part the strict type of a value that is there, and whether it may be missing.

        `incomplete`: see `model`.
        """
        return {
            name: (part.annotation(incomplete=incomplete), part.nullable)
            if isinstance(part, Record)
            else (part.kind.annotation(), part.kind.nullable)
            for name, part in self.parts.items()
        }

    @property
    def optional(self) -> dict[str, Any]:
        """Each part that may be left out, and the validated value that stands there then."""
        return {
            name: None if isinstance(part, Record) else part.default_value
            for name, part in self.parts.items()
            if (part.nullable if isinstance(part, Record) else part.optional)
        }

    def annotation(self, *, incomplete: bool = False) -> Any:
        """The strict type of the value that holds the object or its list; see `model`."""
        if self.listed is None:
            return self.model(incomplete=incomplete)
        size = Field(min_length=self.listed.min_items, max_length=self.listed.most)
        item = self.item_record.model(incomplete=incomplete)
        return Annotated[list[item], size]  # type: ignore[valid-type]

    def flat(self, row: Any) -> dict[str, Any]:
        """The values of the fields, by name, of a validated row or of its JSON.

        What is not there stands not there. A value that is no object raises what indexing raises.
        """
        values: dict[str, Any] = {}
        whole = dict(row.__dict__) if isinstance(row, Row) else row
        for name, part in self.parts.items():
            if name not in whole:
                if name in self.packed:
                    names = self.packed[name].column_names
                    values[name] = {each: whole[each] for each in names if each in whole}
                continue
            value = whole[name]
            if not isinstance(part, Record):
                values[part.name] = value
            elif value is None:
                values |= dict.fromkeys((leaf.name for leaf in part.leaves), None)
            elif part.listed is None:
                values |= part.flat(value)
            else:
                items = [part.flat(item) for item in value]
                for leaf in part.leaves:
                    values[leaf.name] = [item.get(leaf.name) for item in items]
        return values

    def nested(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A row in JSON, of the values of its fields.

        An object of which nothing is known is left out. Lists of one object's fields that are of
        unlike length are repeated up to the longest, or empty where one of them is.
        """
        row: dict[str, Any] = {}
        for name, part in self.parts.items():
            if name in self.packed:
                row |= values.get(name, {})
                continue
            if not isinstance(part, Record):
                if part.name in values:
                    row[name] = values[part.name]
                continue
            known = {leaf.name: values[leaf.name] for leaf in part.leaves if leaf.name in values}
            if not known:
                continue
            if part.nullable and all(value is None for value in known.values()):
                row[name] = None
            elif part.listed is None:
                row[name] = part.nested(known)
            else:
                row[name] = [part.nested(item) for item in items_of(known)]
        return row

    def schema(self) -> JsonSchema:
        """JSON Schema (2020-12) of the object."""
        properties: dict[str, JsonSchema] = {}
        required = []
        for name, part in self.parts.items():
            if name in self.packed:
                columns = self.packed[name].json_schema()
                properties |= columns["properties"]
                required += columns["required"]
                continue
            if isinstance(part, Record):
                properties[name] = part.whole_schema()
                left_out = part.nullable
            else:
                default = {} if part.default is None else {"default": part.default}
                properties[name] = {**schema_of(part.kind), **default}
                left_out = part.optional
            if not left_out:
                required.append(name)
        return {
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": False,
        }  # fmt: skip

    def whole_schema(self) -> JsonSchema:
        """The same of the value that holds the object or its list, and of null where it may be."""
        listed = self.listed
        schema = self.schema() if listed is None else {
            "type": "array", "items": self.item_record.schema(), "minItems": listed.min_items,
            "maxItems": listed.most,
        }  # fmt: skip
        schema = {**schema, "x-want": self.want()}
        return {"anyOf": [schema, {"type": "null"}]} if self.nullable else schema

    @cached_property
    def item_record(self) -> Record:
        """The objects of a list, each with fields that are no lists."""
        parts: dict[str, InputField | Record] = {
            name: part.item_record
            if isinstance(part, Record)
            else InputField(name=part.name, kind=item_kind(part.kind))
            for name, part in self.parts.items()
        }
        return Record(self.name, parts)

    def want(self) -> str:
        """What a right value is, for messages."""
        names = ", ".join(self.parts)
        noun = f"with {names}"[:200]
        if self.listed is None:
            return f"an object {noun}"
        return f"a list of {self.listed.min_items} to {self.listed.most} objects {noun}"

    def check_lengths(self, columns: Mapping[str, Column]) -> None:
        """Check that the lists of one object's fields are of one length in each row.

        Raises `Refusal`.
        """
        for part in self.parts.values():
            if not isinstance(part, Record):
                continue
            if part.listed is None:
                part.check_lengths(columns)
                continue
            first, *others = [leaf.name for leaf in part.leaves]
            for name in others:
                for row, pair in enumerate(zip(columns[first], columns[name], strict=True)):
                    want, got = (0 if values is None else len(values) for values in pair)
                    if want != got:
                        where = f"input '{name}', row {row}"
                        text = f"{want} items, as '{first}' has"
                        raise Refusal("E_SHAPE", where, f"{got} items", text)

    def find(self, path: Sequence[Any]) -> tuple[InputField | Record, int | None]:
        """What stands at a place of a row's JSON, and the item of a list there."""
        at: InputField | Record = self
        item: int | None = None
        for part in path:
            if isinstance(part, int):
                item = part if item is None else item
            elif isinstance(at, Record) and part in at.parts:
                at = at.parts[part]
            else:
                break
        return at, item


def record_of(fields: Sequence[InputField]) -> Record:
    """The row that holds these fields."""
    whole = Record()
    for leaf in fields:
        at = whole
        *around, name = leaf.name.split(SEPARATOR)
        for depth, each in enumerate(around):
            inner = at.parts.setdefault(each, Record(SEPARATOR.join(around[: depth + 1])))
            if not isinstance(inner, Record):
                raise ValueError(leaf.name)
            at = inner
        if name in at.parts or (around and leaf.kind.column_names):
            raise ValueError(leaf.name)
        at.parts[name] = leaf
    for part in whole.parts.values():
        mark_lists(part)
    seen = set[str]()
    for name in whole.names:
        if name in seen or name in whole.packed:
            raise ValueError(name)
        seen.add(name)
    return whole


def rows_of(kind: Columns, lists: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a list of values for each column. Raises what `refuse` does."""
    given = dict(zip(kind.column_names, lists, strict=True))
    known = {name: each for name, each in given.items() if each is not None}
    first, rows = next(((n, len(v)) for n, v in known.items() if isinstance(v, list)), ("", 0))
    for column in kind.columns:
        if column.name not in known:
            continue
        values = known[column.name]
        want = f"a list, for each row {column.want(kind.dtype)}"
        if values is ABSENT:
            refuse("E_MISSING", "nothing", want, field=column.name)
        if not isinstance(values, list):
            refuse("E_TYPE", "no list", want, field=column.name)
        if len(values) != rows:
            refuse("E_SHAPE", f"{len(values)} rows", f"{rows} rows, as '{first}' has", column.name)
    nothing = [None] * rows
    return list(zip(*(known.get(name, nothing) for name in kind.column_names), strict=True))


def mark_lists(part: InputField | Record) -> None:
    """Note at each object that a list holds which list that is: its fields know it."""
    if not isinstance(part, Record):
        return
    depths = {leaf.kind.of_rows for leaf in part.leaves if isinstance(leaf.kind, Items)} | {
        "" for leaf in part.leaves if not isinstance(leaf.kind, Items)
    }
    if depths == {part.name}:
        part.listed = next(leaf.kind for leaf in part.leaves if isinstance(leaf.kind, Items))
        return
    for inner in part.parts.values():
        mark_lists(inner)


def item_kind(kind: Kind) -> Kind:
    """The kind of a field of an object that a list holds."""
    assert isinstance(kind, Items)
    return kind.each


def items_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a list, of the list of each field."""
    lists = {name: column or [] for name, column in columns.items()}
    most = max(map(len, lists.values()))
    if not all(map(len, lists.values())):
        return []
    rows = zip(*(islice(cycle(column), most) for column in lists.values()), strict=True)
    return [dict(zip(lists, row, strict=True)) for row in rows]


def schema_of(kind: Kind) -> JsonSchema:
    """JSON Schema of one field, with its description."""
    return {
        **kind.told_schema(), **({"description": kind.description} if kind.description else {}),
    }  # fmt: skip
