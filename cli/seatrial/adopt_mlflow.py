"""`seatrial adopt mlflow:...`: a model that MLflow keeps, as the file that `adopt` takes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from seatrial_contracts.errors import MissingExtra

PREFIX = "mlflow:"
IN_STORE = ("models:", "runs:")


@contextmanager
def out_of_mlflow(address: str, asked: dict[str, Any]) -> Iterator[str]:
    """Give the file of a model, and fill in what its signature and its example say.

    `asked` are the command's options: a missing contract is drafted to `--write`, missing golden
    rows are those of the example. Raises `DeclarationError`, `StoreError` and `MissingExtra`.
    """
    try:
        from seatrial_export.adopt.draft import check_new
        from seatrial_export.adopt.estimator_file import estimator_in
        from seatrial_export.adopt.mlflow_model import example_rows, read_mlflow_model
        from seatrial_export.adopt.signature_draft import ALONE, SignatureDraft, named
    except ImportError as error:
        raise MissingExtra("seatrial adopt mlflow:", "adopt") from error
    drafts = asked["frame"] is None and asked["contract"] is None
    if drafts:
        check_new(asked["write"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = model_folder(address, Path(temporary) / "model")
        (scratch := Path(temporary) / "scratch").mkdir()
        found = read_mlflow_model(folder, scratch, address)
        asked["name"] = asked["name"] or name_in(address)
        draft = SignatureDraft(found.signature, estimator_in(found.file)) if drafts else None
        if asked["frame"] is None and asked["golden"] is None:
            names = [] if found.signature is None else list(named(found.signature.inputs, ALONE))
            rows = example_rows(found.example, names)
            if len(rows) < 2:
                got = f"its input example has {len(rows)} rows"
                raise click.UsageError(f"--golden ROWS is missing: {got}, at least 2 are needed")
            asked["golden"] = json.dumps(rows)
        if draft is not None:
            draft.write(asked["write"], asked["name"])
            click.echo(f"wrote {asked['write']}, drafted from the signature", err=True)
            asked["contract"] = f"{asked['write']}:Rows"
        yield str(found.file)


def model_folder(address: str, target: Path) -> Path:
    """The folder of a model: the one that is named, or a copy of the one in MLflow's store."""
    from seatrial_serve.stores.address import InMlflow, read_address

    place = address.removeprefix(PREFIX)
    if not place.startswith(IN_STORE):
        return Path(place)
    to = read_address(address)
    assert isinstance(to, InMlflow)
    from seatrial_serve.stores.in_mlflow import ModelFiles

    target.mkdir()
    return ModelFiles(to).download(target)


def name_in(address: str) -> str:
    """What a bundle is called by the registered model, the run's model or the folder."""
    place = address.removeprefix(PREFIX)
    found = re.match(r"models:/([^/@]+)(?:/|@|$)", place)
    said = found[1] if found else Path(place).resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", said).strip("-._")
