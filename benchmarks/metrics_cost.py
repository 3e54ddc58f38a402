"""The cost of metrics and drift: processor time a request, on against off.

    python benchmarks/metrics_cost.py BUNDLES [ROUNDS]

BUNDLES is a folder that holds penguins; wrk is needed. A server with everything on, scraped every 5
s, runs against one with `--no-metrics`. Both servers run at once on core 0, wrk on core 1, and get
the load in turns, so that whatever else the machine does falls on both. Processor time is the
kernel's count for the server's threads. Each turn gives a ratio of on to off; their median counts,
and between its quartiles lies half of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SECONDS, CONNECTIONS = 1, (1, 16, 64)


class Running:
    """A server of its own on free ports."""

    def __init__(self, bundles: str, *flags: str) -> None:
        command = [
            "taskset",
            "-c",
            "0",
            sys.executable,
            "-m",
            "seatrial",
            "serve",
            bundles,
            "--http-port",
            "0",
            "--no-grpc",
            "--metrics-port",
            "0",
            "--threads",
            "1",
        ]
        self.process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        self.url = re.findall(r"http://[\d.:]+", said)[0]
        port = re.search(r"metrics on port (\d+)", said)
        self.metrics = f"http://127.0.0.1:{port[1]}/metrics" if port else ""
        while "passed its load gate" not in self.process.stderr.readline():
            pass

    def cpu_s(self) -> float:
        """Processor time of the threads so far, as the scheduler counts it in nanoseconds."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return (
            sum(int((each / "schedstat").read_text("ascii").split()[0]) for each in threads) / 1e9
        )

    def load(self, script: Path, connections: int) -> tuple[float, float]:
        """Microseconds of processor time a request, and requests a second."""
        before = self.cpu_s()
        command = [
            "taskset",
            "-c",
            "1",
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{SECONDS}s",
            "-s",
            str(script),
            f"{self.url}/v1/models/penguins:predict",
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        count = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
        assert "Non-2xx" not in said, said
        return (self.cpu_s() - before) / count * 1e6, count / SECONDS


def in_turns(
    on: Running, off: Running, script: Path, connections: int, rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What `load` measures of either server, `(rounds, 2)` each; which is first alternates."""
    seen: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    for turn in range(rounds):
        pair = [("on", on), ("off", off)]
        for name, server in pair if turn % 2 else reversed(pair):
            seen[name].append(server.load(script, connections))
    return np.array(seen["on"]), np.array(seen["off"])


def scrape(url: str, stop: threading.Event) -> None:
    """As Prometheus does, rather often."""
    while not stop.wait(5):
        with urllib.request.urlopen(url, timeout=10) as reply:
            reply.read()


def main() -> None:
    bundles, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    on, off = Running(bundles), Running(bundles, "--no-metrics")
    stop = threading.Event()
    threading.Thread(target=scrape, args=(on.metrics, stop), daemon=True).start()
    with urllib.request.urlopen(f"{on.url}/v1/models/penguins", timeout=10) as reply:
        row = json.load(reply)["example"]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        body = json.dumps({"instances": [row]})
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = [[{body}]]\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        for connections in CONNECTIONS:
            with_it, without = in_turns(on, off, script, connections, rounds)
            ratios = with_it / without - 1
            (low_us, us, high_us), (low, rate, high) = np.quantile(
                ratios, (0.25, 0.5, 0.75), axis=0
            ).T
            plain_us, plain = np.median(without, axis=0)
            print(
                f"{connections:3} connections: {plain:.0f}/s at {plain_us:.0f} us each without; "
                f"with everything on {rate:+.1%} of the rate ({low:+.1%} to {high:+.1%}), "
                f"{us:+.1%} of the time ({low_us:+.1%} to {high_us:+.1%})",
                flush=True,
            )
    stop.set()
    for server in (on, off):
        server.process.terminate()
        server.process.wait(30)
        time.sleep(0)


if __name__ == "__main__":
    main()
