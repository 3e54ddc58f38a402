"""A real Prometheus and a real Alertmanager of our own, on free ports of the loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from servers import fetch

Found = TypeVar("Found")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(look: Callable[[], Found], within_s: float, what: str) -> Found:
    """What `look` finds, as soon as it finds anything."""
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end, f"no {what} within {within_s:g} s"
        time.sleep(0.2)
    return found


@contextmanager
def running(command: list[str], ready: str, log: Path) -> Iterator[None]:
    """A process until it answers `ready`, and to the end of the block."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        wait_for(lambda: answers(ready) or process.poll() is not None, 20, ready)
        assert process.poll() is None, log.read_text()[-2000:]
        yield
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    """Does anybody answer there, and well?"""
    try:
        return fetch(url)[0] == 200
    except OSError:
        return False


class Watch:
    """Prometheus that scrapes one server and tells Alertmanager."""

    def __init__(self, prometheus: str, alertmanager: str) -> None:
        self.prometheus, self.alertmanager = prometheus, alertmanager

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What an expression gives now."""
        status, body = fetch(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        assert status == 200, body
        result: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return result

    def firing(self, alert: str) -> list[dict[str, str]]:
        """Labels of the alerts of this name that Alertmanager holds."""
        filtered = urllib.parse.urlencode({"filter": f'alertname="{alert}"', "active": "true"})
        status, body = fetch(f"{self.alertmanager}/api/v2/alerts?{filtered}")
        assert status == 200, body
        return [found["labels"] for found in json.loads(body)]


@contextmanager
def watching(metrics_url: str, rules: Path, folder: Path) -> Iterator[Watch]:
    """Both, once Prometheus has its first samples. Everything happens each second."""
    alertmanager, prometheus = (f"127.0.0.1:{free_port()}" for _ in range(2))
    target = urllib.parse.urlsplit(metrics_url).netloc
    alerts, config = folder / "alertmanager.yaml", folder / "prometheus.yaml"
    alerts.write_text("route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n")
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f'rule_files: ["{rules}"]\n'
        f'alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}\n'
        f'scrape_configs: [{{job_name: seatrial, static_configs: [{{targets: ["{target}"]}}]}}]\n'
    )
    alert_command = ["prometheus-alertmanager", f"--config.file={alerts}", f"--storage.path={folder / 'alerts'}", f"--web.listen-address={alertmanager}", "--cluster.listen-address="]  # fmt: skip
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={prometheus}"]  # fmt: skip
    with (
        running(alert_command, f"http://{alertmanager}/-/ready", folder / "alertmanager.log"),
        running(command, f"http://{prometheus}/-/ready", folder / "prometheus.log"),
    ):
        watch = Watch(f"http://{prometheus}", f"http://{alertmanager}")
        wait_for(lambda: watch.query("seatrial_bundle_info"), 20, "first samples")
        yield watch


def expressions(folder: Path) -> list[str]:
    """Every expression of rules and dashboards below a folder."""
    found = [rule["expr"] for file in folder.rglob("*.rules.yaml") for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]  # fmt: skip
    for file in folder.rglob("dashboards/*.json"):
        panels = json.loads(file.read_text())["panels"]
        found += [target["expr"] for panel in panels for target in panel.get("targets") or ()]
    return found
