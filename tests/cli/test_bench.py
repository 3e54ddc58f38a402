"""`seatrial bench`: what it counts, where it finds the knee, and what it prints."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from click.testing import CliRunner
from support.pages import commands_of, page
from support.servers import Server, fetch
from support.toys import toy_bundle

from seatrial.bench import limit, target
from seatrial.bench.connection import LOST, TIMED_OUT
from seatrial.bench.load import Load, event_loop, rates_around
from seatrial.bench.steps import Step, Tally, knee_of, step_of
from seatrial.main import cli
from seatrial_contracts.errors import DeclarationError, Unavailable
from seatrial_serve.deploy import measure

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
Reply = Callable[[asyncio.StreamWriter], Any]


@asynccontextmanager
async def answering(replies: Iterator[Reply]) -> AsyncIterator[str]:
    """A server that answers each request by the next of `replies`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await next(replies)(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def status(code: int) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {code} X\r\nContent-Length: 2\r\n\r\nok".encode())

    return reply


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


def run(steps: Callable[[str], Any], replies: Iterator[Reply]) -> None:
    async def both() -> None:
        async with answering(replies) as url:
            await steps(url)

    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(both())


def test_each_end_of_a_request_is_counted_apart() -> None:
    found: list[Step] = []
    ends: list[Reply] = [status(200), status(503), status(429), status(500), hang_up]
    run(lambda url: Load(url, [REQUEST], 20.0).open(500, 0.4, found.append), cycle(ends))
    (step,) = found
    assert step.requests > 100
    assert step.timed_out == 0
    for count, share in ((step.answered, 1), (step.refused, 2), (step.failed, 2)):
        assert abs(count - share * step.requests / len(ends)) <= share
    assert step.rate == step.answered / step.seconds


def test_who_is_never_answered_times_out_and_adds_no_latency() -> None:
    found: list[Step] = []
    run(lambda url: Load(url, [REQUEST], 0.1).open(100, 0.3, found.append), cycle([say_nothing]))
    assert found[0].timed_out == found[0].requests > 0
    assert found[0].latency_s == {}


def test_arrivals_that_a_stall_kept_waiting_have_waited() -> None:
    """A closed loop of one connection sees one slow answer: coordinated omission."""
    stall_s = 0.5

    def replies() -> Iterator[Reply]:
        yield status(200)

        async def stalled(writer: asyncio.StreamWriter) -> None:
            time.sleep(stall_s)  # nothing of this process's server answers meanwhile
            await status(200)(writer)

        yield stalled
        yield from cycle([status(200)])

    found: list[Step] = []
    run(lambda url: Load(url, [REQUEST], 20.0).open(200, 1.0, found.append), replies())
    # Some 100 of 200 arrivals fall into the stall, and wait a quarter of a second on average.
    assert found[0].latency_s["p50"] > 0
    assert found[0].latency_s["p90"] > stall_s / 2


def test_the_closed_loop_has_so_many_requests_under_way() -> None:
    most, now = 0, 0

    async def reply(writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        await status(200)(writer)

    found: list[Step] = []
    run(lambda url: Load(url, [REQUEST], 20.0).closed(7, 0.3, found.append), cycle([reply]))
    assert most == 7
    # Little's law: connections = throughput x latency.
    assert found[0].rate * found[0].mean_s == pytest.approx(7, rel=0.2)


def test_the_knee_of_a_queue_is_where_theory_has_it() -> None:
    """M/M/1, 1,000 answers a second: power is at its most at half of that (Kleinrock 1979)."""

    def step(rate: float) -> Step:
        mean_s = 1 / (1000 - rate)
        return Step(rate, 1.0, round(rate), round(rate), 0, 0, 0, mean_s, {}, 0.0, 0.0)

    steps = [step(rate) for rate in range(100, 1000, 100)]
    knee = knee_of(steps)
    assert knee is not None
    assert knee.load == 500
    assert knee_of(steps[:5]) is None  # the load never went beyond it
    assert knee_of([]) is None


def test_quantiles_are_answers_that_there_were() -> None:
    tally = Tally(latencies_s=[place / 1000 for place in range(1, 1001)])
    found = step_of(1, 2.0, 0.5, tally)
    assert {name: found.latency_s[name] for name in ("p50", "p90", "p99", "max")} == {
        "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0,
    }  # fmt: skip
    assert found.latency_s["p99.9"] in (0.999, 1.0)
    assert found.rate == 500
    tally.count(LOST, 0, 1)
    tally.count(TIMED_OUT, 0, 1)
    assert (tally.failed, tally.timed_out) == (1, 1)


def test_rates_go_beyond_what_a_closed_loop_reached() -> None:
    rates = [*rates_around(100)]
    assert rates == sorted(rates)
    assert rates[0] < 100 < rates[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", "--connections", "1,0"], "want numbers above 0"),
        (["x", "--rates", "fast"], "want numbers above 0"),
        (["x", "--model", "churn"], "go with a server's URL"),
    ],
)
def test_what_cannot_be_measured_is_told_at_once(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["bench", *words])
    assert done.exit_code == 2
    assert said in done.output


def test_where_no_server_is_and_what_is_no_plot_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no server answers there"):
        CliRunner().invoke(cli, ["bench", "http://127.0.0.1:9"], catch_exceptions=False)
    with pytest.raises(DeclarationError, match=r"got the ending '\.pdf', want \.png"):
        words = ["bench", "x", "--plot", str(tmp_path / "x.pdf")]
        CliRunner().invoke(cli, words, catch_exceptions=False)


def test_a_bundle_stands_beside_a_server_that_has_another_name_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = toy_bundle(tmp_path)
    about = SimpleNamespace(name="blue", version="1.0.0", contract=bundle.contract, example=None)

    class Asked:
        def __init__(self, *of: Any, **how: Any) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *of: object) -> None: ...

        def describe(self) -> Any:
            return about

    monkeypatch.setattr(target, "Client", Asked)
    path = str(bundle.path)
    with target.at_url("http://127.0.0.1:9", "blue", path, None) as found:
        assert (found.name, found.rows_are) == ("blue", target.rows_of_bundle(bundle)[1])
    unnamed = target.at_url("http://127.0.0.1:9", None, path, None)
    with pytest.raises(DeclarationError, match=r"got toy 1\.0\.0, want blue 1\.0\.0"), unnamed:
        pass
    about.version = "1.1.0"
    named = target.at_url("http://127.0.0.1:9", "blue", path, None)
    with pytest.raises(DeclarationError, match=r"want blue 1\.1\.0"), named:
        pass


