"""Rules, alerts and dashboard over a real server under traffic.

Prometheus and Alertmanager are real too.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.servers import Server
from support.watch import Observers, expressions, watching

from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.golden import wire_row
from seatrial_export.load_pipeline import load_pipeline
from seatrial_serve.monitor.figures import Windows
from seatrial_serve.monitor.write import write_monitoring

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("prometheus", "prometheus-alertmanager"))),
        reason=(
            "Prometheus and Alertmanager are not installed: "
            "apt-get install prometheus prometheus-alertmanager"
        ),
    ),
]
WINDOWS = Windows(recent="15s", drift="12s", hold="1s")
REFUSED = {"island": "Atlantis"}
"""An island that the contract does not have."""


@contextmanager
def traffic(
    server: Server, rows: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]] = ()
) -> Iterator[None]:
    """Rows in turn, some of them refused, and the truth of one, to the end of the block."""
    stop = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=server.url) as client:
            while not stop.is_set():
                for row in rows:
                    client.post("/v1/models/penguins:predict", json={"instances": [row]})
                for row in refused:
                    client.post("/v1/models/penguins:predict", json={"instances": [row]})
                told = {"instances": rows[:1], "truth": [{"species": "Adelie"}]}
                client.post("/v1/models/penguins:feedback", json=told)

    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(send)
        try:
            yield
        finally:
            stop.set()
            sent.result()


@pytest.fixture(scope="module")
def penguins(examples: Path) -> Bundle:
    return open_bundle(examples / "penguins/1.0.0")


@pytest.fixture(scope="module")
def usual() -> list[dict[str, Any]]:
    """Rows of the kind that the model was trained on."""
    return [
        wire_row(row) for row in load_pipeline("examples/penguins/pipeline.py:pipeline").reference
    ]


@pytest.fixture(scope="module")
def watched(
    penguins: Bundle, serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Observers, Path]]:
    """The penguins, served and watched by the rules of their own contract."""
    folder = tmp_path_factory.mktemp("watched")
    write_monitoring([penguins], folder, WINDOWS)
    server = serve(penguins.path, "--sampled-per-s", "100000")
    server.wait_until_loaded()
    with watching(server.metrics_url, folder / "rules/penguins.rules.yaml", folder) as watch:
        yield server, watch, folder


def test_a_shifted_stream_raises_the_drift_alert_and_the_usual_one_ends_it(
    watched: tuple[Server, Observers, Path], usual: list[dict[str, Any]]
) -> None:
    server, watch, _ = watched
    longer = [
        {**row, "island": "Biscoe", "bill_length_mm": (row["bill_length_mm"] or 40) + 5}
        for row in usual
    ]
    with traffic(server, longer, [{**longer[0], **REFUSED}] * 20):
        moved = {"island", "bill_length_mm"}
        watch.until(lambda: moved <= {labels["field"] for labels in watch.firing("SeatrialDrift")})
        firing = watch.firing("SeatrialDrift")
        watch.until(lambda: watch.firing("SeatrialUnseenCategories"))
    assert all(
        labels["model"] == "penguins" and labels["severity"] == "ticket" for labels in firing
    )
    with traffic(server, usual):
        watch.until(lambda: not watch.firing("SeatrialDrift"))


def test_every_query_of_rules_and_dashboard_gives_data_under_traffic(
    watched: tuple[Server, Observers, Path], usual: list[dict[str, Any]]
) -> None:
    server, watch, folder = watched
    boards = json.loads((folder / "dashboards/penguins.json").read_text())["panels"]
    asked = [target["expr"] for panel in boards for target in panel.get("targets") or ()]
    with traffic(server, usual, [{**usual[0], **REFUSED}]):
        for expr in asked:
            watch.until(lambda expr=expr: watch.query(expr), 30)
    assert len(asked) > 30
    assert set(asked) <= set(expressions(folder))
