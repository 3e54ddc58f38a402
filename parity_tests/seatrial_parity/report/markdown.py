"""The report as Markdown, for a pull request.

It holds the verdict, the matrix, and slices that broke a promise.
"""

from __future__ import annotations

import re

from seatrial_parity.printable import printable
from seatrial_parity.report.findings import Findings, Line
from seatrial_parity.report.page import error
from seatrial_parity.report.table import short

SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


def write_markdown(findings: Findings) -> str:
    """GitHub's Markdown. Names from a bundle are escaped: they stay words."""
    bundle = findings.bundle
    rows = f"{len(bundle.golden.rows)} golden rows, {len(bundle.golden.refusals)} refusals"
    rows += f", {len(bundle.held_out.rows)} held-out rows" if bundle.held_out else ""
    verdict = "passed" if findings.passed else "FAILED"
    parts = [
        f"## {plain(bundle.name)} {bundle.version}: parity {verdict}",
        "",
        (
            f"`sha256:{bundle.digest[:16]}`, {bundle.size_bytes / 1e6:.2f} MB, {rows}; "
            f"claimed by {len(findings.receipts)} unsigned receipts"
        ),
        "",
        *(
            f"- **{plain(trial.runner)} {plain(trial.variant)}**: {plain(trial.finding)}"
            for trial in findings.failures
        ),
        *([""] if findings.failures else []),
        "| runner | graph | on | rows x batch | refused | worst error | allowed | passed |",
        "|---|---|---|---|--:|--:|--:|---|",
        *(_row(line) for line in findings.lines),
        "",
    ]
    parts += [
        f"{trial.rows} rows drawn from the contract, {plain(trial.variant)}: "
        f"worst error {error(trial.worst_error)}."
        for trial in findings.checks
        if trial.drawn and trial.worst_error is not None
    ]
    parts += [
        f"Temperature of `{found.output}`: {found.temperature:g}; calibration error "
        f"{found.error_before:.3f} before, {found.error_after:.3f} after, "
        f"loss {found.loss_before:.3f} before, {found.loss_after:.3f} after ({found.rows} rows)."
        for found in findings.calibrations
    ]
    if findings.gate:
        took_s = sum(step.seconds for step in findings.gate)
        waived = [f"waived: {plain(step.step)}" for step in findings.gate if step.waived]
        passed = f"{len(findings.gate) - len(waived)} steps passed in {took_s:.1f} s"
        parts += ["", f"Export gate: {'; '.join([passed, *waived])}."]
    return "\n".join(parts).rstrip() + "\n"


def _row(line: Line) -> str:
    worst = line.worst
    sizes = ", ".join(map(str, line.trials))
    cells = (
        plain(line.runner),
        plain(line.variant),
        plain(short(line.provider)),
        f"{line.rows}{' held out' if line.held_out else ''} x {sizes}" if line.trials else "–",
        "–" if line.refused is None else str(line.refused),
        error(worst.worst_error) if worst else "–",
        error(worst.allowed) if worst and worst.allowed is not None else "–",
        "yes" if line.passed else "**no**",
    )
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """A text as one line in which nothing is markup."""
    return SPECIAL.sub(r"\\\1", printable(" ".join(text.split())))
