"""Servers on one core, asked in turns by wrk on the other: what several measurements share."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from embeddings import TICK, loaded

ROTATE = """
function init(args)
  bodies, turn = {}, 0
  for line in io.lines(args[1]) do bodies[#bodies + 1] = line end
  wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
end
function request()
  turn = turn % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[turn])
end
function done(summary)
  local bad = summary.errors
  io.write(string.format("%d %d\\n", summary.requests,
    bad.status + bad.connect + bad.read + bad.write + bad.timeout))
end
"""


class Served(NamedTuple):
    """A server and the path that is asked."""

    address: str
    path: str
    process: subprocess.Popen[str]


class Turn(NamedTuple):
    """What one server did in one turn."""

    rate: float
    """Requests a second."""
    cpu_s: float
    """Of the server, for each request."""


def on_one_core(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a server on the first core."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return subprocess.Popen(
        ["taskset", "-c", "0", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip


@contextmanager
def ours(bundles: Path, variant: str, path: str) -> Iterator[Served]:
    """`seatrial serve` with one variant."""
    serve = [sys.executable, "-m", "seatrial", "serve", str(bundles), "--variant", variant]
    process = on_one_core(
        [*serve, "--http-port", "0", "--metrics-port", "0", "--no-grpc", "--prove", "always"]
    )
    try:
        yield Served(loaded(process, 1), path, process)
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a server and its children."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


def ticks_of_tree(pid: int) -> int:
    """Processor time of a server and its children, those that ended among them."""
    booked = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8").rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == pid:  # the session's id
            booked += sum(map(int, fields[11:15]))
    return booked


def asked(served: Served, script: Path, bodies: Path, connections: int, seconds: int) -> Turn:
    """One turn of wrk; a longer one where the server had no time for a single answer."""
    before = ticks_of_tree(served.process.pid)
    url = f"http://{served.address}{served.path}"
    load = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout"]
    done = subprocess.run(
        [*load, "60s", "-s", str(script), url, "--", str(bodies)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    replies, bad = map(int, done.stdout.split("\n")[-2].split())
    passed = re.search(r"in ([0-9.]+)(m?s)", done.stdout)
    assert passed is not None
    assert not bad, done.stdout
    if not replies:
        return asked(served, script, bodies, connections, 2 * seconds)
    spent = (ticks_of_tree(served.process.pid) - before) / TICK
    return Turn(replies / float(passed[1]), spent / replies)


def in_turns(
    servers: Mapping[str, Served], lines: Sequence[str], folder: Path, rounds: int, seconds: int,
    connections: int,
) -> dict[str, list[Turn]]:  # fmt: skip
    """The turns of each server, one in each round; each round begins with another server.

    `lines` are the bodies of requests, JSON.
    """
    script, bodies = folder / "rotate.lua", folder / "bodies.jsonl"
    script.write_text(ROTATE)
    bodies.write_text("\n".join(lines) + "\n")
    turns: dict[str, list[Turn]] = {name: [] for name in servers}
    for place in range(rounds):
        names = list(servers)
        for name in names[place % len(names) :] + names[: place % len(names)]:
            turns[name].append(asked(servers[name], script, bodies, connections, seconds))
    return turns


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
