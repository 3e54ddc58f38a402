"""Rows drawn from a contract: the same rows for the same contract.

Each field stands at its edges, alone and together with the others'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain, islice
from random import Random
from typing import Any

from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Edge

MOST_ROWS = 400
"""Rows of one contract. Small tabular models answer them in a tenth of a second."""
MOST_EDGES = 64
"""Edges of one field that are drawn alone.

Further edges, such as the words of a long list, stand in rows together with others.
"""
MOST_MIXED = 48
"""Rows in which every field is at some edge by chance."""


@dataclass(frozen=True)
class DrawnRow:
    """A raw row as JSON carries it, and what was drawn of it."""

    row: Mapping[str, Any]
    where: str
    """What stands out in it, for messages: "input 'age' at 120"."""
    named: bool = True
    """Is everything in the row within what the declaration names?

    If not, some value is bounded by its element type alone.
    """


def draw_rows(front: HostStage, known: Sequence[Mapping[str, Any]]) -> tuple[DrawnRow, ...]:
    """At most `MOST_ROWS` rows that contract and host stage take.

    `known` are rows as JSON carries them, such as golden ones.

    First each field missing and at its edges, in the fullest known row; then all at once; then
    mixed, from a fixed seed.
    """
    edges = {
        field.name: list(islice(field.kind.edges(front.stages[field.name]), MOST_ROWS))
        for field in front.contract.inputs
    }
    named = {name: [edge.value for edge in own if edge.named] for name, own in edges.items()}
    named = {name: values for name, values in named.items() if values}
    nullable = [field.name for field in front.contract.inputs if field.kind.nullable]
    record = front.contract.record
    known = [record.flat(row) for row in known]
    left_out = [field.name for field in front.contract.inputs if field.default is not None]
    base = max(known, key=lambda row: sum(value is not None for value in row.values()))
    drawn = chain(
        _missing(nullable, base),
        _left_out(left_out, base),
        _alone(edges, base),
        _together(named, base),
        _mixed(named, set(nullable), known),
    )
    whole = (replace(each, row=record.nested(each.row)) for each in drawn)
    taken = (each for each in _unlike(whole) if front.refusal_code(each.row) is None)
    return tuple(islice(taken, MOST_ROWS))


def _missing(nullable: Sequence[str], base: Mapping[str, Any]) -> Iterator[DrawnRow]:
    """Each field that may be missing, alone and all together."""
    yield from (DrawnRow({**base, name: None}, f"input '{name}' missing") for name in nullable)
    if len(nullable) > 1:
        yield DrawnRow({**base, **dict.fromkeys(nullable)}, "every input missing that may be")


def _left_out(defaults: Sequence[str], base: Mapping[str, Any]) -> Iterator[DrawnRow]:
    """The row without each field that has a default, and without all of them."""
    parts = [{name} for name in defaults]
    for part in (*parts, *([set(defaults)] if len(defaults) > 1 else [])):
        row = {name: value for name, value in base.items() if name not in part}
        yield DrawnRow(row, f"input '{min(part)}' left out")


def _alone(edges: Mapping[str, Sequence[Edge]], base: Mapping[str, Any]) -> Iterator[DrawnRow]:
    """The fields in turn: the first edge of each, then the second, and so on.

    So a bound on the number of rows leaves no field out.
    """
    for place in range(min(MOST_EDGES, max(map(len, edges.values())))):
        for name, own in edges.items():
            if place < len(own):
                edge = own[place]
                where = f"input '{name}' at {edge.what or shown(edge.value)}"
                yield DrawnRow({**base, name: edge.value}, where, edge.named)


def _together(named: Mapping[str, Sequence[Any]], base: Mapping[str, Any]) -> Iterator[DrawnRow]:
    """The first edge of every field, then the second of every field, and so on.

    A field with few edges begins again.
    """
    for place in range(max(map(len, named.values()), default=0)):
        row = {name: values[place % len(values)] for name, values in named.items()}
        where = (
            "every input at an edge" if len(row) > 1 else f"input '{next(iter(row))}' at an edge"
        )
        yield DrawnRow({**base, **row}, f"{where} ({place})")


def _mixed(
    named: Mapping[str, Sequence[Any]], nullable: Set[str], known: Sequence[Mapping[str, Any]]
) -> Iterator[DrawnRow]:
    """Every field at an edge, missing, or as in a known row, by chance.

    The chance is the same each time.
    """
    chance = Random(0)  # noqa: S311  (the same rows each time)
    for place in range(MOST_MIXED if len(named) > 1 else 0):
        row = dict(chance.choice(known))
        for name, values in named.items():
            missing = [None] if name in nullable else []
            row[name] = chance.choice([row.get(name), chance.choice(values), *missing])
        yield DrawnRow(row, f"inputs at edges, mixed ({place})")


def _unlike(rows: Iterator[DrawnRow]) -> Iterator[DrawnRow]:
    """Each row once. NaN never stands in one, so equal text is an equal row."""
    seen = set[str]()
    for each in rows:
        key = repr(sorted(each.row.items()))
        if key not in seen:
            seen.add(key)
            yield each


def shown(value: Any) -> str:
    """A drawn value for messages: it is ours, and no caller's."""
    if isinstance(value, list):
        shape: list[int] = []
        first: Any = value
        while isinstance(first, list):
            shape.append(len(first))
            first = first[0] if first else None
        return f"{shape} of {first!r}, ..."
    text = repr(value)
    return (
        text
        if len(text) <= 40
        else f"{text[:40]}... ({len(value) if isinstance(value, str) else len(text)} characters)"
    )
