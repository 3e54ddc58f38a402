"""`seatrial adopt hf:FOLDER`: a folder of Hugging Face's form, sealed or written as a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seatrial.row_argument import read_rows
from seatrial.sealing import Sealing, gate_progress, refuse_options, show_sealed
from seatrial_contracts.errors import DeclarationError, MissingExtra

if TYPE_CHECKING:
    from seatrial_export.hub.from_pretrained import HubModel

PREFIX = "hf:"
OWN = ("task", "rows", "write", "name")
"""Options of the command that a folder takes."""


def adopt_folder(
    model: str,
    asked: Mapping[str, Any],
    sealing: Sealing,
) -> None:
    """Seal the folder that `model` names, or write its pipeline file.

    `asked` are the command's other options. Raises `DeclarationError`, `GateError`, `BundleError`
    and `MissingExtra`.
    """
    check_options(asked)
    if sealing.budget is not None and asked["write"] is not None:
        mend = "give --fastest to seatrial export of the pipeline file"
        raise DeclarationError("--fastest", "--write, which seals nothing", "one of them", mend)
    try:
        from seatrial_export.export import export_pipeline
        from seatrial_export.hub.folder import quiet
        from seatrial_export.hub.from_pretrained import read_hub_model
    except ImportError as error:
        raise MissingExtra("seatrial adopt hf:FOLDER", "hub") from error
    with quiet(), gate_progress(f"reading {model}") as progress:
        found = read_hub_model(
            model.removeprefix(PREFIX),
            task=asked["task"],
            rows=() if asked["rows"] is None else read_rows(asked["rows"]),
            name=asked["name"],
            version=sealing.declared_version,
        )
        if asked["write"] is None:
            bundle = export_pipeline(found.pipeline(), sealing.out, progress, **sealing.arguments())
    show = (lambda line: click.echo(line, err=True)) if sealing.as_json else click.echo
    show_read(found, show)
    if asked["write"] is None:
        show_sealed(bundle, sealing.out, as_json=sealing.as_json)
    else:
        write(found, asked["write"])


def check_options(asked: Mapping[str, Any]) -> None:
    """Raise `DeclarationError` for an option of other models, which a folder answers itself."""
    mend = "--write pipeline.py writes a pipeline to change"
    refuse_options(asked, OWN, "a folder, which says it itself", mend)


def show_read(found: HubModel, show: Callable[[str], None]) -> None:
    """The task, the judge, and what the user has to know."""
    show(f"read {found.folder.path} as {found.task.name}, judged by {found.judge_name}")
    for note in found.notes:
        show(f"note: {note}")


def write(found: HubModel, file: Path) -> None:
    """Write the pipeline file. Raises `DeclarationError` for a place that cannot be written."""
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(found.written(file))
    except OSError as error:
        raise DeclarationError(
            f"--write {file}", error.strerror or "no place to write to", "a new file"
        ) from None
    click.echo(f"wrote {file}")
    click.echo(f"next: seatrial export {file}:pipeline")
