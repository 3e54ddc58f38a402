"""Throughput against p99 for every server of a benchmark run, a panel for each workload.

python benchmarks/harness/plot.py RESULTS.json PLOT.png
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

LEVELS = ("c1", "c16", "c64")
OURS = "seatrial"


def main(results: Path, plot: Path) -> None:
    """Draw the medians over the rounds; each line runs from 1 over 16 to 64 connections."""
    run = json.loads(results.read_text())
    figure, panels = plt.subplots(
        1,
        len(run["results"]),
        figsize=(4.6 * len(run["results"]), 4.2),
        layout="constrained",
        squeeze=False,
    )
    for panel, (workload, contenders) in zip(panels[0], run["results"].items(), strict=True):
        for name, found in sorted(contenders.items(), key=lambda item: item[0] != OURS):
            rounds = [
                [one for one in found.get(level, []) if not one["errors"]] for level in LEVELS
            ]
            points = [
                (
                    statistics.median(one["p99_ms"] for one in level),
                    statistics.median(one["rps"] for one in level),
                )
                for level in rounds
                if level
            ]
            if points:
                width, order = (2.6, 3) if name == OURS else (1.2, 2)
                panel.plot(
                    *zip(*points, strict=True), marker="o", ms=4, lw=width, zorder=order, label=name
                )
                panel.annotate(
                    "64", points[-1], textcoords="offset points", xytext=(5, 3), fontsize=7
                )
        panel.set(
            title=workload, xscale="log", xlabel="p99, ms", ylabel="requests/s", ylim=(0, None)
        )
        panel.grid(alpha=0.25, which="both")
    panels[0][0].legend(fontsize=8)
    about = run["machine"]
    figure.suptitle(
        f"1, 16 and 64 connections; one core for the server; {about['cpu']}, {about['date']}",
        fontsize=9,
    )
    figure.savefig(plot, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
