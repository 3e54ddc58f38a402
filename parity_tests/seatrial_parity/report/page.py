"""The report as one HTML file: no script, nothing fetched; light, dark and paper by CSS alone."""

from __future__ import annotations

from typing import Any

from seatrial_contracts.errors import MissingExtra
from seatrial_contracts.measures import Measures
from seatrial_contracts.release_notes import NOTES
from seatrial_parity.printable import printable
from seatrial_parity.report.charts import error_chart
from seatrial_parity.report.costs import cost_lines, curve, flipped
from seatrial_parity.report.findings import Findings, Line
from seatrial_parity.report.samples import worst_samples
from seatrial_parity.report.table import short

TEMPLATE = "report.html.j2"
MEASURES = {
    "max_error": "largest error",
    "cosine": "cosine",
    "agreement": "agreement",
    "accuracy": "accuracy",
    "f1": "F1",
    "span_f1": "F1 of spans",
    "map": "mean average precision",
    "calibration_error": "calibration error",
    "absolute_error": "absolute error",
}
"""Measures that the slices table shows, where any slice has them."""
OF_TRUTH = ("accuracy", "f1", "span_f1", "map", "calibration_error", "absolute_error")
"""Those that the training side's own stand beside."""


def write_page(findings: Findings) -> str:
    """Write the whole page. Raises `MissingExtra`.

    Everything that comes from a bundle or a receipt is escaped.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingExtra("seatrial report", "parity") from None
    environment = Environment(
        loader=PackageLoader("seatrial_parity.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"error": error, "share": share, "short": short}
    environment.filters |= filters
    charts = [(line, Markup(chart)) for line, chart in histograms(findings)]  # noqa: S704  (matplotlib escapes its texts)
    notes = findings.bundle.files.get(NOTES, b"").decode(errors="replace")
    page = environment.get_template(TEMPLATE)
    return page.render(
        findings=findings,
        bundle=findings.bundle,
        manifest=findings.bundle.manifest,
        contract=findings.bundle.contract,
        charts=charts,
        notes=notes,
        costs=cost_lines(findings),
        curve=Markup(curve(findings)),  # noqa: S704  (as above)
        flipped=flipped(findings),
        measures=used_measures(findings),
        of_truth=OF_TRUTH,
        samples=worst_samples(findings),
        newest=findings.receipts[-1],
    )


def visible(value: Any) -> Any:
    """Spell out every character of a text that cannot be seen.

    seatrial's own markup stays as it is, and so does a value that is no text.
    """
    return printable(value) if type(value) is str else value


def histograms(findings: Findings) -> list[tuple[Line, str]]:
    """A chart for each line of the matrix that has counts: those of its worst trial."""
    found = []
    for line in findings.lines:
        worst = line.worst
        if worst is not None and worst.errors:
            found.append((line, error_chart(worst.errors, worst.allowed)))
    return found


def used_measures(findings: Findings) -> dict[str, str]:
    """The measures that anything in the slices table has, with their headings."""
    all_ = [line.measures for line in findings.slices]
    return {
        name: heading
        for name, heading in MEASURES.items()
        if any(value(one, name) is not None for one in all_)
    }


def value(measures: Measures, name: str) -> float | None:
    """One measure by its name."""
    found: float | None = getattr(measures, name)
    return found


def error(number: float | None) -> str:
    """An error: two digits and a power of ten; 0 and none in a word."""
    if number is None:
        return "none"
    return "0" if number == 0 else f"{number:.1e}"


def share(number: Any) -> str:
    """A measure: five digits; none as a dash."""
    return "–" if number is None else f"{number:.5g}"
