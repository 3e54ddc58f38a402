"""What a first load would import, imported before somebody waits for it."""

from __future__ import annotations

import importlib
import logging

from seatrial_contracts.kinds import kinds
from seatrial_contracts.receipt import installed_versions
from seatrial_serve.inference.kept_receipt import PACKAGES
from seatrial_serve.runtimes import runtimes

log = logging.getLogger("seatrial.preload")
LIBRARIES = ("tokenizers",)
"""Of host stages, where they are installed."""


def preload() -> None:
    """Import every runtime, every field kind and their libraries. Any thread may call it.

    The versions of what receipts name are looked up, too: once, for a few milliseconds.
    """
    runtimes()
    kinds()
    installed_versions(PACKAGES)
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            log.debug("%s is not installed", name)
