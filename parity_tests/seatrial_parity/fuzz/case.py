"""A case of fuzzing: a row, alone and among others.

The rows are those that every gate draws from the contract, and further ones by its kinds' own
strategies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.contract import Contract
from seatrial_contracts.drawn_rows import draw_rows

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MOST_MATES = 3
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    2**70,
    "",
    "x",
    "\x00",
    [],
    [[]],
    [1, None],
    {},
    {"a": 1},
    [[1.0, 2.0], [3.0]],
)
"""What may stand where no contract, or only some, want it."""
ODD_ROWS: tuple[Any, ...] = (None, 7, "row", [], {})
ODD_NAME = "field that is in no contract"


@dataclass(frozen=True)
class Case:
    """A raw row, as JSON carries it, and those that share its batch."""

    row: Any
    mates: tuple[Any, ...] = ()

    @property
    def key(self) -> str:
        """What names this case."""
        return sha256(canonical_json([self.row, *self.mates]))


def drawn_cases(bundle: Bundle, most: int, chance: Random) -> list[Case]:
    """At most `most` rows that every gate draws from this contract, each among golden rows.

    Rows that only an element type bounds are left out: most models overflow there. Where there are
    more rows, chance picks.
    """
    golden = bundle.golden.rows
    rows = [each.row for each in draw_rows(bundle.make_front(), golden) if each.named]
    if len(rows) > most:
        rows = [rows[place] for place in sorted(chance.sample(range(len(rows)), most))]
    mates = min(MOST_MATES, len(golden)) if bundle.manifest.batchable else 0
    return [Case(row, tuple(chance.sample(golden, mates))) for row in rows]


def cases_of(bundle: Bundle) -> SearchStrategy[Case]:
    """Cases of a bundle; a row of one that is not batchable stays alone."""
    from hypothesis import strategies as some

    mate = some.sampled_from(bundle.golden.rows) | good_rows(bundle.contract)
    mates = some.lists(mate, max_size=MOST_MATES if bundle.manifest.batchable else 0).map(tuple)
    return some.builds(Case, rows_of(bundle.contract), mates)


def rows_of(contract: Contract) -> SearchStrategy[Any]:
    """Most rows as the contract takes them, about one in ten with something wrong."""
    from hypothesis import strategies as some

    return some.integers(0, 9).flatmap(
        lambda place: odd_rows(contract) if place >= 8 else good_rows(contract)
    )


def good_rows(contract: Contract) -> SearchStrategy[Mapping[str, Any]]:
    """Draw rows that the contract takes; optional fields are left out, null or there.

    A closer look (at tokens for one) may still refuse a row.
    """
    from hypothesis import strategies as some

    fields = {field.name: field.kind.strategy() for field in contract.inputs}
    optional = {field.name: field.kind.nullable for field in contract.inputs if field.optional}
    drawn = some.fixed_dictionaries(
        {name: strategy for name, strategy in fields.items() if name not in optional},
        optional={
            name: some.none() | fields[name] if nullable else fields[name]
            for name, nullable in optional.items()
        },
    )
    return drawn.map(contract.record.nested) if contract.is_nested else drawn


def odd_rows(contract: Contract) -> SearchStrategy[Any]:
    """Rows with one field that is wrong, absent or unknown, and what is no row at all."""
    from hypothesis import strategies as some

    names = some.sampled_from([*contract.record.names, ODD_NAME])
    good, value = good_rows(contract), some.sampled_from(ODD_VALUES)
    wrong = some.builds(lambda row, name, value: {**row, name: value}, good, names, value)
    absent = some.builds(
        lambda row, name: {key: row[key] for key in row if key != name}, good, names
    )
    return wrong | absent | some.sampled_from(ODD_ROWS)
