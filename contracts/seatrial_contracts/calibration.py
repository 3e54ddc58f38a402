"""What temperature scaling found for one label, and what it mended."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from seatrial_contracts.measures import Count


class Calibration(BaseModel):
    """The temperature of one label.

    The temperature is fitted on `rows` held-out rows; the errors before and after are of the same
    rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    output: str
    temperature: float
    from_probabilities: bool
    """Did the model answer probabilities already? Else any scores, which are probabilities now."""
    rows: Count
    error_before: float
    """Expected calibration error in 15 bins, at temperature 1."""
    error_after: float
    loss_before: float
    """Mean negative log-likelihood of the true class, in nats."""
    loss_after: float
