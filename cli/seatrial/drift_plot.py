"""Drift as a picture: each field's reference and live shares, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seatrial_contracts.drift import FieldDrift, shares
from seatrial_contracts.errors import DeclarationError, MissingExtra

COLUMNS, WIDTH_IN, HEIGHT_IN = 3, 4.6, 2.9
REFERENCE, LIVE, DRIFTED = "#9aa5b1", "#1f77b4", "#c8401a"


def plot_drift(title: str, fields: Sequence[FieldDrift], above: Sequence[bool], path: Path) -> None:
    """Write a PNG of the shares of each field; a field that drifted has its live shares in red.

    Raises `MissingExtra` and `DeclarationError`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("a plot of drift", "plot") from None
    rows = -(-len(fields) // COLUMNS)
    figure = Figure(figsize=(WIDTH_IN * COLUMNS, HEIGHT_IN * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for panel, field, is_above in zip(panels, fields, above, strict=False):
        places = np.arange(len(field.live))
        panel.bar(places - 0.2, field.reference.shares, 0.4, color=REFERENCE, label="reference")
        panel.bar(
            places + 0.2,
            np.nan_to_num(shares(field.live)),
            0.4,
            color=DRIFTED if is_above else LIVE,
            label="live",
        )
        panel.set_title(f"{field.field}: PSI {field.psi:.2f}, JS {field.distance:.2f}", fontsize=9)
        panel.set_xticks(
            places,
            [name[:24] for name in field.reference.bins.names],
            rotation=40,
            ha="right",
            fontsize=6,
        )
        panel.tick_params(axis="y", labelsize=7)
    figure.axes[0].legend(fontsize=7, frameon=False)
    for spare in figure.axes[len(fields) :]:
        spare.set_visible(False)
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        raise DeclarationError(
            f"--plot '{path}'", error.strerror or "an error", "a file that can be written"
        ) from None
