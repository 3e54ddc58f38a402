"""`seatrial diff`: what changed between two versions, for clients and in the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seatrial.comparing import diff
from seatrial.identity_option import identity_option

SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)")

if TYPE_CHECKING:
    from seatrial_parity.versions import Versions


class Share(click.ParamType["tuple[float, bool]"]):
    """A number of rows, or a share of them: 3, or 2%."""

    name = "NUMBER|PERCENT%"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, bool]:
        """The number, or the share from 0 to 1; and which of both it is."""
        if isinstance(value, tuple):
            return value
        match = SHARE.fullmatch(value)
        if match is None or (match[2] and float(match[1]) > 100):
            self.fail(f"got {value!r}, want a number of rows such as 3, or a share: 2%", param, ctx)
        return (float(match[1]) / 100, True) if match[2] else (float(match[1]), False)


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
@click.option(
    "--notes",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write release notes in Markdown.",
)
@click.option(
    "--most-flips",
    type=Share(),
    help="Exit with 1 if more rows than this have another label: a number, or a share such as 2%.",
)
@click.option(
    "--most-move",
    type=click.FloatRange(min=0),
    metavar="NUMBER",
    help="Exit with 1 if a number of an answer moves by more than this.",
)
@identity_option
def command(
    old: str,
    new: str,
    as_json: bool,
    notes: Path | None,
    most_flips: tuple[float, bool] | None,
    most_move: float | None,
) -> None:
    """Compare two bundles of a model: contracts, answers to both golden sets, size and speed.

    Each is a bundle's folder, or an address in a store: oci://HOST/NAME:TAG, s3:// or the like.

    A difference is breaking where a client that was right before may be refused, or read something
    else. Exits with 1 where one is and the major version does not rise, and, for CI, where answers
    move by more than --most-flips or --most-move allow.

    \b
      seatrial diff bundles/churn/1.0.0 bundles/churn/1.1.0
      seatrial diff bundles/churn/1.0.0 bundles/churn/1.1.0 --most-flips 2% --most-move 0.05
    """  # noqa: D301  (click's mark)
    found = diff(old, new)
    if notes is not None:
        for bundle in (found.old, found.new):
            bundle.refuse_encrypted("what --notes saves")
        notes.write_text(found.notes, "utf-8")
    if as_json:
        click.echo(json.dumps(facts(found), indent=1))
    else:
        show(Console(), found)
    faults = list(beyond(found, most_flips, most_move))
    for fault in faults:
        click.echo(fault, err=True)
    if faults or not found.may_replace:
        raise click.exceptions.Exit(1)


def beyond(
    found: Versions, most_flips: tuple[float, bool] | None, most_move: float | None
) -> Iterator[str]:
    """What moved by more than was allowed."""
    moved = found.moved
    if most_flips is not None:
        rows, (most, is_share) = len({flip.row for flip in moved.flips}), most_flips
        if rows > (most * moved.compared if is_share else most):
            wanted = f"{most:.4g} of them" if is_share else f"{most:g}"
            yield (
                f"--most-flips: got {rows} of {moved.compared} rows with another label, "
                f"want at most {wanted}"
            )
    if most_move is not None and moved.largest > most_move:
        yield f"--most-move: got {moved.largest:.4g} at {moved.place}, want at most {most_move:g}"


def facts(found: Versions) -> dict[str, Any]:
    """Everything, as JSON values."""
    moved = asdict(found.moved)
    return {
        "name": found.new.name,
        "old": found.old.version,
        "new": found.new.version,
        "may_replace": found.may_replace,
        "differences": [asdict(difference) for difference in found.differences],
        "moved": moved | {"largest": str(found.moved.largest)},
        "rows": len(found.rows),
        "bytes": [found.old.size_bytes, found.new.size_bytes],
        "speed": round(found.speed, 3),
        "variants": [
            [variant.name for variant in bundle.manifest.variants]
            for bundle in (found.old, found.new)
        ],
        "measures": {
            name: [one.model_dump(mode="json") for one in both]
            for name, both in found.measures.items()
        },
    }


def show(console: Console, found: Versions) -> None:
    """For people."""
    from seatrial_contracts.release_notes import said

    console.print(
        f"[bold]{found.new.name}[/] {found.old.version} -> {found.new.version}", highlight=False
    )
    table = Table("", "where", "what")
    for difference in found.differences:
        kind = "[red]breaking[/]" if difference.breaking else "[green]safe[/]"
        table.add_row(kind, escape(difference.place), escape(difference.text))
    console.print(table if found.differences else "the contracts are equal")
    for line in said(found.moved):
        console.print(escape(line), highlight=False)
    if found.moved.place or found.moved.newly_refused or found.moved.newly_taken:
        console.print(
            f"(rows: the golden ones of {found.old.version}, "
            f"then what {found.new.version} has beyond them)"
        )
    if found.measures:
        console.print(measures_table(found))
    old, new = (bundle.size_bytes / 1e6 for bundle in (found.old, found.new))
    graphs = [
        ", ".join(variant.name for variant in bundle.manifest.variants)
        for bundle in (found.old, found.new)
    ]
    console.print(
        f"{old:.2f} -> {new:.2f} MB, graphs {graphs[0]} -> {graphs[1]}; "
        f"one row alone runs at {found.speed:.2f} of the old rate here",
        highlight=False,
    )
    if not found.may_replace:
        number = int(found.old.version.split(".")[0]) + 1
        console.print(
            "[red]breaking under the same major version[/]; "
            f"mend: call it {number}.0.0, or keep what clients rely on"
        )


def measures_table(found: Versions) -> Table:
    """Both versions against the truth, for all rows whose truth is known and for each slice."""
    names = {
        "accuracy": "accuracy",
        "f1": "F1",
        "span_f1": "F1 of spans",
        "map": "mAP",
        "calibration_error": "calibration error",
        "absolute_error": "absolute error",
    }
    used = [
        name
        for name in names
        if any(getattr(new, name) is not None for _, new in found.measures.values())
    ]
    table = Table("against the truth", "rows", *(names[name] for name in used))
    for slice_, both in found.measures.items():
        moves = (" -> ".join("-" if value is None else f"{value:.4g}" for value in values)
                 for values in ([getattr(one, name) for one in both] for name in used))  # fmt: skip
        table.add_row(escape(slice_), str(both[1].rows), *moves)
    return table
