"""The server of seatrial: it reads a folder of bundles, and imports no training library."""

import seatrial_contracts  # noqa: F401  (it switches onnxruntime's telemetry off)
