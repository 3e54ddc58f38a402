"""`seatrial deploy kubernetes`: a kustomize base, components and overlays of each bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seatrial.commands.deploy.options import common, measured, push_first, sources_of


@click.command("kubernetes")
@common
def command(
    bundles: tuple[str, ...], out: Path, registry: str | None, cores: int, **placing: Any
) -> None:
    """Write a kustomize kit for each bundle: DIR/NAME/base, components and overlays.

    The base runs by itself. Components are taken or left: image-volume, gpu, hpa, keda, prometheus,
    keys. The overlays cpu and gpu take what most will want.

    \b
      seatrial deploy kubernetes bundles/churn/1.0.0 --out DIR
      kubectl kustomize DIR/NAME/overlays/cpu
      kubectl apply -k DIR/NAME/overlays/cpu
    """  # noqa: D301  (click's mark)
    from seatrial_serve.deploy.placing import Placing

    where = Placing(**placing)
    sources = sources_of(bundles, registry)
    from seatrial_serve.deploy.files import write_files
    from seatrial_serve.deploy.kubernetes import kit_files
    from seatrial_serve.deploy.source import each_once, written_by

    each_once(sources)
    for source in sources:
        folder = out / source.name
        files = kit_files(source, measured(source, folder, cores), where)
        write_files(folder, files, written_by("kubernetes", source.bundle))
        click.echo(f"wrote {len(files)} files to {folder}")
    push_first(sources)
    for source in sources:
        click.echo(f"next: kubectl apply -k {out / source.name}/overlays/cpu")
