"""`seatrial deploy ray`: a Serve config of Ray Serve, and KubeRay's RayService around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seatrial.commands.deploy.options import common, measured, push_first, sources_of


@click.command("ray")
@common
def command(
    bundles: tuple[str, ...], out: Path, registry: str | None, cores: int, **placing: Any
) -> None:
    """Write DIR/serve.yaml, DIR/rayservice.yaml and DIR/podmonitor.yaml.

    One application serves all bundles. The image has Ray and the extra `ray`:
    docs/how-to/ray.md.

    \b
      seatrial deploy ray bundles/churn/1.0.0 --out DIR
      serve run DIR/serve.yaml
      kubectl apply -f DIR/rayservice.yaml -f DIR/podmonitor.yaml
    """  # noqa: D301  (click's mark)
    from seatrial_serve.deploy.placing import Placing

    where = Placing(**placing)
    sources = sources_of(bundles, registry)
    from seatrial_serve.deploy.files import write_files
    from seatrial_serve.deploy.ray import RayService
    from seatrial_serve.deploy.source import each_once

    each_once(sources)
    figures = [measured(source, out / source.name, cores) for source in sources]
    files = RayService(sources, figures, where).files()
    written = write_files(out, files, "Written by `seatrial deploy ray`; do not edit.")
    click.echo(f"wrote {', '.join(map(str, written))}")
    push_first(sources)
    click.echo(f"next: kubectl apply -f {out}/rayservice.yaml -f {out}/podmonitor.yaml")
