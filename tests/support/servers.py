"""A `seatrial serve` of our own, for tests that want real sockets."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.receipt import Receipt
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

ROOT = Path(__file__).resolve().parents[2]
OURS = (sys.executable, "-m", "seatrial", "serve")
EXAMPLES = ("penguins", "digits", "sentences", "photos")


class Server:
    """A `seatrial serve` of our own, on free ports of the loopback."""

    def __init__(
        self,
        bundles: Path | str,
        *flags: str,
        program: Sequence[str] = OURS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`context`: a client's, of a server over TLS."""
        command = [
            *program,
            str(bundles),
            "--http-port",
            "0",
            "--grpc-port",
            "0",
            "--metrics-port",
            "0",
            *flags,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.log: list[str] = []
        self._context = context
        self._found = threading.Event()
        self.url = self.metrics_url = self.grpc = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._found.wait(60)
        assert self.url, "".join(self.log)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            said = re.search(r"((https?)://[0-9.]+:\d+).*metrics on port (\d+)", line)
            if said:
                self.url, self.metrics_url = said[1], f"{said[2]}://127.0.0.1:{said[3]}/metrics"
            listens = re.search(r"gRPC on port (\d+)", line)
            if listens:
                self.grpc = f"127.0.0.1:{listens[1]}"
            if self.url and self.grpc:
                self._found.set()
        self._found.set()

    def wait_until_loaded(self, within_s: float = 60) -> tuple[int, str]:
        """Status and body of the readiness route once nothing is loading any more."""
        end = time.monotonic() + within_s
        while True:
            status, body = fetch(f"{self.url}/v2/health/ready", self._context)
            if '"LOADING"' not in body:
                return status, body
            assert time.monotonic() < end, body
            time.sleep(0.1)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()


def fetch(url: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=30, context=context) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def tried_in_every_way(bundles: Path, bundle: Bundle) -> Receipt:
    """The trial of a bundle that a server of its own answers, over HTTP and gRPC."""
    server = Server(bundles)
    try:
        server.wait_until_loaded()
        asked = TrialRequest(bundle, url=server.url, grpc=server.grpc)
        return try_bundle(asked, ["http v1", "v2 json", "v2 binary", "grpc"])
    finally:
        server.stop()
