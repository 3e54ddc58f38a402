"""A real Prometheus and a real Alertmanager over one server."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from support.real_prometheus import RealPrometheus
from support.servers import fetch


class Observers:
    """Prometheus that scrapes the server and tells Alertmanager."""

    def __init__(self, prometheus: RealPrometheus, alertmanager: str) -> None:
        self.query, self.until = prometheus.query, prometheus.until
        self._alertmanager = alertmanager

    def firing(self, alert: str) -> list[dict[str, str]]:
        """Labels of the alerts of this name that Alertmanager holds."""
        filtered = urllib.parse.urlencode({"filter": f'alertname="{alert}"', "active": "true"})
        status, body = fetch(f"http://{self._alertmanager}/api/v2/alerts?{filtered}")
        assert status == 200, body
        return [found["labels"] for found in json.loads(body)]


@contextmanager
def watching(metrics_url: str, rules: Path, folder: Path) -> Iterator[Observers]:
    """Both, once Prometheus has its first samples. Everything happens each second."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "alertmanager.yaml"
    config.write_text("route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n")
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        alertmanager = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with RealPrometheus(
            folder / "prometheus", [metrics_url], rules.read_text(), address
        ) as prometheus:
            watch = Observers(prometheus, address)
            prometheus.until(lambda: prometheus.query("seatrial_bundle_info"), 30)
            prometheus.until(lambda: watch.firing("none") == [], 30)
            yield watch
    finally:
        alertmanager.terminate()
        alertmanager.wait(10)


def expressions(folder: Path) -> list[str]:
    """Every expression of rules and dashboards below a folder."""
    found = [
        rule["expr"]
        for file in folder.rglob("*.rules.yaml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    for file in folder.rglob("dashboards/*.json"):
        panels = json.loads(file.read_text())["panels"]
        found += [target["expr"] for panel in panels for target in panel.get("targets") or ()]
    return found
