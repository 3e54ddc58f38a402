"""Is the model there, on the device it was promised, and does it answer as it was tried?"""

from __future__ import annotations

from seatrial_contracts.bundle import Bundle
from seatrial_serve.monitor.alert import Alert, Trial
from seatrial_serve.monitor.figures import Figures

CPU = "CPUExecutionProvider"
DECAY = 0.05
"""How far accuracy may fall below its own mean of a week."""


def model_alerts(bundle: Bundle, figures: Figures) -> list[Alert]:
    """The load gate, the device, live parity, readiness, feedback."""
    model, this = figures.model, figures.this
    of = f'{this}, version="{bundle.version}"'
    at = {"version": bundle.version}
    return [
        Alert(
            "SeatrialLoadGateFailed", f"max by (model, version) (seatrial_load_gate{{{this}}} == 0)", "0m", "page",
            f"{model} {{{{ $labels.version }}}} did not pass its load gate somewhere: it does not take traffic there",
            "GET /v2/health/ready of that replica says which golden row failed, and by how much. The version before goes on where there is one.",
            Trial({f"seatrial_load_gate{{{of}}}": "0+0x30"}, {f"seatrial_load_gate{{{of}}}": "1+0x30"}, "10m", at),
        ),
        Alert(
            "SeatrialNotReady", f"min by (model, version) (seatrial_model_ready{{{this}}}) == 0", figures.windows.hold, "page",
            f"{model} {{{{ $labels.version }}}} is not ready somewhere",
            "GET /v2/health/ready of that replica says why.",
            Trial({f"seatrial_model_ready{{{of}}}": "0+0x60"}, {f"seatrial_model_ready{{{of}}}": "1+0x60"}, "30m", at),
        ),
        Alert(
            "SeatrialAbsent", f"absent(seatrial_bundle_info{{{this}}})", figures.windows.hold, "page",
            f"no server holds {model}", "Is the server up, does its bundles folder hold the model, and does Prometheus scrape port 8002?",
            Trial({"up": "1+0x60"}, {f'seatrial_bundle_info{{{of}, digest="d"}}': "1+0x60"}, "30m"),
        ),
        Alert(
            "SeatrialCpuFallback", f'max by (model, version, asked) (seatrial_execution_info{{{this}, asked!="{CPU}", provider="{CPU}"}} == 1)', "0m", "page",
            f"{model} {{{{ $labels.version }}}} was to run on {{{{ $labels.asked }}}} and runs on the CPU",
            "The driver, the device or the provider's package is missing on that machine. Start without --allow-cpu-fallback to keep such a replica out of traffic.",
            Trial(_runs_on(of, "CUDAExecutionProvider", CPU), _runs_on(of, CPU, CPU), "10m", {**at, "asked": "CUDAExecutionProvider"}),
        ),
        Alert(
            "SeatrialLiveParity", f"sum by (model, version, variant) (increase(seatrial_live_parity_violations_total{{{this}}}[15m])) > 0", "0m", "page",
            f"{model} {{{{ $labels.version }}}}, variant {{{{ $labels.variant }}}}, answers live rows otherwise than its reference graph",
            "The variant departs from fp32 on rows that the golden set does not have. Serve --variant fp32, then seatrial parity --fuzz and --bisect to find where.",
            Trial(_violations(of, "0+0x20 1+1x40"), _violations(of, "0+0x60"), "30m", {**at, "variant": "int8"}),
        ),
        Alert(
            "SeatrialFeedbackDecay", f"seatrial_feedback_accuracy{{{this}}} < avg_over_time(seatrial_feedback_accuracy{{{this}}}[7d]) - {DECAY}", "30m", "ticket",
            f"{model} {{{{ $labels.version }}}} is right on {{{{ $value | humanizePercentage }}}} of the labelled answers, less than it was",
            "Look at drift per field: has the input moved? If not, have the labels? Then train again.",
            Trial(_accuracy(of, "0.9+0x150 0.5+0x60"), _accuracy(of, "0.9+0x210"), "3h20m", at, "50%"),
        ),
    ]  # fmt: skip


def _runs_on(of: str, asked: str, provider: str) -> dict[str, str]:
    return {f'seatrial_execution_info{{{of}, asked="{asked}", provider="{provider}"}}': "1+0x30"}


def _violations(of: str, values: str) -> dict[str, str]:
    return {f'seatrial_live_parity_violations_total{{{of}, variant="int8"}}': values}


def _accuracy(of: str, values: str) -> dict[str, str]:
    return {f"seatrial_feedback_accuracy{{{of}}}": values}
