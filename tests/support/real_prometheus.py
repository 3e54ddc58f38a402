"""A real Prometheus over servers of our own, where Debian's package is installed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

INSTALLED = shutil.which("prometheus") is not None and shutil.which("promtool") is not None
WHY = "Prometheus is not installed: apt-get install --no-install-recommends prometheus"


class RealPrometheus:
    """A real Prometheus that scrapes `targets` (metrics URLs) every second. Use `with`.

    It evaluates `rules` where given, and reports to `alertmanager` (host:port). `jobs`: what else
    it scrapes, as its configuration has it.
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str],
        rules: str = "",
        alertmanager: str = "",
        jobs: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        folder.mkdir(parents=True)
        self._folder, self._log = folder, folder / "log"
        (folder / "rules.yaml").write_text(rules or "groups: []\n")
        hosts = [urllib.parse.urlsplit(url).netloc for url in targets]
        own = [{"job_name": "seatrial", "static_configs": [{"targets": hosts}]}] if hosts else []
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {
            "global": every,
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": [*own, *jobs],
        }
        if alertmanager:
            config["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]
            }
        (folder / "prometheus.yaml").write_text(json.dumps(config))  # JSON is YAML

    def __enter__(self) -> Self:
        flags = [
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={urllib.parse.urlsplit(self.url).netloc}",
            "--enable-feature=exemplar-storage",
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(["prometheus", *flags], stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def get(self, path: str, **parameters: str) -> Any:
        """What its API answers."""
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10
        ) as reply:
            return json.load(reply)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def values(self, expression: str, by: str) -> dict[str, float]:
        """The series of an expression: a label of each -> its value."""
        return {
            each["metric"].get(by, ""): float(each["value"][1]) for each in self.query(expression)
        }

    def until(self, found: Callable[[], Any], within_s: float = 60) -> Any:
        """What `found` gives once it gives something."""
        end = time.monotonic() + within_s
        while True:
            try:
                if value := found():
                    return value
            except OSError:
                assert self.process.poll() is None, self._log.read_text("utf-8")
            assert time.monotonic() < end, self._log.read_text("utf-8")
            time.sleep(0.1)
