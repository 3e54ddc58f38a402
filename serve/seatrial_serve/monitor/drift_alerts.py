"""Is what comes still of the kind that the model was trained on?"""

from __future__ import annotations

from seatrial_contracts.bins import UNSEEN_BIN
from seatrial_contracts.drift import FieldDrift
from seatrial_serve.metrics import names
from seatrial_serve.monitor.alert import Alert, Trial
from seatrial_serve.monitor.figures import Figures, quoted

PSI, UNSEEN_SHARE = 0.2, 0.01
"""A PSI above 0.2 is usually called a large shift (Siddiqi, Credit Risk Scorecards, 2006)."""
CHANCE = 3
"""Few rows differ by chance: so many times what chance brings must be passed as well."""
ROWS = 1000
"""A minute, in the trials."""


def drift_alerts(figures: Figures) -> list[Alert]:
    """Return the alerts on drift of each field, and on words that training never saw.

    There are none if the bundle has no profile.
    """
    model, this, hold = figures.model, figures.this, figures.windows.hold
    return [
        *([_drift(figures)] if figures.profile.rows else []),
        Alert(
            "SeatrialUnseenCategories",
            (
                f"(seatrial:unknown_categories:ratio{{{this}}} > {UNSEEN_SHARE}) or "
                f"(seatrial:unseen:ratio{{{this}}} > {UNSEEN_SHARE})"
            ),
            hold,
            "ticket",
            (
                f"{model} {{{{ $labels.version }}}}: {{{{ $value | humanizePercentage }}}} of "
                "what comes has a category that training never saw"
            ),
            (
                "Ask who sends it: a new category upstream needs a new version of the model, "
                "a typing error a mend at the client."
            ),
            Trial(_categories(this, 10), _categories(this, 0), "30m", {"version": "1.0.0"}, "10%"),
        ),
    ]


def _drift(figures: Figures) -> Alert:
    model, this = figures.model, figures.this
    field, spread = next(iter(figures.profile.fields.items()))
    last = [0] * (len(spread.counts) - 1) + [ROWS]
    moved = FieldDrift(field, spread, tuple(last))
    psi = f"seatrial:drift_psi{{{this}}}"
    return Alert(
        "SeatrialDrift",
        f"{psi} > {PSI} and {psi} > {CHANCE} * seatrial:drift_by_chance{{{this}}}",
        figures.windows.hold,
        "ticket",
        (
            f"{model} {{{{ $labels.version }}}}: {{{{ $labels.field }}}} has moved from what the "
            f"model was trained on, PSI {{{{ $value | humanize }}}}"
        ),
        (
            "seatrial drift BUNDLE --prometheus URL draws it. If the world moved, train again; "
            "if a client changed units or a sensor broke, mend it there."
        ),
        Trial(
            _bins(figures, last),
            _bins(figures, spread.counts),
            "75m",
            {"version": "1.0.0", "field": field},
            f"{moved.psi:.4g}",
        ),
    )


def _bins(figures: Figures, counts: tuple[int, ...] | list[int]) -> dict[str, str]:
    """One field's bins: the profile's shares, and so many values a minute in each."""
    field, spread = next(iter(figures.profile.fields.items()))
    found = {}
    for name, share, count in zip(spread.bins.names, spread.shares, counts, strict=True):
        of = f'{figures.this}, version="1.0.0", field={quoted(field)}, bin={quoted(name)}'
        found[f"{names.DRIFT_REFERENCE}{{{of}}}"] = f"{share!r}+0x120"
        found[f"{names.DRIFT}{{{of}}}"] = f"0+{count}x120"
    return found


def _categories(this: str, refused: int) -> dict[str, str]:
    of = f'{this}, version="1.0.0"'
    return {
        f'{names.REQUESTS}{{{of}, code="ok"}}': f"0+{100 - refused}x120",
        f'{names.REQUESTS}{{{of}, code="E_CATEGORY"}}': f"0+{refused}x120",
        f'{names.DRIFT}{{{of}, field="word", bin={quoted(UNSEEN_BIN)}}}': "0+0x120",
        f'{names.DRIFT}{{{of}, field="word", bin="a"}}': "0+100x120",
    }
