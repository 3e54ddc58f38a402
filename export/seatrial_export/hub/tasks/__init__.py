"""The tasks, in the order in which a folder is tried for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from seatrial_export.hub.task import Task


@cache
def tasks() -> Sequence[Task]:
    """Every task; the more special ones first."""
    from seatrial_export.hub.tasks.text_classification import TextClassification

    return (TextClassification(),)
