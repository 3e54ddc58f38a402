"""How many examples Hypothesis draws: all of them in `make test`, a few in `make check`."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

FULL = 100
"""Examples of a property that does not say how many, as Hypothesis has it."""
QUICK = 20
"""As above in the profile "quick"."""


def register() -> None:
    """Register both profiles, and load the full one, which `--hypothesis-profile` replaces.

    Neither bounds the time of an example or of drawing it: a slow machine is no finding.
    """
    for name, examples in (("full", FULL), ("quick", QUICK)):
        settings.register_profile(
            name,
            max_examples=examples,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
    settings.load_profile("full")


def drawing(examples: int, **options: Any) -> settings:
    """Settings of a property of so many examples; the profile "quick" draws its share of them."""
    share = settings().max_examples / FULL
    return settings(max_examples=max(QUICK, round(examples * share)), **options)
