"""Requests lost over reloads and rolling restarts under load.

    python benchmarks/load/lost.py [RELOADS] [RESTARTS] [--haproxy]

32 keep-alive clients run against a model of every datatype. Half of them say how long their body is
and so go the direct way; the bodies of the others come in chunks and so go by ASGI. A request is
lost where its bytes went out on an open connection and no whole answer came back, or the answer was
no 200. A connection that was refused before it was made is no request: the client goes to the other
server, as behind any balancer. 0 of N lost means fewer than 3/N lost at 95 % confidence (the rule
of three). With --haproxy the clients have one address, haproxy's, which checks both servers'
readiness five times a second; it joins chunks that come at once.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.conformance import rows, seal  # noqa: E402  (found through the line above)

BODY = json.dumps({"instances": rows()[:1]}).encode()
WAYS = {"direct": [BODY], "asgi": [BODY[:100], BODY[100:]]}
"""What a client sends: in one piece by length, in several by chunks."""
CLIENTS, PORTS, HAPROXY_PORT = 32, (18_710, 18_711), 18_712
BALANCER_S = 0.6
"""The wait for the balancer before the old server is stopped, as in any rolling restart.

The old server is stopped once the balancer has seen the new one, here after three of its checks.
"""
HAPROXY = f"""
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{HAPROXY_PORT}
  default_backend servers
backend servers
  option httpchk GET /v2/health/ready
  option redispatch
  default-server check inter 200ms fall 1 rise 1
  server one 127.0.0.1:{PORTS[0]}
  server two 127.0.0.1:{PORTS[1]}
"""


class Clients:
    """What they were answered, and what they lost."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.answered, self.lost = Counter[str](), Counter[str]()
        self.reasons: list[str] = []
        self.versions: set[str] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(way,))
            for _ in range(CLIENTS // len(WAYS))
            for way in WAYS
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, way: str) -> None:
        connection = None
        while not self._stop.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    connection = None
                    time.sleep(0.01)
                    continue
            try:
                connection.request(
                    "POST",
                    "/v1/models/conformance:predict",
                    *wire(WAYS[way]),
                )
                reply = connection.getresponse()
                text = reply.read()
            except (OSError, http.client.HTTPException) as error:
                self._lose(way, repr(error))
                connection = None
                continue
            with self._lock:
                self.answered[way] += 1
            if reply.status != 200:
                self._lose(way, f"{reply.status} {text[:100]!r}")
            else:
                self.versions.add(json.loads(text)["model_version"])
            if reply.will_close:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _lose(self, way: str, reason: str) -> None:
        with self._lock:
            self.lost[way] += 1
            self.reasons.append(f"{way}: {reason}")

    def show(self, what: str) -> None:
        """Print what was answered and lost since the last time."""
        with self._lock:
            for way in WAYS:
                print(f"{what}, {way}: {self.answered[way]} answered, {self.lost[way]} lost")
            print(*self.reasons[:3], sep="\n", end="\n" * bool(self.reasons), flush=True)
            self.answered.clear()
            self.lost.clear()
            self.reasons.clear()

    def stop(self) -> None:
        """End them all."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def wire(pieces: list[bytes]) -> tuple[bytes | Iterator[bytes], dict[str, str]]:
    """Body and headers as http.client takes them: an iterator goes out in chunks."""
    body = pieces[0] if len(pieces) == 1 else iter(pieces)
    return body, {"Content-Type": "application/json"}


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that is ready."""
    command = [
        sys.executable,
        "-m",
        "seatrial",
        "serve",
        str(folder),
        "--http-port",
        str(port),
        "--no-metrics",
        "--no-grpc",
        "--log-level",
        "warning",
    ]
    server = subprocess.Popen(command)
    wait_until_ready(port)
    return server


def wait_until_ready(port: int) -> None:
    """Until whoever listens there says so."""
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)


def start_haproxy(scratch: Path) -> subprocess.Popen[bytes]:
    """haproxy before both ports, once it sees the first server ready."""
    config = scratch / "haproxy.cfg"
    config.write_text(HAPROXY)
    proxy = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(config)])
    wait_until_ready(HAPROXY_PORT)
    return proxy


def main(reloads: int, restarts: int, haproxy: bool) -> None:
    """Print what was lost."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "bundles")
        seal(folder)
        server = start(folder, PORTS[0])
        proxy = start_haproxy(Path(scratch)) if haproxy else None
        clients = Clients(HAPROXY_PORT if haproxy else PORTS[0])
        for turn in range(1, reloads + 1):
            seal(folder, f"1.0.{turn}")
            server.send_signal(signal.SIGHUP)
            while f"1.0.{turn}" not in clients.versions:
                time.sleep(0.005)
            shutil.rmtree(folder / "conformance" / f"1.0.{turn - 1}")
        clients.show(f"{reloads} reloads")
        for turn in range(1, restarts + 1):
            following = start(folder, PORTS[turn % 2])
            if haproxy:
                time.sleep(BALANCER_S)
            else:
                clients.target = PORTS[turn % 2]
            server.terminate()
            assert server.wait(60) == 0
            server = following
        clients.stop()
        clients.show(f"{restarts} restarts")
        for process in filter(None, (server, proxy)):
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    counts = [int(value) for value in sys.argv[1:] if value.isdigit()]
    main(*(counts or (100, 50)), haproxy="--haproxy" in sys.argv)
