"""onnxruntime's telemetry is off in every process that imports seatrial first.

Its wheels for Linux and macOS (from 1.29 on) connect to Microsoft as soon as they are imported, and
keep an id of the machine in the user's cache. `disable_telemetry_events` comes too late for both.
Source: onnxruntime's Privacy.md, "Disabling Telemetry".
"""

from __future__ import annotations

import os

VARIABLE = "ORT_DISABLE_TELEMETRY"
"""Read once, when onnxruntime is imported; 1 is off. Programs that a process starts inherit it."""
os.environ.setdefault(VARIABLE, "1")
