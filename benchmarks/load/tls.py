"""The cost of TLS: requests a second and processor time a request, with TLS against without.

    python benchmarks/load/tls.py BUNDLES BODIES [ROUNDS [CONNECTIONS]]

BUNDLES holds tabular and BODIES its requests (`benchmarks/harness/seal_harness.py` makes both); wrk
and openssl are needed. Both servers run at once on core 0, wrk on core 1, and get the load in turns
over connections that are kept, so that whatever else the machine does falls on both. Processor time
is the kernel's count for the server's threads. Each turn gives a ratio; their median counts, and
between its quartiles lies half of them.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from turns import ROTATE

SECONDS = 2


class Running:
    """A server of its own on free ports."""

    def __init__(self, bundles: str, *flags: str) -> None:
        serve = ["taskset", "-c", "0", sys.executable, "-m", "seatrial", "serve", bundles]
        ports = ["--http-port", "0", "--metrics-port", "0", "--no-grpc", "--threads", "1"]
        self.process = subprocess.Popen([*serve, *ports, *flags], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.url, line = "", " "
        while line and "passed its load gate" not in line:
            line = self.process.stderr.readline()
            said = re.search(r"https?://[\d.:]+", line)
            self.url = said[0] if said else self.url
        assert line, "the server did not start"

        scheme, _, place = self.url.partition("://")
        self._asks = http.client.HTTPConnection(place, timeout=30)
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._asks = http.client.HTTPSConnection(place, timeout=30, context=context)

    def sample(self) -> np.ndarray:
        """Rows answered so far, seconds, and processor time of the threads in nanoseconds."""
        self._asks.request("GET", "/v2/models/tabular/stats")
        said = json.load(self._asks.getresponse())["model_stats"][0]
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        spent = sum(int((each / "schedstat").read_text("ascii").split()[0]) for each in threads)
        return np.array([said["inference_count"], time.monotonic(), spent])

    def load(self, script: Path, bodies: Path, connections: int) -> tuple[float, float]:
        """Requests a second, and microseconds of processor time for each.

        Both are counted once the connections are there, so that no handshake is among them.
        """
        wrk = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{SECONDS + 2}s"]
        url = f"{self.url}/v1/models/tabular:predict"
        with subprocess.Popen(
            [*wrk, "-s", str(script), url, "--", str(bodies)], stdout=subprocess.PIPE, text=True
        ) as running:
            time.sleep(1)
            before = self.sample()
            time.sleep(SECONDS)
            rows, passed_s, spent_ns = self.sample() - before
            said, _ = running.communicate()
        assert said.split("\n")[-2].split()[1] == "0", said
        return rows / passed_s, spent_ns / rows / 1e3


def certificate(folder: Path) -> list[str]:
    """Flags of a server with a certificate of its own, P-256."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    more = ["-nodes", "-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
    subprocess.run([*make, *more], check=True, capture_output=True)
    return ["--tls-cert", str(cert), "--tls-key", str(key)]


def main() -> None:
    bundles, bodies_of = sys.argv[1], Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    connections = int(sys.argv[4]) if len(sys.argv) > 4 else 64
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script, bodies = folder / "rotate.lua", folder / "bodies.jsonl"
        script.write_text(ROTATE)
        lines = [each.read_text("utf-8").strip() for each in sorted(bodies_of.iterdir())]
        bodies.write_text("\n".join(lines) + "\n")
        plain, tls = Running(bundles), Running(bundles, *certificate(folder))
        seen: dict[Running, list[tuple[float, float]]] = {plain: [], tls: []}
        for turn in range(rounds):
            for server in (plain, tls) if turn % 2 else (tls, plain):
                seen[server].append(server.load(script, bodies, connections))
        for server in (plain, tls):
            server.process.terminate()
            server.process.wait(30)
    ratios = np.array(seen[tls]) / np.array(seen[plain])
    (low, rate, high), (low_us, us, high_us) = np.quantile(ratios, (0.25, 0.5, 0.75), axis=0).T
    (plain_rate, plain_us), (tls_rate, tls_us) = (
        np.median(seen[server], axis=0) for server in (plain, tls)
    )
    print(
        f"{connections} connections: {plain_rate:.0f}/s at {plain_us:.0f} us without TLS, "
        f"{tls_rate:.0f}/s at {tls_us:.0f} us with: {rate:.2f} of the rate ({low:.2f} to "
        f"{high:.2f}), {us:.2f} times the processor time ({low_us:.2f} to {high_us:.2f})"
    )


if __name__ == "__main__":
    main()
