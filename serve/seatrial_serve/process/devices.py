"""The memory of accelerators, where there are any and NVIDIA's library is there to ask."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

log = logging.getLogger("seatrial.devices")


class Devices:
    """NVIDIA devices by their numbers; none where `pynvml` or the driver is missing."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return
        self._library = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [
                pynvml.nvmlDeviceGetHandleByIndex(place)
                for place in range(pynvml.nvmlDeviceGetCount())
            ]
        except pynvml.NVMLError as error:
            log.info("no memory of devices is measured: %s", error)

    def memory(self) -> Iterator[tuple[str, str, int]]:
        """Device, "used" or "total", bytes: of the whole device, whoever uses it."""
        for place, handle in enumerate(self._handles):
            try:
                memory = self._library.nvmlDeviceGetMemoryInfo(handle)
            except self._library.NVMLError as error:
                log.warning("the memory of device %d cannot be read: %s", place, error)
                continue
            yield str(place), "used", memory.used
            yield str(place), "total", memory.total
