"""`seatrial replay`: a request that a server failed on, run again without it."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--bundle",
    "path",
    required=True,
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="The bundle that it failed on: its very bytes.",
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
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def command(
    file: Path, path: Path, identity: Path | None, trust_torchscript: bool, as_json: bool
) -> None:
    """Run a request again that `seatrial serve --keep-failures FOLDER` kept.

    It runs alone, and in a batch as large as the one it was in, on the variant that failed. Prints
    what each answers, and exits with 1 where the failure recurs.
    """
    from seatrial_contracts.bundle import open_bundle
    from seatrial_serve.observers.kept_failure import KeptFailure
    from seatrial_serve.observers.replay import recurs, replay
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    kept = KeptFailure.read(file)
    key = identity.read_text("utf-8") if identity is not None else None
    runs = replay(kept, open_bundle(path), RuntimeOptions(trust_torchscript=trust_torchscript), key)
    again = recurs(kept, runs)
    if as_json:
        facts = kept.model_dump(mode="json", by_alias=True, exclude={"rows", "machine"})
        click.echo(
            json.dumps(
                {"kept": facts, "runs": [vars(run) for run in runs], "recurs": again},
                ensure_ascii=False,
            )
        )
    else:
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
                f"again, in batches of {run.batch_rows}: "
                f"{run.code} after {run.seconds * 1e3:.3g} ms"
            )
            for prediction in run.predictions:
                click.echo(f"  {json.dumps(prediction, ensure_ascii=False)}")
        click.echo("the failure recurs" if again else "the failure does not recur")
    if again:
        raise click.exceptions.Exit(1)
