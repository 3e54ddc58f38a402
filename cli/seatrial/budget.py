"""What a variant has to keep, as the command line takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seatrial_contracts.promise import Promise

EXAMPLES = "cosine>=0.995, max_error<=0.01, agreement>=0.99, accuracy_drop<=0.01"


def promised(text: str) -> Promise:
    """Parse a promise from the command line, held against slices of enough rows.

    Raises `DeclarationError`.
    """
    from seatrial_contracts.promise import Promise
    from seatrial_export.variants.recipe import MIN_SLICE_ROWS

    return Promise.parse(text).model_copy(update={"min_slice_rows": MIN_SLICE_ROWS})
