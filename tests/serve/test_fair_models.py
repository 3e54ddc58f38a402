"""Models share the cores by what their batches cost, not by who comes first."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.running import run_app
from support.toys import Feeds, answer, toy_bundle

from seatrial_serve.inference import engine
from seatrial_serve.runtimes.fake import FakeRuntime

SLOW_S = 0.02
"""What a row of a slow model takes at its load gate, so that it runs in a thread."""
THREADS = 2


class Cores:
    """Runtimes of slow models and of a quick one; notes who ran, once the gate is open."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.gate = threading.Event()
        self.serving = False

    def load(self, graph: Any, options: Any) -> FakeRuntime:
        name = options.serves[0]

        def run(feeds: Feeds) -> dict[str, Any]:
            if not self.serving:  # the load gate measures the processor time that it takes
                end_s = time.thread_time() + (SLOW_S if name != "quick" else SLOW_S / 10)
                while time.thread_time() < end_s:
                    pass
            else:
                self.gate.wait(5)
                self.ran.append(name)
            return answer(feeds)

        return FakeRuntime(
            run, inputs={"x": "float32", "word": "string"}, outputs=["twice", "pair"]
        )


async def test_a_slow_model_delays_a_quick_one_by_no_more_than_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = Cores()
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": cores.load})
    slow = [f"slow{number}" for number in range(6)]
    for name in (*slow, "quick"):
        toy_bundle(tmp_path, name=name)
    async with run_app(tmp_path, max_batch_rows=1) as running:
        cores.serving = True
        row = [{"x": 1.0, "word": "a"}]
        crowd = [
            asyncio.create_task(running.ask(row, name, headers={"X-Request-Timeout-Ms": "60000"}))
            for _ in range(5)
            for name in slow
        ]
        await asyncio.sleep(0.1)  # every slow model has batches that wait for a core
        quick = asyncio.create_task(running.ask(row, "quick"))
        await asyncio.sleep(0.1)
        cores.gate.set()
        assert (await quick).status_code == 200
        assert {each.status_code for each in await asyncio.gather(*crowd)} == {200}
    ahead = cores.ran.index("quick")
    assert ahead <= THREADS + 1, "the batches that run, and the one that a thread was handed"
    assert len(cores.ran) == 31