@pytest.mark.slow
def test_the_lines_of_the_page_measure_a_bundle_and_a_server(
    churn: Path, tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(churn / "bundles")
    server.wait_until_loaded()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(limit, "EACH_S", 0.01)
    Path("bundles").symlink_to(churn / "bundles")

    def run(line: str) -> str:
        words = shlex.split(line.replace("http://127.0.0.1:8000", server.url))[1:]
        done = CliRunner().invoke(cli, [*words, "--seconds", "0.1"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    *lines, kept, check = commands_of(page("how-to/bench.md"))
    shown, tensors, *remote = map(run, lines)
    assert "the runtime alone, fp32 on CPUExecutionProvider" in shown
    assert "open loop, Poisson arrivals" in shown
    assert "64 in each request, v2" in tensors
    text = Path("bench.html").read_text()
    assert "<svg" in text
    assert "the runtime alone" in text
    one, other = map(json.loads, remote)
    assert [step["rate"] for step in one["open"]] == [100, 200, 400]
    assert all(step["failed"] == 0 for step in (*one["closed"], *one["open"]))
    assert one["limit"] is None
    assert "rows drawn from the contract" in one["title"]
    assert other["limit"]["best_rows_per_s"] > 0
    assert [step["connections"] for step in other["closed"]] == [1, 8]

    line, file = kept.split(" > ")
    Path(file).write_text(run(line))
    subprocess.run(["bash", "-c", check], check=True, timeout=60)


def test_ctrl_c_while_the_server_is_started_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[subprocess.Popen[bytes]]()

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **how: Any) -> None:
            super().__init__([sys.executable, "-c", "import time; time.sleep(600)"], **how)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    bundle = toy_bundle(tmp_path)
    monkeypatch.setattr(measure.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), measure.running(bundle, 1, tmp_path):
        pytest.fail("it was interrupted before")
    assert started[0].wait(60) == -signal.SIGTERM


def answered(server: Server) -> int:
    found = re.search(
        r'^seatrial_requests_total\{code="ok"[^}]*\} (\d+)',
        fetch(server.metrics_url)[1],
        re.MULTILINE,
    )
    return int(found[1]) if found else 0


@pytest.mark.slow
def test_ctrl_c_shows_what_was_measured(churn: Path, serve: Callable[..., Server]) -> None:
    server = serve(churn / "bundles")
    server.wait_until_loaded()
    words = ["bench", server.url, "--connections", "1", "--seconds", "600", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "seatrial", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while answered(server) < 100:
        time.sleep(0.1)
    time.sleep(3)  # the warm-up takes half a second of it
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert told.endswith("stopped\n")
    (step,) = json.loads(said)["closed"]
    assert step["answered"] > 0
