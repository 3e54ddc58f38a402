"""Two versions of a model, compared from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import seatrial_contracts.bundle as sealed
from seatrial.bundle import bundle_at
from seatrial_contracts.errors import MissingExtra

if TYPE_CHECKING:
    from seatrial_parity.versions import Versions


def diff(old: sealed.Bundle | str | Path, new: sealed.Bundle | str | Path) -> Versions:
    """Compare two bundles of a model: contracts, answers to both golden sets, size and speed.

    Each is opened already, or a path or address. `may_replace` says whether the new version may
    take the old one's place under its number, `differences` what clients notice of the contract,
    each with `breaking`; `moved` which answers are others, `measures` both against the truth, and
    `notes` is all of it as Markdown. Raises `DeclarationError` for bundles of two models,
    `ModelError` where one does not load or answer, and `MissingExtra`.
    """
    try:
        from seatrial_parity.versions import compare_versions
    except ModuleNotFoundError as error:
        raise MissingExtra("st.diff", "serve") from error
    return compare_versions(bundle_at(old), bundle_at(new))
