"""The exporter of seatrial: it runs training code, and seals a model that passes its gate."""

import seatrial_contracts  # noqa: F401  (it switches onnxruntime's telemetry off)
