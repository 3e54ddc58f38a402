"""The trial: runners that answer raw rows in different ways, compared with the training side."""

from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

__all__ = ["TrialRequest", "try_bundle"]
