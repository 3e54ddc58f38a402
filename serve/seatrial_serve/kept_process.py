"""Processes of ours that a supervisor starts, and starts anew where they are lost."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from seatrial_serve.process.clock import now_s

log = logging.getLogger("seatrial.workers")
STEADY_S = 60.0
"""A process that lived so long did not fail at its start: the next one is started at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0


def spawn(module: str, told: dict[str, Any], folder: Path, *files: int) -> subprocess.Popen[bytes]:
    """Start a module as a process, and tell it what it needs, on its standard input.

    `folder`: of the metrics of all. Raises `OSError`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=files,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        process_group=0,  # Ctrl-C is the supervisor's to pass on
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
    except OSError:  # it ended before it was told
        process.kill()
        process.wait()
        release(process)
        raise
    return process


def release(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes to a process that has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    with suppress(BrokenPipeError):  # what it did not read goes with it
        process.stdin.close()


def keep(
    name: str, run: Callable[[], str], stops: threading.Event, lost: Callable[[], object],
    longest_s: float = LONGEST_PAUSE_S,
) -> None:  # fmt: skip
    """Run a process again and again until `stops`, with a pause where it does not live long.

    `run` returns how it ended, in words; `lost` is called then; `longest_s`: the longest pause.
    """
    failures = 0
    while not stops.is_set():
        begun = now_s()
        ended = run()
        if stops.is_set():
            return
        failures = 0 if now_s() - begun > STEADY_S else failures + 1
        pause_s = 0.0 if not failures else min(FIRST_PAUSE_S * math.pow(2, failures - 1), longest_s)
        lost()
        log.error("%s %s; another starts in %g s", name, ended, pause_s)
        stops.wait(pause_s)
