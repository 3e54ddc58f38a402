"""Which machine this is, for what holds on one machine alone: how it rounds, how fast it is."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from seatrial_contracts.canonical import sha256

CPUINFO, MACHINE_ID = Path("/proc/cpuinfo"), Path("/etc/machine-id")
PROCESSOR = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
)  # fmt: skip
"""Linux's names for what tells processors apart, on x86 and on ARM; clocks and numbers change."""


def machine_key(cpuinfo: Path = CPUINFO, machine_id: Path = MACHINE_ID) -> str | None:
    """A digest that this machine keeps over restarts and another kind of processor does not have.

    It holds the processor's model, revision, microcode and instruction sets, the number of cores,
    and systemd's machine id if there is one (machine-id(5); containers have none as a rule). None
    if the system does not say what the processor can do.
    """
    try:
        lines = cpuinfo.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    pairs = (line.partition(":") for line in lines)
    facts = {
        f"{name.strip()}={value.strip()}" for name, _, value in pairs if name.strip() in PROCESSOR
    }
    if not any(fact.startswith(("flags=", "Features=")) for fact in facts):
        return None
    try:
        identity = machine_id.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        identity = ""
    return sha256(
        "\n".join([*sorted(facts), platform.machine(), str(os.cpu_count()), identity]).encode()
    )
