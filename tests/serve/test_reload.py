"""Reloads and stops of a real server, under load over real sockets."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.conformance import rows, seal
from support.waiting import until

pytestmark = pytest.mark.slow
BODY = json.dumps({"instances": rows()[:1]})


class Load:
    """Clients with keep-alive connections that send requests until they are stopped.

    What went wrong is kept.
    """

    def __init__(self, address: str, clients: int = 8) -> None:
        self.versions: list[str] = []
        self.wrong: list[str] = []
        self._address, self._stop = address, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with closing(http.client.HTTPConnection(self._address, timeout=30)) as connection:
            self._ask_over(connection)

    def _ask_over(self, connection: http.client.HTTPConnection) -> None:
        while not self._stop.is_set():
            try:
                connection.request(
                    "POST",
                    "/v1/models/conformance:predict",
                    BODY,
                    {"Content-Type": "application/json"},
                )
                reply = connection.getresponse()
                text = reply.read()
                if reply.status == 200:
                    self.versions.append(json.loads(text)["model_version"])
                else:
                    self.wrong.append(f"{reply.status} {text!r}")
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                return

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def test_signals_reload_under_load_and_no_request_is_lost(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    seal(tmp_path)
    server = serve(tmp_path)
    server.wait_until_loaded()
    with Load(server.url.removeprefix("http://")) as load:
        for turn in range(1, 11):
            seal(tmp_path, f"1.0.{turn}")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: load.wrong != [] or load.versions[-1:] == [f"1.0.{turn}"])  # noqa: B023  (called within the turn)
            shutil.rmtree(tmp_path / "conformance" / f"1.0.{turn - 1}")
    assert load.wrong == []
    assert len(load.versions) > 100
    assert len(set(load.versions)) == 11


def test_a_watched_folder_is_followed(tmp_path: Path, serve: Callable[..., Any]) -> None:
    seal(tmp_path)
    server = serve(tmp_path, "--watch")
    server.wait_until_loaded()
    with Load(server.url.removeprefix("http://"), clients=2) as load:
        seal(tmp_path, "1.1.0")
        until(lambda: "1.1.0" in load.versions)
    assert load.wrong == []


def lowest_rss(process: psutil.Process) -> int:
    """The least memory within two seconds: whoever holds a model last lets go after the answer."""
    sizes = []
    for _ in range(20):
        sizes.append(process.memory_info().rss)
        time.sleep(0.1)
    return min(sizes)


def test_an_unloaded_model_gives_its_memory_back(
    examples: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    seal(tmp_path)
    server = serve(tmp_path, "--admin")
    server.wait_until_loaded()
    process = psutil.Process(server.process.pid)

    def ask(verb: str) -> int:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        connection.request("POST", f"/v2/repository/models/photos/{verb}", "{}")
        assert connection.getresponse().status == 200
        connection.close()
        return process.memory_info().rss

    shutil.copytree(examples / "photos", tmp_path / "photos")
    ask("load")
    ask("unload")
    before = lowest_rss(process)
    full = ask("load")
    wanted = 0.8 * (full - before)
    assert wanted > 20 * 2**20
    ask("unload")
    until(lambda: full - process.memory_info().rss > wanted)  # whoever holds it last lets go
