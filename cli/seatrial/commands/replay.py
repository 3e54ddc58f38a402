"""`seatrial replay`: a request that a server failed on, run again without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seatrial_contracts.errors import SeatrialError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seatrial_serve.observers.kept_failure import KeptFailure
    from seatrial_serve.observers.replay import Replayed


@click.command("replay")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)  # fmt: skip
@click.option(
    "--bundle",
    "path",
    required=True,
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="The bundle that they failed on: its very bytes.",
)
@click.option(
    "--identity",
    metavar="KEY",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of the age secret key, where the rows are encrypted.",
)
@click.option(
    "--trust-torchscript", is_flag=True, help="Run a TorchScript graph, which is a program, here."
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each file.")
def command(
    files: tuple[Path, ...],
    path: Path,
    identity: Path | None,
    trust_torchscript: bool,
    as_json: bool,
) -> None:
    """Run requests again that `seatrial serve --keep-failures FOLDER` kept, a file for each.

    Each runs alone, and in a batch as large as the one it was in, on the variant that failed.
    Prints what each answers. Exits with 1 if a failure recurs, or a file cannot be run: the others
    are run all the same.

    \b
      seatrial replay failures/*.json --bundle bundles/churn/1.0.0
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_bundle
    from seatrial_serve.observers.kept_failure import KeptFailure
    from seatrial_serve.observers.replay import recurs, replay
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    bundle, failed = open_bundle(path), False
    key = identity.read_text("utf-8") if identity is not None else None
    options = RuntimeOptions(trust_torchscript=trust_torchscript)
    for file in files:
        try:
            kept = KeptFailure.read(file)
            runs = replay(kept, bundle, options, key)
        except SeatrialError as error:
            if len(files) == 1:
                raise
            failed = True
            click.echo(f"{file}: {error}", err=True)
            continue
        again = recurs(kept, runs)
        failed = failed or again
        if as_json:
            click.echo(json.dumps(facts(kept, runs, again), ensure_ascii=False))
        else:
            show(kept, runs, again)
    if failed:
        raise click.exceptions.Exit(1)


def facts(kept: KeptFailure, runs: Sequence[Replayed], again: bool) -> dict[str, object]:
    """Everything but the rows, as JSON values."""
    told = kept.model_dump(mode="json", by_alias=True, exclude={"rows", "machine"})
    return {"kept": told, "runs": [vars(run) for run in runs], "recurs": again}


def show(kept: KeptFailure, runs: Sequence[Replayed], again: bool) -> None:
    """For people."""
    objective = f", objective {kept.objective_s * 1e3:.3g} ms" if kept.objective_s else ""
    click.echo(
        f"{kept.model} {kept.version}, {kept.variant} on {kept.provider}, {kept.kept_at}: "
        f"{kept.code} after {kept.seconds * 1e3:.3g} ms{objective}"
    )
    click.echo(
        f"request {kept.request_id}, in a batch of {sum(rows for rows, _ in kept.mates)} rows: "
        f"{list(kept.mates)}"
    )
    for run in runs:
        click.echo(
            f"again, in batches of {run.batch_rows}: {run.code} after {run.seconds * 1e3:.3g} ms"
        )
        for prediction in run.predictions:
            click.echo(f"  {json.dumps(prediction, ensure_ascii=False)}")
    click.echo("the failure recurs" if again else "the failure does not recur")
