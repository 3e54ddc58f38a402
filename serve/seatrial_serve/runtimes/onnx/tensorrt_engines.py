"""Where TensorRT keeps what it compiled: a folder for each graph, device and version.

An engine is machine code for all three.
"""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

import onnxruntime as ort

from seatrial_contracts.canonical import sha256
from seatrial_serve.runtimes.graph_cache import find_or_make
from seatrial_serve.runtimes.runtime import RuntimeOptions

log = logging.getLogger("seatrial.runtime")
DRIVER = Path("/proc/driver/nvidia")
LIBRARY = "libnvinfer.so.10"


def engine_folder(graph: bytes, options: RuntimeOptions, device: int) -> Path | None:
    """Return the folder for this graph on this device with these versions and options.

    Return None if engines cannot be kept, or not be told apart.
    """
    if options.cache is None:
        return None
    machine = machine_facts()
    if machine is None:
        log.info(
            "TensorRT's engines are not kept: the driver does not say what card and version this is"
        )
        return None
    chosen = [f"{name}={value}" for name, value in sorted(options.provider_options)]
    outside = [] if options.data is None else [options.data_sha256]
    facts = [sha256(graph), *outside, str(device), machine, str(options.max_rows), *chosen]
    return find_or_make(
        options.cache.with_name("engines"), sha256("\n".join(facts).encode()), _leave_empty
    )


def _leave_empty(folder: Path) -> None:
    """TensorRT fills it, whenever it has compiled something."""


def machine_facts() -> str | None:
    """Return the cards, the driver, TensorRT and onnxruntime, by their own words.

    Return None if one of them does not say.
    """
    try:
        cards = [
            line.split(":", 1)[1].strip()
            for file in sorted(DRIVER.glob("gpus/*/information"))
            for line in file.read_text("utf-8").splitlines()
            if line.startswith("Model:")
        ]
        driver = (DRIVER / "version").read_text("utf-8").splitlines()[0]
        tensorrt = ctypes.CDLL(LIBRARY).getInferLibVersion()
    except (OSError, IndexError, AttributeError):
        return None
    return "\n".join([*cards, driver, str(tensorrt), ort.__version__]) if cards else None
