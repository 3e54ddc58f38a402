"""`seatrial parity`: does everything that can answer for a bundle answer as training did?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from seatrial.bundle import Bundle, open_bundle
from seatrial.identity_option import identity_option
from seatrial.key_file import key_file_option
from seatrial.trying import Parity, parity, signed_bundle_at

if TYPE_CHECKING:
    from seatrial_parity.fuzz import Disagreement
    from seatrial_parity.runners.runner import TrialRequest


@click.command("parity")
@click.argument("address", metavar="BUNDLE")
@click.option(
    "--pipeline",
    "target",
    metavar="FILE.py:NAME",
    help="Ask the training side again too; without it, its sealed answers are the reference.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Try a running server too, http://host:port; it must hold this very bundle.",
)
@click.option("--grpc", metavar="HOST:PORT", help="Try its gRPC too.")
@click.option(
    "--triton",
    metavar="URL",
    help="Try NVIDIA's Triton, with a repository that `seatrial triton` wrote.",
)
@click.option("--triton-grpc", metavar="HOST:PORT", help="Try Triton's gRPC too.")
@click.option("--edge", metavar="URL", help="Try our server before a Triton too.")
@click.option("--container", metavar="URL", help="Try our server in a container too.")
@click.option("--ray", metavar="URL", help="Try our replicas behind Ray Serve too.")
@click.option("--ray-grpc", metavar="HOST:PORT", help="Try Ray Serve's gRPC too.")
@click.option(
    "--model",
    metavar="NAME",
    help="What our servers call the model (`seatrial serve --model-name`, an InferenceService).  "
    "[default: the bundle's name]",
)
@key_file_option
@click.option(
    "--trust-torchscript",
    is_flag=True,
    help="Run TorchScript graphs of this bundle, which are programs, here.",
)
@click.option(
    "--runner",
    "only",
    multiple=True,
    metavar="NAME",
    help="Try this runner alone (again for more): http v1.",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write JUnit XML.  [default: reports/NAME-VERSION.xml]",
)
@click.option(
    "--bisect",
    "bisects",
    is_flag=True,
    help="Name the first node of each graph whose value departs from PyTorch's.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where --bisect and --fuzz save what they find.  [default: reports/NAME-VERSION]",
)
@click.option(
    "--fuzz",
    "rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="In place of the golden rows, draw N rows from the contract "
    "and find the smallest that is answered otherwise.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Of --fuzz: the same seed draws the same rows."
)
@click.option(
    "--within",
    "within_s",
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Of --fuzz: draw and shrink no longer than so.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.jsonl",
    help="Of --fuzz: add the row that it finds to this file, "
    "which the pipeline reads as golden rows (st.read_rows).",
)
@click.option(
    "--require-signature",
    "signers",
    type=click.Path(path_type=Path),
    metavar="SIGNERS",
    help="Verify the bundle's signature before it is opened, and name the signer in the receipt: "
    "a file of one public key or of certificates, a folder of them, or a policy (.toml).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@identity_option
def command(
    address: str,
    target: str | None,
    only: tuple[str, ...],
    junit: Path | None,
    bisects: bool,
    out: Path | None,
    rows: int | None,
    seed: int,
    within_s: float,
    keep: Path | None,
    as_json: bool,
    signers: Path | None,
    key_file: Path | None,
    trust_torchscript: bool,
    **servers: str | None,
) -> None:
    """Run the golden rows through every runner, and compare with PyTorch's answers.

    BUNDLE is a bundle's folder, or its address in a store: oci://HOST/NAME:TAG, s3:// or the like.

    Each runner answers at several batch sizes. Prints the table, writes a receipt beside the bundle
    and JUnit XML for CI, and exits with 1 where a runner misses its tolerance: the finding names
    sample, output, index and error. With --bisect it also names the node of the graph where that
    begins. With --fuzz it draws rows instead, and exits with 1 where one is answered otherwise than
    by the training code.

    \b
      seatrial parity bundles/churn/1.0.0
      seatrial parity bundles/churn/1.0.0 --pipeline churn.py:pipeline --bisect
      seatrial parity bundles/churn/1.0.0 --url http://127.0.0.1:8000
      seatrial parity bundles/churn/1.0.0 --require-signature release.pem
    """  # noqa: D301  (click's mark)
    from seatrial_parity.runners import check_runners

    check_runners(only)
    bundle = open_bundle(address) if signers is None else signed_bundle_at(address, signers)[0]
    pipeline = None
    if target is not None:
        from seatrial_export.load_pipeline import load_pipeline

        pipeline = load_pipeline(target)
    out = out or Path("reports") / f"{bundle.name}-{bundle.version}"
    if rows is not None:
        from seatrial_parity.runners.runner import TrialRequest

        asked = TrialRequest(
            bundle, pipeline, key_file=key_file, trust_torchscript=trust_torchscript, **servers
        )
        found = fuzz(asked, only, rows, seed, within_s)
        if found is not None:
            report_disagreement(asked, found, out, keep)
            raise click.exceptions.Exit(1)
        return
    with Console(stderr=True).status("") as status:
        tried = parity(
            bundle,
            pipeline,
            **servers,
            key_file=key_file,
            runners=only,
            trust_torchscript=trust_torchscript,
            require_signature=signers,
            progress=lambda name: status.update(f"trying {name}"),
        )
    show(bundle, tried, junit, as_json=as_json)
    if bisects:
        from seatrial_parity.bisect import bisect_bundle

        with Console(stderr=True).status("") as status:
            for line in bisect_bundle(bundle, pipeline, out, status.update):
                click.echo(line, err=as_json)
    if not tried.passed:
        if not bisects:
            click.echo(
                "--bisect, with --pipeline, names the node of the graph where that begins", err=True
            )
        raise click.exceptions.Exit(1)


def show(bundle: Bundle, tried: Parity, junit: Path | None, *, as_json: bool) -> None:
    """The trial, printed, and as JUnit XML."""
    from seatrial_parity.report.junit import write_junit
    from seatrial_parity.report.table import parity_table

    junit = junit or Path("reports") / f"{bundle.name}-{bundle.version}.xml"
    write_junit(tried.receipt, junit)
    if as_json:
        click.echo(tried.receipt.model_dump_json(by_alias=True, indent=1))
        return
    Console().print(parity_table(tried.receipt))
    for finding in tried.findings:
        click.echo(f"missed: {finding}")
    if (signed := tried.receipt.signed_by) is not None:
        click.echo(f"signed by {signed.signer}, {signed.method} {signed.identity}")
    if bundle.manifest.origin.warning:
        click.echo(f"note: {bundle.manifest.origin.warning}")
    click.echo(f"receipt {tried.path}, JUnit {junit}")


def fuzz(
    asked: TrialRequest, only: tuple[str, ...], rows: int, seed: int, within_s: float
) -> Disagreement | None:
    """Draw rows; say how they were treated."""
    from seatrial_parity.fuzz import fuzz_of

    with (
        Console(stderr=True).status("") as status,
        fuzz_of(asked, only, rows, seed, within_s, status.update) as fuzzing,
    ):
        found = fuzzing.run()
    click.echo(f"seed {seed}, {', '.join(side.name for side in fuzzing.sides)}: {fuzzing.summary}")
    return found


def report_disagreement(
    asked: TrialRequest, found: Disagreement, out: Path, keep: Path | None
) -> None:
    """Print and save what was found, and keep its rows where that is asked."""
    saved = out / "fuzz.json"
    for line in found.lines(asked.bundle.contract):
        click.echo(line)
    found.save(saved, asked.bundle, shlex.join(["seatrial", *sys.argv[1:]]))
    click.echo(f"saved {saved}")
    if keep is not None:
        click.echo(found.keep(keep))
