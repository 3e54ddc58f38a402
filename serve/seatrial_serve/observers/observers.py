"""The observers that the settings name.

They are the log, traces, kept failures, feedback and live parity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.observers.failures import Failures
from seatrial_serve.observers.feedback import Feedback, FeedbackMetrics
from seatrial_serve.observers.live_parity import LiveParity, ParityPolicy
from seatrial_serve.observers.observer import RequestObservers
from seatrial_serve.observers.request_log import RequestLog
from seatrial_serve.observers.sampling import SampleObserver
from seatrial_serve.observers.tracing import Tracing, start_tracing
from seatrial_serve.settings import Settings

CLOSE_S = 2.0


@dataclass(frozen=True)
class Observers:
    """Those who are told of every request, and those who look at a sample of the answers."""

    observers: RequestObservers
    sampled: Sequence[SampleObserver]
    feedback: Feedback
    parity: LiveParity | None
    failures: Failures | None
    tracing: Tracing | None

    def close(self) -> None:
        """End what they are at, within a moment."""
        if self.parity is not None:
            self.parity.close(CLOSE_S)
        if self.failures is not None:
            self.failures.close(CLOSE_S)
        if self.tracing is not None:
            self.tracing.close()


def open_observers(settings: Settings, metrics: Metrics, lifecycle: ModelLifecycle) -> Observers:
    """As the settings say. Raises `DeclarationError` or `MissingExtra` where that cannot be."""
    tracing = start_tracing(settings.otlp_endpoint)
    failures = open_failures(settings)
    feedback = Feedback(
        settings.feedback_answers, settings.feedback_window, FeedbackMetrics(metrics)
    )
    parity = open_parity(settings, metrics, lifecycle) if settings.live_parity_per_s else None
    watching = (
        RequestLog(settings.logged_per_s),
        failures,
        feedback if feedback.kept else None,
        tracing,
    )
    return Observers(
        [each for each in watching if each is not None],
        [parity] if parity is not None else [],
        feedback,
        parity,
        failures,
        tracing,
    )


def check_observers(settings: Settings) -> None:
    """Open and close what the settings name. Raises as `open_observers` does."""
    failures, tracing = open_failures(settings), start_tracing(settings.otlp_endpoint)
    if failures is not None:
        failures.close(CLOSE_S)
    if tracing is not None:
        tracing.close()


def open_failures(settings: Settings) -> Failures | None:
    """What keeps failures; None where nobody wants them kept. Raises `DeclarationError`."""
    if settings.keep_failures is None:
        return None
    key, plain = settings.keep_failures_key, settings.keep_failures_plain
    return Failures(settings.keep_failures, key, plain=plain)


def open_parity(settings: Settings, metrics: Metrics, lifecycle: ModelLifecycle) -> LiveParity:
    """Live parity, whose findings the lifecycle acts on."""
    policy = ParityPolicy(
        settings.live_parity_per_s,
        settings.live_parity_bytes,
        settings.live_parity_violations,
        settings.live_parity_window,
    )

    def distrust(model: ServedModel, reason: str) -> None:
        if settings.live_parity_action != "report":
            lifecycle.distrust_soon(
                model, "E_LIVE_PARITY", reason, fall_back=settings.live_parity_action == "fall_back"
            )

    return LiveParity(policy, metrics.families, distrust)
