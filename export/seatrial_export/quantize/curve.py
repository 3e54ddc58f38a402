"""The curve of speed against error, as a picture and as a table."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table

from seatrial_contracts.cost import Search
from seatrial_contracts.errors import MissingExtra
from seatrial_export.quantize.search import error_of


def curve_table(search: Search) -> Table:
    """One line for each candidate, the choice marked."""
    table = Table(
        title=f"{search.variant} within {search.budget}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("in fp32", "cosine", "least", "labels equal", "max error", "speed", "budget"):
        table.add_column(heading, justify="right")
    for place, point in sorted(enumerate(search.points), key=lambda each: len(each[1].keep)):
        measures = point.measures
        numbers = (measures.cosine, measures.least_cosine, measures.agreement, measures.max_error)
        mark = "[green]chosen" if place == search.chosen else "met" if point.met else "[red]missed"
        table.add_row(
            f"{len(point.keep)} of {search.nodes}",
            *("-" if value is None else f"{value:.6f}" for value in numbers),
            f"{point.speed:.2f}x",
            mark if search.chosen is not None or place != search.nearest else "[red]nearest",
        )
    return table


def plot_curve(search: Search, path: Path) -> None:
    """Plot speed against error, one point for each candidate, as PNG.

    Raises `MissingExtra` without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("--plot", "plot") from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = sorted(search.points, key=lambda point: len(point.keep))
    errors = [max(error_of(point.measures), 1e-9) for point in points]
    line = [
        place
        for place, point in enumerate(points)
        if len(point.keep) not in map(len, (other.keep for other in points[:place]))
    ]
    axes.plot(
        [errors[place] for place in line],
        [points[place].speed for place in line],
        color="0.75",
        zorder=1,
    )
    for met, colour, words in (
        (True, "tab:green", "within the budget"),
        (False, "tab:red", "beyond it"),
    ):
        some = [
            (error, point.speed)
            for error, point in zip(errors, points, strict=True)
            if point.met == met
        ]
        if some:
            axes.scatter(*zip(*some, strict=True), color=colour, label=words, zorder=2)
    for error, point in zip(errors, points, strict=True):
        axes.annotate(
            str(len(point.keep)),
            (error, point.speed),
            textcoords="offset points",
            xytext=(5, 5),
            fontsize=8,
        )
    marked = search.points[search.nearest if search.chosen is None else search.chosen]
    where = max(error_of(marked.measures), 1e-9), marked.speed
    axes.scatter(
        *where,
        s=160,
        facecolors="none",
        edgecolors="black",
        label="nearest" if search.chosen is None else "chosen",
        zorder=3,
    )
    axes.set(
        xscale="log",
        xlabel="error (1 - mean cosine)" if marked.measures.cosine is not None else "largest error",
        ylabel="speed beside fp32, batch of 8",
        title=f"{search.variant} within {search.budget}; numbers: nodes in fp32 of {search.nodes}",
    )
    axes.title.set_fontsize(10)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
