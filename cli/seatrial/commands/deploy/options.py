"""What all orchestrators are told, and the bundles with their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from seatrial.identity_option import identity_option

if TYPE_CHECKING:
    from seatrial_serve.deploy.measured import Measured
    from seatrial_serve.deploy.source import Source

COMMON = (
    click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="Folder for a folder of each model; its files are written anew.",
    ),
    click.option(
        "--image",
        metavar="HOST/NAME:TAG",
        required=True,
        help="The server's image in your registry: see docs/how-to/container.md.",
    ),
    click.option(
        "--registry",
        metavar="oci://HOST/PATH",
        help="Where bundles of this machine will be: NAME:VERSION below it, as `seatrial push` "
        "writes it. A bundle that is named by its own oci:// address needs none.",
    ),
    click.option(
        "--cores",
        type=click.IntRange(1, 256),
        default=2,
        show_default=True,
        help="Cores of a replica.",
    ),
    click.option(
        "--namespace", default="default", show_default=True, help="The namespace that it runs in."
    ),
    click.option(
        "--min-replicas",
        type=click.IntRange(2, 10_000),
        default=2,
        show_default=True,
        help="Fewest replicas; with one, a node's maintenance is an outage.",
    ),
    click.option(
        "--max-replicas",
        type=click.IntRange(2, 10_000),
        default=10,
        show_default=True,
        help="Most replicas.",
    ),
    click.option(
        "--monitoring-namespace",
        default="monitoring",
        show_default=True,
        help="Where Prometheus runs, by its operator.",
    ),
    identity_option,
)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of all orchestrators."""
    for option in reversed(COMMON):
        command = option(command)
    return command


def sources_of(bundles: Sequence[str], registry: str | None) -> list[Source]:
    """The bundles, and where replicas get them."""
    from seatrial_serve.deploy.source import open_source

    return [open_source(text, registry) for text in bundles]


def measured(source: Source, folder: Path, cores: int) -> Measured:
    """The figures of a bundle that `folder` keeps; they are measured if they are not there."""
    from seatrial_serve.deploy.measure import measured_in
    from seatrial_serve.deploy.sizing import megabytes, rows

    with Console(stderr=True).status("") as status:
        found, kept = measured_in(folder, source.bundle, cores, status.update)
    click.echo(
        f"{source.bundle.name} {source.bundle.version}, {'kept' if kept else 'measured'}: "
        f"ready after {found.start_s:g} s, {megabytes(found.resident_bytes)}, "
        f"slowest answer of {rows(found.request_rows)} after {found.slowest_answer_s:.3g} s"
    )
    if source.bundle.contract.objective.p99_s is None:
        click.echo(
            f"{source.bundle.name}: scaled by processor time alone, "
            "since the contract has no objective=st.Objective(p99_s=...)"
        )
    return found


def push_first(sources: list[Source]) -> None:
    """Show the commands that bring bundles of this machine to where replicas look."""
    for source in sources:
        if source.push_to:
            click.echo(f"first: seatrial push {source.bundle.path} {source.push_to}")
