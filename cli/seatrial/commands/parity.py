"""`seatrial parity`: does everything that can answer for a bundle answer as training did?"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.command("parity")
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--pipeline",
    "target",
    metavar="FILE.py:NAME",
    help="Ask the training side again too; without it, its sealed answers are the reference.",
)
@click.option("--url", metavar="URL", help="Try a running server too, http://host:port; it must hold this very bundle.")
@click.option("--grpc", metavar="HOST:PORT", help="Try its gRPC too.")
@click.option("--triton", metavar="URL", help="Try NVIDIA's Triton, with a repository that `seatrial triton` wrote.")
@click.option("--triton-grpc", metavar="HOST:PORT", help="Try Triton's gRPC too.")
@click.option("--edge", metavar="URL", help="Try our server before a Triton too.")
@click.option("--container", metavar="URL", help="Try our server in a container too.")
@click.option(
    "--trust-torchscript", is_flag=True, help="Run TorchScript graphs of this bundle, which are programs, here."
)
@click.option(
    "--runner", "only", multiple=True, metavar="NAME", help="Try this runner alone (again for more): http v1."
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write JUnit XML.  [default: reports/NAME-VERSION.xml]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def command(
    path: Path,
    target: str | None,
    only: tuple[str, ...],
    junit: Path | None,
    as_json: bool,
    trust_torchscript: bool,
    **servers: str | None,
) -> None:
    """Run the golden rows through every runner, at several batch sizes, and compare with what PyTorch answered.

    Prints the table, writes a receipt beside the bundle and JUnit XML for CI, and exits with 1 where a runner misses its
    tolerance: the finding names sample, output, index and error.
    """
    from seatrial_contracts.bundle import open_bundle
    from seatrial_contracts.errors import DeclarationError
    from seatrial_parity.junit import write_junit
    from seatrial_parity.runners import runners
    from seatrial_parity.runners.runner import Asked
    from seatrial_parity.table import parity_table
    from seatrial_parity.trial import try_bundle

    for name in only:
        if name not in runners():
            raise DeclarationError("--runner", name, f"one of {', '.join(runners())}")
    bundle = open_bundle(path)
    pipeline = None
    if target is not None:
        from seatrial_export.load_pipeline import load_pipeline

        pipeline = load_pipeline(target)
    console = Console(stderr=True)
    with console.status("") as status:
        asked = Asked(bundle, pipeline, trust_torchscript=trust_torchscript, **servers)
        receipt = try_bundle(asked, only, lambda name: status.update(f"trying {name}"))
    written = receipt.write(bundle.path)
    junit = junit or Path("reports") / f"{bundle.name}-{bundle.version}.xml"
    write_junit(receipt, junit)
    if as_json:
        click.echo(receipt.model_dump_json(by_alias=True, indent=1))
    else:
        Console().print(parity_table(receipt))
        for trial in receipt.trials:
            if not trial.passed:
                click.echo(f"missed: {trial.runner} {trial.variant}, batch {trial.batch_sizes}: {trial.finding}")
        if bundle.manifest.origin.warning:
            click.echo(f"note: {bundle.manifest.origin.warning}")
        click.echo(f"receipt {written}, JUnit {junit}")
    if not receipt.passed:
        raise click.exceptions.Exit(1)
