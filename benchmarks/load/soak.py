"""A soak: good, bad and leaving clients and reloads against one server, and its memory's slope.

    python benchmarks/load/soak.py [SECONDS] [--leak]

After a fifth of the time, which warms the server up, the memory's slope is fitted by Theil and Sen
over the requests answered: at most 1 MiB for each 10,000. Files, threads and tasks must be as many
at the end as then. `--leak` keeps a part of every request in the server, on purpose: the check must
fail, or it proves nothing. Exit code 1 where memory grows.
"""

from __future__ import annotations

import http.client
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from scipy.stats import theilslopes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from refusals.case import ROW, rows, v1  # noqa: E402  (found through the line above)
from refusals.media_cases import photo  # noqa: E402  (as above)
from refusals.sealed import picture, seal  # noqa: E402  (as above)
from support.conformance import seal as seal_conformance  # noqa: E402  (as above)

PORT, CLIENTS, RELOAD_S, SAMPLE_S = 18_720, 6, 15.0, 1.0
MOST_MIB = 1.0
LEAK = """
import sys
from seatrial_serve.scheduling.batcher import Batcher
kept, submit = [], Batcher.submit
def leaking(self, rows, **options):
    kept.append(bytes(2048))
    return submit(self, rows, **options)
Batcher.submit = leaking
from seatrial.main import main
main()
"""


class Counted:
    """Requests answered, and what was wrong with the others."""

    def __init__(self) -> None:
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.answered, self.wrong = 0, []

    def add(self, status: int, want: int) -> None:
        with self.lock:
            self.answered += 1
            if status != want:
                self.wrong.append(f"{status}, want {want}")


def client(counted: Counted, seed: int) -> None:
    """Send good rows over one kept connection, bad rows, and pictures.

    Now and then the client leaves in the middle.
    """
    dice = random.Random(seed)
    good, bad, image = (
        rows(*[ROW] * 8),
        [rows({**ROW, "x": 412.0}), v1(b"{"), v1(b"[" * 5000)],
        photo(picture(size=(200, 100))),
    )
    while not counted.stop.is_set():
        with socket.create_connection(("127.0.0.1", PORT), 30) as sock:
            for _ in range(200):
                if counted.stop.is_set():
                    return
                draw = dice.random()
                data, want = (
                    (good, 200)
                    if draw < 0.7
                    else (image, 200)
                    if draw < 0.8
                    else (dice.choice(bad), 400)
                )
                if draw > 0.99:
                    sock.sendall(data[: len(data) // 2])
                    break
                sock.sendall(data)
                if draw > 0.98:
                    break
                reply = http.client.HTTPResponse(sock)
                reply.begin()
                reply.read()
                counted.add(reply.status, want)


def main(seconds: float, leak: bool) -> int:
    """Soak, and print what was found."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seal(folder)
        start = ["-c", LEAK] if leak else ["-m", "seatrial"]
        server = subprocess.Popen(
            [
                sys.executable,
                *start,
                "serve",
                str(folder),
                "--http-port",
                str(PORT),
                "--no-grpc",
                "--no-metrics",
                "--log-level",
                "error",
            ]
        )
        wait_until_ready()
        counted, process = Counted(), psutil.Process(server.pid)
        threads = [threading.Thread(target=client, args=(counted, seed)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        samples, begun, turn, warm = [], time.monotonic(), 0, None
        while (spent := time.monotonic() - begun) < seconds:
            time.sleep(SAMPLE_S)
            if spent > (turn + 1) * RELOAD_S:
                turn += 1
                seal_conformance(folder, f"1.0.{turn}")
                shutil.rmtree(folder / "conformance" / f"1.0.{turn - 1}")
                server.send_signal(signal.SIGHUP)
            if spent > seconds / 5:
                warm = warm or (process.num_fds(), process.num_threads())
                samples.append((counted.answered, process.memory_info().rss / 2**20))
        counted.stop.set()
        for thread in threads:
            thread.join()
        now = process.num_fds() - CLIENTS, process.num_threads()
        server.terminate()
        server.wait(60)
    slope, _, low, high = theilslopes([mib for _, mib in samples], [count for count, _ in samples])
    print(
        f"{counted.answered} answered in {seconds:g} s with {turn} reloads, "
        f"{len(counted.wrong)} otherwise than they should {counted.wrong[:3]}"
    )
    print(
        f"memory {samples[0][1]:.1f} -> {samples[-1][1]:.1f} MiB; "
        f"slope {slope * 1e4:.3f} MiB for each 10,000 requests "
        f"(95%: {low * 1e4:.3f} to {high * 1e4:.3f})"
    )
    print(f"files and threads {warm} -> {now}")
    grows = slope * 1e4 > MOST_MIB
    print("memory grows" if grows else "memory does not grow")
    return int(grows or bool(counted.wrong))


def wait_until_ready() -> None:
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(
        main(
            next((float(value) for value in sys.argv[1:] if value[0].isdigit()), 600.0),
            "--leak" in sys.argv,
        )
    )
