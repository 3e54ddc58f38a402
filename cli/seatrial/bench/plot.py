"""A run as a picture: latency over offered rate, throughput over connections."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from seatrial_contracts.errors import DeclarationError, MissingExtra

if TYPE_CHECKING:
    from seatrial.bench.run import Run

ENDINGS = (".png", ".svg", ".html")
SHOWN = {"p50": "#9aa5b1", "p90": "#5f7f9f", "p99": "#1f77b4", "p99.9": "#c8401a"}
KNEE = "#2b8a3e"
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}}
pre{{overflow-x:auto}}svg{{max-width:100%;height:auto}}</style>
<h1>{title}</h1>
{figure}
<pre>{text}</pre>
</html>
"""


def check_plot(path: Path) -> None:
    """Check that a plot of this name can be drawn. Raises `DeclarationError`, `MissingExtra`."""
    if path.suffix.lower() not in ENDINGS:
        got = f"the ending '{path.suffix}'"
        raise DeclarationError(f"--plot '{path}'", got, ", ".join(ENDINGS))
    if not path.absolute().parent.is_dir():
        raise DeclarationError(f"--plot '{path}'", "no such folder", "a file that can be written")
    try:
        import matplotlib.figure  # noqa: F401  (is it there?)
    except ModuleNotFoundError:
        raise MissingExtra("a plot of a bench", "plot") from None


def plot_run(run: Run, text: str, path: Path) -> None:
    """Write the run as .png, .svg, or an .html page that also holds `text`.

    Raises `DeclarationError` where the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    ending = path.suffix.lower()
    if ending != ".html":  # the page has it as its head
        figure.suptitle(run.title, fontsize=11)
    latency, throughput = figure.subplots(1, 2)
    answered = [step for step in run.open if step.answered]
    for name, colour in SHOWN.items():
        latency.plot(
            [step.load for step in answered],
            [step.latency_s[name] * 1e3 for step in answered],
            marker="o", ms=4, color=colour, label=name,
        )  # fmt: skip
    knee = run.knee
    if knee is not None:
        latency.axvline(knee.load, color=KNEE, ls="--", lw=1, label=f"knee: {knee.load:,.0f}/s")
    latency.set(xlabel="open loop: offered requests/s", ylabel="latency, ms", xlim=(0, None))
    if answered:
        latency.set_yscale("log")
        latency.legend(fontsize=8)
    connections = [step.load for step in run.closed]
    rows = [step.rate * run.rows for step in run.closed]
    throughput.plot(connections, rows, marker="o", ms=4, color=SHOWN["p99"], label="served")
    if run.limit is not None:
        best = run.limit.best_rows_per_s
        throughput.axhline(best, color=SHOWN["p99.9"], ls="--", lw=1,
                           label=f"the graph alone: {best:,.0f}")  # fmt: skip
        encoded = run.limit.encode_rows_per_s
        throughput.axhline(encoded, color=SHOWN["p50"], ls=":", lw=1,
                           label=f"validate and encode, one thread: {encoded:,.0f}")  # fmt: skip
    throughput.set(xlabel="closed loop: connections", ylabel="rows/s")
    throughput.set_xscale("log", base=2)
    throughput.set_yscale("log")
    throughput.set_xticks(connections, [f"{each:g}" for each in connections])
    throughput.legend(fontsize=8)
    for panel in (latency, throughput):
        panel.grid(alpha=0.25, which="both")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png" if ending == ".png" else "svg", dpi=110)
    made = drawn.getvalue()
    if ending == ".html":
        svg = made.decode()
        page = PAGE.format(
            title=html.escape(run.title), figure=svg[svg.index("<svg") :], text=html.escape(text)
        )
        made = page.encode()
    try:
        path.write_bytes(made)
    except OSError as error:
        got = error.strerror or "an error"
        raise DeclarationError(f"--plot '{path}'", got, "a file that can be written") from None
