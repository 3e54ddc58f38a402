"""What the console shows of a version beside the API: examples, release notes, what to tell."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.release_notes import NOTES
from seatrial_serve.models.described import KnownModel
from seatrial_serve.observers.feedback import Tellable

MOST_EXAMPLES, MOST_BYTES = 40, 2**18
"""What the examples of one version are at most, as rows and as their JSON."""


class About:
    """Describes versions, each once: drawing rows takes some milliseconds."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[KnownModel, dict[str, Any]] = WeakKeyDictionary()

    async def told(self, model: KnownModel) -> dict[str, Any]:
        """`examples`, `release_notes` and `truth` of a version, as JSON values.

        An example is `{"what": ..., "row": ...}`: a row drawn from the contract, and never one of
        the bundle's. `truth` is output -> JSON Schema of what feedback takes for it.
        """
        known = self._known.get(model)
        if known is None:
            known = self._known[model] = await asyncio.to_thread(describe, model)
        return known


def describe(model: KnownModel) -> dict[str, Any]:
    """See `About.told`. An encrypted bundle's notes are about its golden rows, and not shown."""
    bundle = model.bundle
    outputs = Tellable.of(bundle, model.name).outputs
    notes = b"" if bundle.encryption is not None else bundle.files.get(NOTES, b"")
    return {
        "examples": examples(bundle),
        "release_notes": notes.decode(errors="replace"),
        "truth": {name: each.kind.truth_schema() for name, each in outputs.items()},
    }


def examples(bundle: Bundle) -> list[dict[str, Any]]:
    """Some of the rows drawn from the contract, spread over all that are drawn.

    There are none where a field is a file, which is dropped or chosen.
    """
    contract = bundle.contract
    if any(getattr(field.kind, "media_types", ()) for field in contract.inputs):
        return []
    rows = draw_rows(bundle.make_front(), [contract.example_row()])
    drawn = [row for row in rows if row.named]
    step, room, told = -(-len(drawn) // MOST_EXAMPLES) or 1, MOST_BYTES, []
    for each in drawn[::step]:
        room -= len(orjson.dumps(each.row))
        if room < 0:
            break
        told.append({"what": each.where, "row": each.row})
    return told
