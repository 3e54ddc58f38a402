"""Kill -9 of workers and of the engine process under load: no wrong answer, and nothing left.

    python benchmarks/load/killed.py [--kills 20] [--clients 8]

Two workers share an engine process and serve a model that answers with what it is asked. Each
client asks for numbers that are its own, and compares every answer with them. In turn a worker, the
engine process, and both are killed; the next kill comes once all are there again. Printed: how
requests ended, how long the outages were, and what was left behind. Exits with 1 at a wrong answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from embeddings import loaded  # noqa: E402  (found through a line above)
from fronts import children  # noqa: E402  (found through a line above)
from support.conformance import rows, seal  # noqa: E402  (found through a line above)

PATH, WORKERS = "/v1/models/conformance:predict", 2


class Clients:
    """Clients that ask until they are told to stop."""

    def __init__(self, address: str, count: int) -> None:
        self.ended: Counter[str] = Counter()
        self.wrong: list[tuple[Any, Any]] = []
        self.longest_s = 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()
        host, port = address.split(":")
        self._place = host, int(port)
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, seed: int) -> None:
        drawn, row = random.Random(seed), rows()[0]
        connection = http.client.HTTPConnection(*self._place, timeout=20)
        well = time.monotonic()
        while not self._stop.is_set():
            numbers = [drawn.randrange(-(2**53), 2**53) for _ in range(drawn.randrange(1, 60))]
            body = json.dumps({"instances": [row | {"in_int64": numbers}]})
            try:
                connection.request("POST", PATH, body, {"Content-Type": "application/json"})
                reply = connection.getresponse()
                data = json.loads(reply.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._count(type(error).__name__)
                time.sleep(0.02)
                continue
            self._count(f"{reply.status} {data.get('code', '')}".strip())
            if reply.status != 200:
                time.sleep(0.02)
                continue
            with self._lock:
                now = time.monotonic()
                self.longest_s = max(self.longest_s, now - well)
                got = data["predictions"][0]["out_int64"]
                if got != numbers:
                    self.wrong.append((numbers, got))
            well = now

    def _count(self, how: str) -> None:
        with self._lock:
            self.ended[how] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def settled(pid: int, address: str, before: set[int], within_s: float = 60.0) -> None:
    """Return once all processes are there, none of them one that was killed, and it is ready."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        roles = children(pid)
        there = {*roles["engine"], *roles["workers"]}
        if len(there) == WORKERS + 1 and not there & before and answers(address):
            return
        time.sleep(0.05)
    raise SystemExit("the server did not recover")


def answers(address: str) -> bool:
    """Do several new connections each find a server that is ready?"""
    for _ in range(4):
        connection = http.client.HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status != 200:
                return False
        except OSError:
            return False
        finally:
            connection.close()
    return True


def main() -> None:
    """Kill, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    shared_before = set(Path("/dev/shm").iterdir())
    with tempfile.TemporaryDirectory() as folder:
        seal(Path(folder) / "bundles")
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "seatrial", "serve", f"{folder}/bundles"),
                *("--http-port", "0", "--metrics-port", "0", "--no-grpc"),
                *("--workers", str(WORKERS), "--engine", "shared"),
            ],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(temporary)},
        )  # fmt: skip
        address = loaded(server, WORKERS)
        assert server.stderr is not None
        threading.Thread(target=server.stderr.read, daemon=True).start()
        clients = Clients(address, options.clients)
        outages: dict[str, list[float]] = {"worker": [], "engine": [], "both": []}
        for place in range(options.kills):
            time.sleep(0.5)
            what = list(outages)[place % 3]
            roles = children(server.pid)
            worker, engine = random.Random(place).choice(roles["workers"]), roles["engine"][0]
            killed = {"worker": {worker}, "engine": {engine}, "both": {worker, engine}}[what]
            begun = time.monotonic()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            settled(server.pid, address, killed)
            outages[what].append(time.monotonic() - begun)
        clients.stop()
        every = {*children(server.pid)["engine"], *children(server.pid)["workers"]}
        server.terminate()
        status = server.wait(30)
        alive = [pid for pid in every if Path(f"/proc/{pid}").exists()]
        left = [each.name for each in temporary.glob("seatrial-*")]
    shared_left = set(Path("/dev/shm").iterdir()) - shared_before
    print(f"{options.kills} kills; requests: {dict(clients.ended)}")
    print("seconds until all were there again:")
    for what, spans in outages.items():
        print(f"  {what}: {', '.join(f'{each:.1f}' for each in spans)}")
    print(f"longest time of a client without an answer: {clients.longest_s:.1f} s")
    print(
        f"wrong answers: {len(clients.wrong)}; exit status {status}; processes left: {alive}; "
        f"files left: {left}; shared memory left: {shared_left}"
    )
    sys.exit(bool(clients.wrong or alive or left or shared_left))


if __name__ == "__main__":
    main()
