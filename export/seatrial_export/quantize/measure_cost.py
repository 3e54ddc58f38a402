"""What a graph costs here: timed in turns with fp32, its memory in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.host_stage import EncodedRow, collate
from seatrial_contracts.kinds.kind import Array
from seatrial_export.graphs.session import Model

TURNS, BUDGET_S, LEAST_TURNS = 25, 1.5, 4
"""For each batch size: at most so many turns and, after the least, so many seconds."""
MEMORY_ROWS = 8
MEASURED_S = 120


def best_seconds(
    models: Sequence[Model], row: EncodedRow, rows: int, budget_s: float = BUDGET_S
) -> list[float]:
    """The shortest time of a batch of `rows` such rows for each model, in seconds.

    The models run in turns, so that a disturbance meets all of them. The time is this thread's own
    on the processor, and a session has no other thread: other programs of the machine do not count.
    """
    feeds = collate(models[0].specs, [row] * rows)
    for model in models:
        model.session.run(feeds)
    best = [float("inf")] * len(models)
    end = time.perf_counter() + budget_s
    for turn in range(TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() > end:
            break
        for place, model in enumerate(models):
            start = time.thread_time()
            model.session.run(feeds)
            best[place] = min(best[place], time.thread_time() - start)
    return best


def peak_memory_bytes(graph: bytes, weights: Path | None, feeds: Mapping[str, Array]) -> int | None:
    """What loading a graph and running a batch takes at most; None on systems without /proc.

    `weights` is the folder of the graph's data file, if it has one.
    """
    if not Path("/proc/self/status").exists():
        return None
    script = Path(__file__).with_name("peak_memory.py")
    with tempfile.TemporaryDirectory(prefix="seatrial.") as folder:
        model, batch = Path(folder, "graph.onnx"), Path(folder, "feeds.npz")
        model.write_bytes(graph)
        arrays: Any = {
            name: array.astype(str) if array.dtype == object else array
            for name, array in feeds.items()
        }
        np.savez(batch, **arrays)
        command = [sys.executable, "-I", str(script), str(model), str(batch)]
        command += [] if weights is None else [str(weights)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MEASURED_S, check=True
        )
    return int(done.stdout)
