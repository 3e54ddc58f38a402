"""Charts as SVG inside the page.

They take the page's own text colour, so that they read in light and dark and in print.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from seatrial_contracts.receipt import ERROR_EDGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, GOOD = "#000000", "#3b82c4", "#2a9d5c"
"""Black becomes the page's text colour; the others read on white and on black."""
LEAST_ERROR = 1e-7
"""Below, errors are drawn in line with 0: what fp32 itself differs by."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seatrial",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
"""Text stays text, and the same data give the same bytes."""


class Mark(NamedTuple):
    """One graph in the plane of speed and error."""

    label: str
    error: float
    speed: float
    """fp32's seconds over its own."""
    sealed: bool
    """Is it in the bundle? Else a candidate that a search left behind."""


def error_chart(counts: Sequence[int], allowed: float | None) -> str:
    """Draw the number of rows by their error, in powers of ten.

    A line marks the tolerance of the worst row.
    """
    names = [
        "exact",
        *(f"{edge:.0e}".replace("e-0", "e-").replace("e+0", "e") for edge in ERROR_EDGES),
        "more",
    ]
    used = [place for place, count in enumerate(counts) if count]
    first, last = min(used, default=0), max(used, default=0)
    if allowed:
        last = max(last, min(len(ERROR_EDGES) + 1, 1 + sum(edge < allowed for edge in ERROR_EDGES)))
    places = range(max(0, min(first, last - 5)), min(len(counts), max(last, 5) + 1))

    def draw(axes: Axes) -> None:
        bars = axes.bar(
            [names[place] for place in places], [counts[place] for place in places], color=ACCENT
        )
        axes.bar_label(
            bars, [str(counts[place]) if counts[place] else "" for place in places], color=INK
        )
        axes.set_xlabel("worst error of a row, at most")
        axes.set_ylabel("rows")
        axes.tick_params(axis="x", labelrotation=45)
        if allowed:
            at = 1 + sum(edge < allowed for edge in ERROR_EDGES) - places.start
            axes.axvline(at + 0.5, color=INK, linestyle=":", linewidth=1)
            axes.annotate(
                "allowed",
                (at + 0.5, 1),
                xycoords=("data", "axes fraction"),
                ha="right",
                va="bottom",
                color=INK,
            )

    return svg(draw, width=3.6, height=2.2)


def curve_chart(marks: Sequence[Mark], error: str) -> str:
    """Draw speed against error.

    The bundle's variants are filled, candidates of a search hollow and joined in the order of their
    error.
    """

    def draw(axes: Axes) -> None:
        tried = sorted((mark.error, mark.speed) for mark in marks if not mark.sealed)
        if tried:
            axes.plot(
                *zip(*tried, strict=True),
                "o-",
                color=ACCENT,
                markerfacecolor="none",
                linewidth=1,
                markersize=5,
            )
        for mark in marks:
            if mark.sealed:
                axes.plot([mark.error], [mark.speed], "o", color=GOOD, markersize=8)
            side: dict[str, Any] = (
                {"xytext": (7, 5)}
                if mark.sealed
                else {"xytext": (-7, -5), "ha": "right", "va": "top"}
            )
            axes.annotate(
                mark.label, (mark.error, mark.speed), textcoords="offset points", color=INK, **side
            )
        axes.axhline(1, color=INK, linestyle=":", linewidth=1)
        axes.set_xscale("symlog", linthresh=LEAST_ERROR)
        axes.set(xlabel=error, ylabel="times the speed of fp32")
        axes.margins(0.15)

    return svg(draw, width=6.4, height=3.4)


def svg(draw: Any, width: float, height: float) -> str:
    """Render one pair of axes that `draw` fills, in inches.

    The SVG has no XML header, and its black is the page's text colour.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    sink = io.StringIO()
    with mpl.rc_context(STYLE):
        figure: Figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(
            sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = sink.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")
