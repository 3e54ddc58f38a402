"""Is the model there, on the device it was promised, and does it answer as it was tried?"""

from __future__ import annotations

from seatrial_contracts.bundle import Bundle
from seatrial_serve.metrics import names
from seatrial_serve.monitor.alert import Alert, Trial
from seatrial_serve.monitor.figures import Figures

CPU = "CPUExecutionProvider"
DAY_S, WEEK_S = 86_400, 7 * 86_400
RELOADING = 0.1
"""The share of the time that loading one model may take."""
DECAY = 0.05
"""How far accuracy may fall below its own mean of a week."""


def model_alerts(bundle: Bundle, figures: Figures) -> list[Alert]:
    """The load gate, readiness, loads, the device, live parity, feedback, certificates."""
    model, this = figures.model, figures.this
    of = f'{this}, version="{bundle.version}"'
    at = {"version": bundle.version}
    return [
        Alert(
            "SeatrialLoadGateFailed",
            f"max by (model, version) ({names.LOAD_GATE}{{{this}}} == 0)",
            "0m",
            "page",
            (
                f"{model} {{{{ $labels.version }}}} did not pass its load gate somewhere: "
                "it does not take traffic there"
            ),
            (
                "GET /v2/health/ready of that replica says which golden row failed, "
                "and by how much. The version before goes on where there is one."
            ),
            Trial(
                {f"{names.LOAD_GATE}{{{of}}}": "0+0x30"},
                {f"{names.LOAD_GATE}{{{of}}}": "1+0x30"},
                "10m",
                at,
            ),
        ),
        Alert(
            "SeatrialNotReady",
            f"min by (model, version) ({names.MODEL_READY}{{{this}}}) == 0",
            figures.windows.hold,
            "page",
            f"{model} {{{{ $labels.version }}}} is not ready somewhere",
            "GET /v2/health/ready of that replica says why.",
            Trial(
                {f"{names.MODEL_READY}{{{of}}}": "0+0x60"},
                {f"{names.MODEL_READY}{{{of}}}": "1+0x60"},
                "30m",
                at,
            ),
        ),
        Alert(
            "SeatrialAbsent",
            f"absent({names.MODEL_READY}{{{this}}})",
            figures.windows.hold,
            "page",
            f"no server holds {model}",
            (
                "Is the server up, does its bundles folder hold the model, "
                "and does Prometheus scrape port 8002?"
            ),
            Trial({"up": "1+0x60"}, {f"{names.MODEL_READY}{{{of}}}": "1+0x60"}, "30m"),
        ),
        Alert(
            "SeatrialLoadedTooOften",
            f"sum by (model) (rate({names.DEMAND_LOAD_SECONDS}{{{this}}}[15m])) > {RELOADING}",
            "15m",
            "ticket",
            (
                f"{model} is loaded again and again: {{{{ $value | humanizePercentage }}}} of the "
                "time goes into it"
            ),
            (
                "More models are asked for than fit into --model-memory-bytes. Raise it, "
                f"name {model} in --pins, or give some models a server of their own."
            ),
            Trial(
                {f"{names.DEMAND_LOAD_SECONDS}{{{of}}}": "0+12x60"},
                {f"{names.DEMAND_LOAD_SECONDS}{{{of}}}": "0+1x60"},
                "45m",
                {"model": model},
                "20%",
            ),
        ),
        Alert(
            "SeatrialCpuFallback",
            (
                f"max by (model, version, asked) ({names.EXECUTION_INFO}"
                f'{{{this}, asked!="{CPU}", provider="{CPU}"}} == 1)'
            ),
            "0m",
            "page",
            (
                f"{model} {{{{ $labels.version }}}} was to run on {{{{ $labels.asked }}}} and "
                "runs on the CPU"
            ),
            (
                "The driver, the device or the provider's package is missing on that machine. "
                "Start without --allow-cpu-fallback to keep such a replica out of traffic."
            ),
            Trial(
                _runs_on(of, "CUDAExecutionProvider", CPU),
                _runs_on(of, CPU, CPU),
                "10m",
                {**at, "asked": "CUDAExecutionProvider"},
            ),
        ),
        Alert(
            "SeatrialLiveParity",
            (
                "sum by (model, version, variant) "
                f"(increase({names.LIVE_PARITY_VIOLATIONS}{{{this}}}[15m])) > 0"
            ),
            "0m",
            "page",
            (
                f"{model} {{{{ $labels.version }}}}, variant {{{{ $labels.variant }}}}, "
                "answers live rows otherwise than its reference graph"
            ),
            (
                "The variant departs from fp32 on rows that the golden set does not have. "
                "Serve --variant fp32, then seatrial parity --fuzz and --bisect to find where."
            ),
            Trial(
                _violations(of, "0+0x20 1+1x40"),
                _violations(of, "0+0x60"),
                "30m",
                {**at, "variant": "int8"},
            ),
        ),
        Alert(
            "SeatrialFeedbackDecay",
            (
                f"{names.FEEDBACK_ACCURACY}{{{this}}} < "
                f"avg_over_time({names.FEEDBACK_ACCURACY}{{{this}}}[7d]) - {DECAY}"
            ),
            "30m",
            "ticket",
            (
                f"{model} {{{{ $labels.version }}}} is right on "
                f"{{{{ $value | humanizePercentage }}}} of the labelled answers, less than it was"
            ),
            (
                "Look at drift per field: has the input moved? If not, have the labels? "
                "Then train again."
            ),
            Trial(
                _accuracy(of, "0.9+0x150 0.5+0x60"), _accuracy(of, "0.9+0x210"), "3h20m", at, "50%"
            ),
        ),
        Alert(
            "SeatrialCertificateExpires",
            (
                f"min by (file) ({names.CERTIFICATE_EXPIRY} - time() "
                f"and on (instance) {names.MODEL_READY}{{{this}}}) < {WEEK_S}"
            ),
            "5m",
            "ticket",
            (
                f"a server of {model} has a certificate in {{{{ $labels.file }}}} that expires in "
                "{{ $value | humanizeDuration }}"
            ),
            (
                "Write the new certificate and key to the same files: the server reads them when "
                "they change. If they are new already, its log says why they were not taken."
            ),
            Trial(
                _expires(of, DAY_S),
                _expires(of, 30 * DAY_S),
                "30m",
                {"file": "tls_cert"},
                "23h 30m 0s",
            ),
        ),
        Alert(
            "SeatrialStoreFault",
            (
                f"max by (instance) ({names.STORE_FAULTS} "
                f"and on (instance) {names.MODEL_READY}{{{this}}}) > 0"
            ),
            "15m",
            "ticket",
            (
                f"{{{{ $labels.instance }}}}, a server of {model}, cannot follow "
                "{{ $value | humanize }} of its addresses in stores"
            ),
            (
                "It serves what it has. from_cache in /v2/health/ready names address and reason: "
                "is the registry or object store up, and may these credentials read it? Without "
                "--watch, SIGHUP asks again."
            ),
            Trial(
                _faults(of, "0+0x10 1+0x40"),
                _faults(of, "0+0x10 1+0x10 0+0x30"),
                "30m",
                {"instance": "10.0.0.1:8002"},
                "1",
            ),
        ),
    ]


def _faults(of: str, values: str) -> dict[str, str]:
    replica = 'instance="10.0.0.1:8002"'
    return {
        f"{names.STORE_FAULTS}{{{replica}}}": values,
        f"{names.MODEL_READY}{{{of}, {replica}}}": "1+0x60",
    }


def _expires(of: str, at_s: int) -> dict[str, str]:
    replica = 'instance="10.0.0.1:8002"'
    return {
        f'{names.CERTIFICATE_EXPIRY}{{{replica}, file="tls_cert"}}': f"{at_s}+0x60",
        f"{names.MODEL_READY}{{{of}, {replica}}}": "1+0x60",
    }


def _runs_on(of: str, asked: str, provider: str) -> dict[str, str]:
    return {f'{names.EXECUTION_INFO}{{{of}, asked="{asked}", provider="{provider}"}}': "1+0x30"}


def _violations(of: str, values: str) -> dict[str, str]:
    return {f'{names.LIVE_PARITY_VIOLATIONS}{{{of}, variant="int8"}}': values}


def _accuracy(of: str, values: str) -> dict[str, str]:
    return {f"{names.FEEDBACK_ACCURACY}{{{of}}}": values}
