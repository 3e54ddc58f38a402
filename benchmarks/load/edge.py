"""The cost of TLS and of keys: requests a second, and processor time a request, against neither.

    python benchmarks/load/edge.py BUNDLES BODIES [ROUNDS [CONNECTIONS]]

BUNDLES holds tabular and BODIES its requests (`benchmarks/harness/seal_harness.py` makes both); wrk
and openssl are needed. Four servers run at once on core 0, wrk on core 1, and get the load in turns
over connections that are kept, so that whatever else the machine does falls on all: without either,
with TLS, with a file of 1,000 keys, with both. Processor time is the kernel's count for the
server's threads. Each turn gives ratios to the first; their medians count, and between their
quartiles lies half of them.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from turns import ROTATE

from seatrial_serve.access.keys_file import new_entry, read_keys

SECONDS, KEYS = 2, 1000


class Running:
    """A server of its own on free ports."""

    def __init__(self, bundles: str, key: str, *flags: str) -> None:
        """`key`: what requests carry, or no text."""
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        serve = ["taskset", "-c", "0", sys.executable, "-m", "seatrial", "serve", bundles]
        ports = ["--http-port", "0", "--metrics-port", "0", "--no-grpc", "--threads", "1"]
        self.process = subprocess.Popen([*serve, *ports, *flags], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.url, line = "", " "
        while line and "tabular 1.0.0 passed its load gate" not in line:
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
        self._asks.request("GET", "/v2/models/tabular/stats", headers=self._headers)
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
        for name, value in self._headers.items():
            wrk += ["-H", f"{name}: {value}"]
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


def many_keys(file: Path) -> str:
    """A file of keys; return one of them. The others have its hash, and ids of their own."""
    entry, key = new_entry(file, "asked", ("infer", "read"))
    others = [
        f'[[keys]]\nid = "{secrets.token_hex(6)}"\nname = "other {place}"\n'
        f'scopes = ["infer"]\nhash = "{entry.hash}"\n'
        for place in range(KEYS - 1)
    ]
    file.write_text(file.read_text() + "".join(others))
    assert len(read_keys(file).keys) == KEYS
    return key


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
        tls, file = certificate(folder), folder / "keys.toml"
        key = many_keys(file)
        keys = ["--api-keys", str(file)]
        servers = {
            "neither": Running(bundles, ""), "TLS": Running(bundles, "", *tls),
            "keys": Running(bundles, key, *keys), "both": Running(bundles, key, *tls, *keys),
        }  # fmt: skip
        seen: dict[str, list[tuple[float, float]]] = {each: [] for each in servers}
        names = list(servers)
        for turn in range(rounds):
            for each in names[turn % 4 :] + names[: turn % 4]:
                seen[each].append(servers[each].load(script, bodies, connections))
        for server in servers.values():
            server.process.terminate()
            server.process.wait(30)
    for each, turns in seen.items():
        rate, us = np.median(turns, axis=0)
        ratios = np.array(turns) / np.array(seen["neither"])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75), axis=0)
        print(
            f"{connections} connections, {each}: {rate:.0f}/s at {us:.1f} us; {middle[0]:.3f} of "
            f"the rate ({low[0]:.3f} to {high[0]:.3f}), {middle[1]:.3f} times the processor time "
            f"({low[1]:.3f} to {high[1]:.3f})"
        )


if __name__ == "__main__":
    main()
