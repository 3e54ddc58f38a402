"""The page of the zoo: what was measured, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from seatrial_contracts.measures import Measures
from seatrial_contracts.receipt import installed_versions, this_machine

PACKAGES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "onnx", "fastapi")


@dataclass(frozen=True)
class Speed:
    """One server at one number of connections."""

    rate: float
    """Requests a second."""
    cpu_ms: float
    """For each request."""
    by_rate: float
    """Its rate over the library's, of the same round."""
    by_cpu: float
    """The library's CPU time over its own."""

    def __str__(self) -> str:
        return f"{self.rate:,.4g}/s, {self.cpu_ms:,.3g} ms"


@dataclass(frozen=True)
class Line:
    """One model."""

    name: str
    task: str
    family: str
    rows: int
    worst: float
    allowed: float
    """The least allowance among the trials."""
    seconds: float
    megabytes: float
    int8: str
    """The variant's name, or why there is none."""
    int8_megabytes: float | None
    int8_measures: Measures | None
    speeds: dict[str, Speed]


def write_page(path: Path, lines: Sequence[Line], seconds: float) -> None:
    """Write the page; the models so far."""
    machine = this_machine(installed_versions(PACKAGES))
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    text = [
        "# Receipts of hub models",
        "",
        "`python benchmarks/zoo/run.py` (`make zoo`) writes this page.",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, after {seconds / 60:.0f} minutes.",
        f"- {machine.cores} cores of {machine.processor}, Python {machine.python}.",
        f"- {versions}.",
        f"- The machine's load over 1, 5 and 15 minutes was {load} at the end. Each server has one",
        "  core and one thread; on a busy machine the ratios and the CPU time say more than rates.",
        "- Weights are seeded but for MiniLM's, so that labels mean nothing.",
        "",
        "## Proof, time and size",
        "",
        "The judge is the library itself, from raw rows: golden and drawn ones. *Error* is the",
        "worst absolute one and the least that was allowed.",
        "",
        "| task | model | rows | error | sealed in | fp32 | int8 |",
        "|---|---|---|---|---|---|---|",
        *(proof(line) for line in lines),
        "",
        "## Speed beside the library",
        "",
        "Requests a second and the server's CPU time for each, at one row a request; then how many",
        "times the library's rate that is, and how many times less CPU time.",
        "",
        "| model | connections | library | fp32 | beside it | int8 | beside it |",
        "|---|---|---|---|---|---|---|",
        *(row for line in lines for row in speeds(line)),
        "",
    ]
    path.write_text("\n".join(text), "utf-8")


def proof(line: Line) -> str:
    """One line of the first table."""
    int8 = line.int8 or "not made"
    if line.int8_megabytes is not None:
        int8 = f"{line.int8}, {line.int8_megabytes:.1f} MB{measured(line.int8_measures)}"
    cells = [
        line.task, f"{line.name} ({line.family})", str(line.rows),
        f"{line.worst:.1e} of {line.allowed:.1e}", f"{line.seconds:.0f} s",
        f"{line.megabytes:.1f} MB", int8,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def measured(measures: Measures | None) -> str:
    """How near the variant is to fp32."""
    if measures is None:
        return ""
    told = [f", cosine {measures.cosine:.4f}"] if measures.cosine is not None else []
    told += [f", labels {measures.agreement:.0%}"] if measures.agreement is not None else []
    return "".join(told) or f", error {measures.max_error or 0:.1e}"


def speeds(line: Line) -> list[str]:
    """The lines of the second table."""
    found = []
    for connections in sorted({int(key.rpartition(", ")[2]) for key in line.speeds}):
        cells = [line.name, str(connections), str(line.speeds[f"library, {connections}"])]
        for name in ("fp32", "int8"):
            own = line.speeds.get(f"{name}, {connections}")
            cells += ["-", "-"] if own is None else [str(own), beside(own)]
        found.append(f"| {' | '.join(cells)} |")
    return found


def beside(own: Speed) -> str:
    """Both ratios to the library."""
    return f"{own.by_rate:.1f}x, CPU {own.by_cpu:.1f}x"
