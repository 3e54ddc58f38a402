"""Row classes of fields that a test makes up."""

from __future__ import annotations

from typing import Any

import seatrial as st


def row_of(base: type[st.Row] = st.Row, **fields: Any) -> type[st.Row]:
    """A row class with these fields, beside those of `base`."""
    return type("Rows", (base,), {"__annotations__": fields, "__module__": __name__})
