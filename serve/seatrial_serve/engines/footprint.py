"""How much memory a version takes: measured as it loads, assumed before that."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from seatrial_contracts.manifest import Manifest, data_name
from seatrial_serve.metrics.process_metrics import resident_bytes

ROOM = 1.5
"""Memory that a version is assumed to take until a load measured it, in sizes of what it loads.

A runtime lays weights out anew for its kernels, and takes memory for what lies between layers.
"""


@dataclass
class Growth:
    """The memory of the process when a load began, and whether nothing else loads meanwhile."""

    began_bytes: int
    alone: bool


class Growths:
    """By how much loads make the process grow, where that says something. Any thread may ask."""

    def __init__(self) -> None:
        self._lock, self._running = threading.Lock(), list[Growth]()
        self._first = True

    def begin(self) -> Growth:
        """A load begins."""
        with self._lock:
            # the first one imports the runtime, whose memory is nobody's
            growth = Growth(resident_bytes(), alone=not (self._first or self._running))
            self._first = False
            for other in self._running:
                other.alone = False
            self._running.append(growth)
        return growth

    def end(self, growth: Growth) -> int | None:
        """By how many bytes the process has grown; None where others loaded at the same time."""
        with self._lock:
            self._running.remove(growth)
        return resident_bytes() - growth.began_bytes if growth.alone else None


def footprint(manifest: Manifest, variant: str | None, grown_bytes: int | None = None) -> int:
    """Bytes that a version takes: by how many the process grew, or assumed where nobody measured.

    At least what it loads.
    """
    files = loaded_bytes(manifest, variant)
    return round(ROOM * files) if grown_bytes is None else max(grown_bytes, files)


def loaded_bytes(manifest: Manifest, variant: str | None) -> int:
    """The sealed files that are read to serve a variant (None: the first): all but other graphs.

    A name that no variant has stands for the first: its load says so.
    """
    served = graph_of(manifest, variant)
    others = {
        name
        for each in manifest.variants
        if each.graph != served
        for name in (each.graph, data_name(each.graph))
    }
    return sum(file.size for name, file in manifest.files.items() if name not in others)


def graph_of(manifest: Manifest, variant: str | None) -> str:
    """The graph that is loaded to serve a variant: see `loaded_bytes`."""
    graphs = {each.name: each.graph for each in manifest.variants}
    return graphs.get(variant or "", manifest.variants[0].graph)
