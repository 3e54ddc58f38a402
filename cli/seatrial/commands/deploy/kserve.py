"""`seatrial deploy kserve`: a ClusterServingRuntime, and an InferenceService of each bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seatrial.commands.deploy.options import common, measured, push_first, sources_of
from seatrial_contracts.errors import DeclarationError

if TYPE_CHECKING:
    from seatrial_serve.deploy.source import Source


@click.command("kserve")
@common
@click.option(
    "--canary",
    metavar="BUNDLE",
    help="Another version of the one bundle, beside it.  [default: none]",
)
@click.option(
    "--canary-percent",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Its share of the requests; with 0 it is ready, and gets none.",
)
def command(
    bundles: tuple[str, ...],
    out: Path,
    registry: str | None,
    cores: int,
    canary: str | None,
    canary_percent: int,
    **placing: Any,
) -> None:
    """Write DIR/runtime.yaml, and DIR/NAME/inferenceservice.yaml for each bundle.

    KServe runs them in its Standard mode, scaled by KEDA. The bundle comes as an image volume
    (oci+native://), which KServe mounts at /mnt/models.

    \b
      seatrial deploy kserve bundles/churn/1.0.0 --out DIR
      kubectl apply -f DIR/runtime.yaml -f DIR/NAME/inferenceservice.yaml
    """  # noqa: D301  (click's mark)
    from seatrial_serve.deploy.placing import Placing

    where = Placing(**placing)
    if canary is not None and len(bundles) != 1:
        raise DeclarationError("--canary", f"{len(bundles)} bundles", "one")
    sources = sources_of([*bundles, *([canary] if canary else [])], registry)
    from seatrial_serve.deploy.files import File, write_files
    from seatrial_serve.deploy.kserve import Canary, InferenceService, serving_runtime
    from seatrial_serve.deploy.source import each_once, written_by

    served, beside = sources[: len(bundles)], sources[len(bundles) :]
    each_once(served)
    for other in beside:
        check_canary(served[0], other)
    written = [out / "runtime.yaml"]
    first_line = "Written by `seatrial deploy kserve`; do not edit."
    write_files(out, {written[0].name: File((serving_runtime(where.image),))}, first_line)
    for source in served:
        folder = out / source.name
        figures = measured(source, folder, cores)
        canaries = [
            Canary(other, measured(other, folder / "canary", cores), canary_percent)
            for other in beside
        ]
        file = InferenceService(source, figures, where, canaries).file()
        written += write_files(
            folder, {"inferenceservice.yaml": file}, written_by("kserve", source.bundle)
        )
    click.echo(f"wrote {', '.join(map(str, written))}")
    push_first(sources)
    click.echo(f"next: kubectl apply {' '.join(f'-f {path}' for path in written)}")


def check_canary(source: Source, canary: Source) -> None:
    """Raise `DeclarationError` if it is no other version of the model."""
    one, other = source.bundle, canary.bundle
    if one.name != other.name or one.version == other.version:
        got = f"{other.name} {other.version} beside {one.name} {one.version}"
        raise DeclarationError("--canary", got, f"another version of {one.name}")
