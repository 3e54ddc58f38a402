"""`seatrial report`: what the receipts beside a bundle prove, for people."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the page.  [default: reports/NAME-VERSION.html]",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write Markdown too, for a pull request.",
)
def command(path: Path, out: Path | None, markdown: Path | None) -> None:
    """Write one HTML file from the receipts beside a bundle.

    The file shows verdict, matrix, errors, slices, worst samples and provenance. It holds
    everything it shows and fetches nothing. Receipts come from `seatrial export`, `parity` and
    `quantize`; of each thing tried, the newest counts. It exits with 0 whatever the verdict:
    `seatrial parity` is what fails a build.

    \b
      seatrial report bundles/churn/1.0.0
      seatrial report bundles/churn/1.0.0 --out report.html --markdown report.md
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_plain_bundle
    from seatrial_parity.printable import printable
    from seatrial_parity.report import gather, write_markdown, write_page

    findings = gather(open_plain_bundle(path, "a report"))
    bundle = findings.bundle
    out = out or Path("reports") / f"{bundle.name}-{bundle.version}.html"
    written = {out: write_page(findings)} | (
        {} if markdown is None else {markdown: write_markdown(findings)}
    )
    for file, text in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    verdict = "passed" if findings.passed else f"failed: {printable(findings.failures[0].finding)}"
    click.echo(f"{bundle.name} {bundle.version} {verdict}; report {', '.join(map(str, written))}")
