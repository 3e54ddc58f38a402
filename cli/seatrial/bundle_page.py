"""A bundle as a notebook shows it: contract, variants and the newest receipt, as HTML tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.receipt import Receipt

MOST_FIELDS, MOST_CHARS = 64, 160
"""Fields that are shown, and characters of a cell."""


def bundle_page(bundle: Bundle) -> str:
    """The page. Text of the bundle is escaped; files are not shown."""
    manifest = bundle.manifest
    batched = "batchable" if manifest.batchable else "never batched"
    name = f"<b>{_text(bundle.name)} {_text(bundle.version)}</b>"
    size = f"{bundle.size_bytes / 1e6:.2f} MB in {len(manifest.files)} files, {batched}"
    parts = [
        f"{name} <code>sha256:{bundle.digest[:12]}</code><br>{size}",
        _table("contract", ("", "field", "kind", "takes"), _fields(bundle)),
        _table("variants", ("variant", "graph", "MB", "promises"), _variants(bundle)),
    ]
    receipts = bundle.receipts()
    if receipts:
        title = f"receipt of {receipts[-1].made_at}"
        head = ("runner", "variant", "rows", "worst error", "allowed", "")
        parts.append(_table(title, head, _trials(receipts[-1])))
    return f'<div class="seatrial-bundle">{"".join(parts)}</div>'


def _fields(bundle: Bundle) -> Iterator[Sequence[str]]:
    contract = bundle.contract
    for role, fields in (("in", contract.inputs), ("out", contract.outputs)):
        for field in fields[:MOST_FIELDS]:
            missing = " or null" if field.kind.nullable else ""
            yield role, field.name, field.kind.name, f"{field.kind.want()}{missing}"
        if len(fields) > MOST_FIELDS:
            yield role, f"{len(fields) - MOST_FIELDS} more", "", ""


def _variants(bundle: Bundle) -> Iterator[Sequence[str]]:
    for variant in bundle.manifest.variants:
        size = f"{bundle.manifest.graph_bytes(variant.graph) / 1e6:.2f}"
        promise = variant.promise or bundle.contract.tolerance
        yield variant.name, variant.graph, size, str(promise)


def _trials(receipt: Receipt) -> Iterator[Sequence[str]]:
    for trial in receipt.trials:
        errors = (
            "" if value is None else f"{value:.2g}" for value in (trial.worst_error, trial.allowed)
        )
        said = "passed" if trial.passed else trial.finding
        yield trial.runner, trial.variant, f"{trial.rows} {trial.row_set}", *errors, said


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    cells = "".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f"<table><caption>{_text(title)}</caption>"
        f"<thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table>"
    )


def _text(value: str) -> str:
    return escape(value if len(value) <= MOST_CHARS else f"{value[: MOST_CHARS - 4]} ...")
