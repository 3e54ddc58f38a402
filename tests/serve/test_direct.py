"""Small requests on their direct way and over ASGI.

What clients see is the same, in order, whatever came before or beside.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import Mock

import numpy as np
import pytest
import uvicorn
from support.changed_bundles import TOKENIZER
from support.running import Running, run_app
from support.toys import fake_runtimes, toy_bundle, toy_manifest
from test_admission import Held, held_app, not_a_number_for_13
from uvicorn.server import ServerState

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.errors import ModelError, OutOfMemory
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.tokenised import Tokenise
from seatrial_contracts.profile import DriftFeatures
from seatrial_serve import server
from seatrial_serve.api.direct import DirectWay
from seatrial_serve.http import connection
from seatrial_serve.http.connection import StrictProtocol
from seatrial_serve.http.direct import MOST_BYTES
from seatrial_serve.http.sockets import listen
from seatrial_serve.inference import engine
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.budget import Places
from seatrial_serve.process.reloads import Reloads
from seatrial_serve.runtimes.fake import FakeRuntime

WAYS = ["direct", "asgi"]
PATH = "/v1/models/toy:predict"


class Wire:
    """The transport of a connection, and what was written on it."""

    def __init__(self) -> None:
        self.written, self.closed, self.ended, self.paused = b"", False, False, False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("10.0.0.1", 4000) if name in ("peername", "sockname") else default

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Client:
    """A client's end of one connection, without a socket."""

    def __init__(self, served: Served) -> None:
        self.wire, self._read = Wire(), 0
        self.protocol = StrictProtocol(
            config=served.config,
            server_state=served.state,
            app_state={},
            direct=served.direct,
            places=served.places,
        )
        self.protocol.connection_made(self.wire)  # type: ignore[arg-type]

    def say(self, *packets: bytes) -> None:
        for packet in packets:
            self.protocol.data_received(packet)

    def leave(self) -> None:
        self.protocol.eof_received()
        self.wire.closed = True
        self.protocol.connection_lost(None)

    async def hear(self, count: int = 1) -> list[tuple[int, dict[str, str], Any]]:
        """So many answers: status, headers and JSON."""
        return [await self._one() for _ in range(count)]

    async def _one(self) -> tuple[int, dict[str, str], Any]:
        while b"\r\n\r\n" not in self.wire.written[self._read :]:
            await asyncio.sleep(0)
        head, _, rest = self.wire.written[self._read :].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        size = int(headers["content-length"])
        while len(rest) < size:
            await asyncio.sleep(0)
            rest = self.wire.written[self._read + len(head) + 4 :]
        self._read += len(head) + 4 + size
        return int(lines[0].split()[1]), headers, json.loads(rest[:size])


class Served:
    """An app behind our connections; `way` says whether small requests go there directly."""

    def __init__(self, running: Running, way: str) -> None:
        self.running, self.state = running, ServerState()
        self.config = uvicorn.Config(
            running.app, http=StrictProtocol, lifespan="off", log_config=None
        )
        self.config.load()
        exchanges = running.app._exchanges
        self.direct = DirectWay(exchanges, running.app.forms) if way == "direct" else None
        self.places = Places(1000)

    @property
    def model(self) -> Any:
        entry = self.running.repository.find("toy")
        assert entry is not None
        return entry.ready_model()

    def untouched(self) -> bool:
        """Is nothing on its way, nor held?"""
        exchanges = self.running.app._exchanges
        return (
            exchanges.drain.in_flight,
            exchanges.budget.held_bytes,
            self.model.backlog.users,
            self.model._holders,
        ) == (0, 0, 0, 0)


@asynccontextmanager
async def serving(folder: Path, way: str, **options: Any) -> AsyncIterator[Served]:
    toy_bundle(folder, limits=options.pop("limits", None))
    async with run_app(folder, **options) as running:
        yield Served(running, way)


def post(value: Any, path: str = PATH, **headers: str) -> bytes:
    """A request with this JSON, or these bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    more = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def row(x: float, word: str = "a") -> dict[str, Any]:
    return {"x": x, "word": word}


def ask(*xs: float, **headers: str) -> bytes:
    return post({"instances": [row(x) for x in xs]}, **headers)


def twice(answer: tuple[int, dict[str, str], Any]) -> list[float]:
    assert answer[0] == 200, answer
    return [each["twice"] for each in answer[2]["predictions"]]


def tensors(*xs: float) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [len(xs)], "data": list(xs)},
            {"name": "word", "datatype": "BYTES", "shape": [len(xs)], "data": ["a"] * len(xs)},
        ]
    }


@pytest.mark.parametrize("way", WAYS)
async def test_sixty_four_clients_with_rows_of_their_own_get_their_own_answers(
    tmp_path: Path, runtime: FakeRuntime, way: str
) -> None:
    async with serving(tmp_path, way) as served:
        clients = [Client(served) for _ in range(64)]
        for turn in range(3):
            for place, client in enumerate(clients):
                client.say(ask(place + turn / 4))
            for place, client in enumerate(clients):
                assert twice((await client.hear())[0]) == [2 * (place + turn / 4)]
        assert max(runtime.batches) > 8, "those that came together ran together"
        assert served.untouched()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "request_", [ask(3.5), post(tensors(3.5), "/v2/models/toy/infer")], ids=["v1", "v2"]
)
async def test_a_request_cut_at_any_byte_is_answered_as_it_is_uncut(
    tmp_path: Path, runtime: FakeRuntime, way: str, request_: bytes
) -> None:
    async with serving(tmp_path, way) as served:
        client = Client(served)
        client.say(request_)
        [(status, _, whole)] = await client.hear()
        assert status == 200
        for cut in range(1, len(request_)):
            client.say(request_[:cut], request_[cut:])
            [(status, _, said)] = await client.hear()
            assert (status, said) == (200, whole), cut
        client.say(*(request_[place : place + 1] for place in range(len(request_))))
        assert (await client.hear())[0][2] == whole
        assert served.untouched()


async def test_a_head_that_came_before_is_not_parsed_again_and_means_the_same(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    async with serving(tmp_path, "direct") as served:
        first, second = Client(served), Client(served)
        head, _, body = ask(3.5, Content_Type="application/json").partition(b"\r\n\r\n")
        one = head + b"\r\n\r\n" + body
        first.say(one)
        assert twice((await first.hear())[0]) == [7.0]
        parser, second.protocol.parser = second.protocol.parser, None
        second.say(one.replace(b"3.5", b"4.5"))
        assert twice((await second.hear())[0]) == [9.0], "no parser was asked"
        second.protocol.parser = parser
        second.say(one[:-3], one[-3:])
        second.say(one + one[:40], one[40:])
        second.say(b"\r\n", one)
        assert [twice(each) for each in await second.hear(4)] == [[7.0]] * 4
        second.say(one + b"BAD\r\n\r\n")
        good, refused = await second.hear(2)
        assert (twice(good), refused[2]["code"]) == ([7.0], "E_HTTP")


async def test_no_head_is_learnt_from_bytes_in_the_middle_of_a_request(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    async with serving(tmp_path, "direct") as served:
        client = Client(served)
        rest = ask(1).replace(f" {PATH} HTTP/1.1".encode(), b" odd", 1)
        client.say(b"POST /v1/models/toy:predict HTTP/1.1\r\nX-Odd: ", rest)
        assert twice((await client.hear())[0]) == [2.0]
        assert served.direct is not None
        assert not served.direct.heads._heads
        other = Client(served)
        other.say(rest)
        assert (await other.hear())[0][0] == 400
        assert other.wire.ended
        for unlike in (
            ask(1, X_Request_Id="a"),
            ask(1, Connection="close"),
            ask(1, X_Long="a" * 4000),
        ):
            Client(served).say(unlike)
        assert not served.direct.heads._heads
        for place in range(300):
            Client(served).say(ask(1, X_Place=str(place)))
        assert len(served.direct.heads._heads) == served.direct.heads.MOST
        while not served.untouched():
            await asyncio.sleep(0)


async def test_a_body_that_stays_away_is_read_over_asgi_whose_rules_for_slow_bodies_hold(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, "direct", request_timeout_s=1.0) as served:
        client = Client(served)
        client.say(ask(3.0)[:-10])
        assert client.protocol._asked is not None
        client.protocol._by_asgi_if_unread()
        client.say(ask(3.0)[-10:-5])
        await asyncio.sleep(0)
        client.say(ask(3.0)[-5:])
        assert twice((await client.hear())[0]) == [6.0]
        assert served.untouched()


@pytest.mark.parametrize("way", WAYS)
async def test_good_bad_and_slow_requests_in_one_packet_are_answered_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    held = Held(monkeypatch)
    async with serving(tmp_path, way) as served:
        await held_app(served.running)
        held.gate.clear()
        client = Client(served)
        live = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        bad = post(b"{}")
        client.say(
            ask(1)
            + bad
            + live
            + ask(2)
            + post(b"no json")
            + ask(3)
            + post({}, "/v1/models/none:predict")
        )
        while served.model.batcher.idle:
            await asyncio.sleep(0)
        assert client.wire.written == b"", "nothing overtakes the slow one"
        held.gate.set()
        said = await client.hear(7)
        assert [each[0] for each in said] == [200, 400, 200, 200, 400, 200, 404]
        assert [twice(said[place]) for place in (0, 3, 5)] == [[2.0], [4.0], [6.0]]
        client.say(ask(4))
        assert twice((await client.hear())[0]) == [8.0], "and the connection goes on"
        assert served.untouched()


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_no_http_behind_a_good_request_is_said_after_its_answer(
    tmp_path: Path, runtime: FakeRuntime, way: str
) -> None:
    async with serving(tmp_path, way) as served:
        client = Client(served)
        client.say(ask(1) + b"BAD\r\n\r\n")
        good, refused = await client.hear(2)
        assert (twice(good), refused[0], refused[2]["code"]) == ([2.0], 400, "E_HTTP")
        assert client.wire.ended


REFUSED = {
    "no row": post({"instances": []}),
    "a value out of range": ask(101),
    "no JSON": post(b"{"),
    "nothing": post(b""),
    "another type": ask(1, Content_Type="text/html"),
    "no such model": post({}, "/v1/models/none:predict"),
    "no such version": post({}, "/v1/models/toy/versions/9:predict"),
    "no number": ask(1, X_Request_Timeout_Ms="soon"),
    "partial or not": ask(1, X_Partial="2"),
    "too many rows": post({"instances": [row(1)] * 1025}),
    "a tensor that is not there": post(
        {"inputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}]},
        "/v2/models/toy/infer",
    ),
    "a header of another length": post(
        tensors(1), "/v2/models/toy/infer", Inference_Header_Content_Length="9999"
    ),
    "a body too long": post({"instances": [row(1)], "more": "x" * 4000}),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_the_same_on_either_way(
    tmp_path: Path, runtime: FakeRuntime, request_: bytes
) -> None:
    said = []
    limits = st.Limits(max_body_bytes=100_000 if len(request_) > 20_000 else 3000)
    async with serving(tmp_path, "asgi", limits=limits) as asgi:
        for way in WAYS:
            served = Served(asgi.running, way)
            client = Client(served)
            client.say(request_)
            [(status, headers, value)] = await client.hear()
            assert value.pop("request_id") == headers.pop("x-request-id")
            if way == "direct":
                assert not served.state.total_requests or not served.state.tasks
            said.append((status, {k: v for k, v in headers.items() if k != "connection"}, value))
            client.say(ask(1))
            if "connection" not in headers:
                assert twice((await client.hear())[0]) == [2.0]
            while not served.untouched():
                await asyncio.sleep(0)
    assert said[0] == said[1]
    assert said[0][0] >= 400


ANSWERED = {
    "rows": ask(1, 2, 3),
    "columns": post({"inputs": {"x": [1, 2], "word": ["a", "b"]}}),
    "many rows": ask(*range(100)),
    "tensors": post(tensors(1, 2), "/v2/models/toy/infer"),
    "binary": post(
        {**tensors(1), "parameters": {"binary_data_output": True}}, "/v2/models/toy/infer"
    ),
    "partial": post({"instances": [row(1), row(101), row(3)]}, X_Partial="1"),
    "an id": ask(1, X_Request_Id="mine"),
    "a label": post({"instances": [row(1)]}, "/v1/models/toy/versions/1.0.0:predict"),
    "compressed": ask(*range(100), Accept_Encoding="gzip"),
    "the last": ask(1, Connection="close"),
    "a query": post({"instances": [row(1)]}, PATH + "?a=1"),
    "a slash": post({"instances": [row(1)]}, "//v1/models/toy:predict"),
}


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED)
async def test_an_answer_is_the_same_on_either_way(
    tmp_path: Path, runtime: FakeRuntime, request_: bytes
) -> None:
    said = []
    for way in WAYS:
        async with serving(tmp_path / way, way) as served:
            client = Client(served)
            client.say(request_)
            while not client.wire.written or not served.untouched():
                await asyncio.sleep(0)
            head, _, body = client.wire.written.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            kept = sorted(
                line
                for line in head.split(b"\r\n")
                if not line.startswith(b"x-request-id") or b"mine" in line
            )
            said.append((kept, body, client.wire.closed))
            done = served.model.metrics.statistics
            assert (done.succeeded, done.failed, done.fronts) == (1, 0, 1)
    assert said[0] == said[1]


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_says_what_it_took_where_its_client_asks_for_that(
    tmp_path: Path, runtime: FakeRuntime, way: str
) -> None:
    async with serving(tmp_path, way) as served:
        client = Client(served)
        client.say(ask(1, 2, x_server_timing="1") + ask(1) + ask(1, x_server_timing="0"))
        (_, told, _), *untold = await client.hear(3)
        assert all("server-timing" not in headers for _, headers, _ in untold)
        spans = dict(part.split(";", 1) for part in told["server-timing"].split(", "))
        assert spans.keys() == {"front", "queue", "run", "encode", "total", "batch"}
        assert spans.pop("batch") == 'desc="2"'
        took = {name: float(text.removeprefix("dur=")) for name, text in spans.items()}
        total = took.pop("total")
        assert 0 < sum(took.values()) <= total + 0.005  # a phase is told to a microsecond


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_leaves_takes_its_waiting_row_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    held = Held(monkeypatch)
    async with serving(tmp_path, way) as served:
        await held_app(served.running)
        held.gate.clear()
        held.runtime.batches.clear()
        batcher = served.model.batcher
        first = [Client(served) for _ in range(2)]
        for slot, client in enumerate(first, 1):
            client.say(ask(slot))
            while batcher._slots - batcher._free < slot:
                await asyncio.sleep(0)
        leaver, stays = Client(served), Client(served)
        leaver.say(ask(7) + ask(8))
        stays.say(ask(9))
        while len(batcher._queue) < 2:
            await asyncio.sleep(0)
        leaver.leave()
        held.gate.set()
        assert [twice((await client.hear())[0]) for client in (*first, stays)] == [
            [2.0],
            [4.0],
            [18.0],
        ]
        assert held.runtime.batches == [1, 1, 1], "the row of whoever left never ran"
        assert leaver.wire.written == b""
        while not served.untouched():
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", WAYS)
async def test_while_draining_what_is_on_its_way_is_answered_and_its_connection_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    held = Held(monkeypatch)
    async with serving(tmp_path, way) as served:
        await held_app(served.running)
        held.gate.clear()
        asked, idle = Client(served), Client(served)
        asked.say(ask(5))
        while served.model.batcher.idle:
            await asyncio.sleep(0)
        served.running.drain.begin()
        for client in (asked, idle):
            client.protocol.shutdown()
        assert (asked.wire.closed, idle.wire.closed) == (False, True)
        held.gate.set()
        answer = (await asked.hear())[0]
        assert (twice(answer), answer[1]["connection"], asked.wire.closed) == (
            [10.0],
            "close",
            True,
        )
        assert served.untouched()


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_closes_is_not_lost_to_the_next_request_that_has_half_come(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(connection, "LINGER_BYTES", 100)
    async with serving(tmp_path, way) as served:
        served.running.drain.begin()
        for next_ in (ask(6)[:20], b""):
            client = Client(served)
            client.say(ask(5) + next_)
            assert twice((await client.hear())[0]) == [10.0]
            while not (client.wire.ended or client.wire.closed):
                await asyncio.sleep(0)
            assert (client.wire.ended, client.wire.closed) == (bool(next_), not next_)
            if next_:
                until_s = asyncio.get_running_loop().time() + connection.LINGER_S
                assert client.protocol._due_s <= until_s
                client.say(ask(6)[20:60])
                assert not client.wire.closed
                client.say(b"x" * 100)
                assert client.wire.closed, "it is read no further than its bound"


async def test_a_stop_ends_direct_requests_at_its_grace_as_it_ends_those_of_asgi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.0)
    held = Held(monkeypatch)
    async with serving(tmp_path, "direct") as served:
        await held_app(served.running)
        held.gate.clear()
        config = uvicorn.Config(
            served.running.app,
            http=partial(StrictProtocol, direct=served.direct),  # type: ignore[arg-type]
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=0,
        )
        config.load()
        lifecycle = Mock(ModelLifecycle, first_load_done=asyncio.Event())
        stopping = server.DrainingServer(
            config, served.running.drain, 0.0, lifecycle, None, nullcontext(), Mock(Reloads)
        )
        stopping.lifespan = config.lifespan_class(config)
        listening = listen("127.0.0.1", 0)
        await stopping.startup([listening])
        batcher, writers = served.model.batcher, []
        in_task, waiting = ask(1, X_Partial="1"), ask(3)
        for request in (in_task, *[ask(2)] * batcher._slots, waiting):
            _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            writers.append(writer)
            writer.write(request)
        while served.running.drain.in_flight < len(writers):
            await asyncio.sleep(0)
        [task] = stopping.server_state.tasks
        await stopping.shutdown([listening])
        while not served.untouched():
            await asyncio.sleep(0)
        assert task.cancelled()
        assert not held.gate.is_set()
        held.gate.set()
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_who_does_not_read_its_answers_is_answered_no_further(
    tmp_path: Path, runtime: FakeRuntime, way: str
) -> None:
    async with serving(tmp_path, way) as served:
        client = Client(served)
        client.say(ask(1))
        assert twice((await client.hear())[0]) == [2.0]
        client.protocol.pause_writing()
        client.say(ask(2))
        for _ in range(20):
            await asyncio.sleep(0)
        assert client.wire.written.count(b"HTTP/1.1") == 1
        client.protocol.resume_writing()
        assert twice((await client.hear())[0]) == [4.0]
        client.leave()
        assert served.untouched()


async def test_pipelined_requests_behind_a_direct_one_stop_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    async with serving(tmp_path, "direct") as served:
        await held_app(served.running)
        held.gate.clear()
        client = Client(served)
        client.say(ask(1), ask(2))
        assert client.wire.paused
        held.gate.set()
        assert [twice(each) for each in await client.hear(2)] == [[2.0], [4.0]]
        assert not client.wire.paused


@pytest.mark.parametrize("way", WAYS)
async def test_a_row_that_fails_takes_no_mate_with_it_and_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    fake_runtimes(monkeypatch, not_a_number_for_13)
    async with serving(tmp_path, way) as served:
        clients = [Client(served) for _ in range(16)]
        for turn in range(5):
            for x, client in enumerate(clients):
                client.say(ask(float(x)))
            said = [(await client.hear())[0] for client in clients]
            assert [twice(each) for x, each in enumerate(said) if x != 13] == [
                [2.0 * x] for x in range(16) if x != 13
            ]
            assert said[13][2]["code"] == ("E_OUTPUT_CONTRACT" if turn < 3 else "E_QUARANTINED")
        assert served.untouched()


@pytest.mark.parametrize("way", WAYS)
async def test_a_batch_too_large_for_the_memory_is_tried_once_more_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    runtime = fake_runtimes(monkeypatch)
    async with serving(tmp_path, way) as served:
        answer, tries = runtime.answer, []

        def short(feeds: Any) -> Any:
            tries.append(len(feeds["x"]))
            if len(feeds["x"]) > 2:
                raise OutOfMemory("too large")
            return answer(feeds)

        runtime.answer = short
        client = Client(served)
        client.say(ask(1, 2, 3, 4))
        assert twice((await client.hear())[0]) == [2.0, 4.0, 6.0, 8.0]
        assert max(tries) == 4
        assert served.untouched()


async def test_a_request_for_which_there_is_no_room_is_told_so_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    async with serving(tmp_path, "direct") as served:
        await held_app(served.running)
        model = served.model
        model.backlog._ended, model.backlog._busy_s = 1.0, 1.0
        held.gate.clear()
        first, late = Client(served), Client(served)
        first.say(ask(1))
        while not model.backlog.users:
            await asyncio.sleep(0)
        late.say(ask(2, X_Request_Timeout_Ms="1000"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert (late.wire.written, served.running.drain.in_flight) == (b"", 2)
        [(status, headers, value)] = await late.hear()
        assert (status, value["code"], headers["retry-after"]) == (503, "E_OVERLOADED", "2")
        held.gate.set()
        assert twice((await first.hear())[0]) == [2.0]


class Voyage(st.Row):
    text: Annotated[str, st.Text(tokenizer=TOKENIZER, max_chars=10_000, max_tokens=40)]


class Score(st.Answer):
    score: float


def text_bundle(folder: Path) -> None:
    """A model that answers how many tokens a text has, after its first one's id times 100."""
    contract = st.contract_from_rows(Voyage, Score)
    files = Voyage.model_fields["text"].metadata[0].front_files("text")
    golden = Golden(({"text": "a ship"},), ({"score": np.float32(102)},), ())
    profile = DriftFeatures(HostStage(contract, files)).profile(golden.rows, golden.answers)
    sealed = {
        CONTRACT: contract.to_json(),
        PROFILE: profile.to_json(),
        "graphs/toy.fake": b"tokens",
    }
    write_bundle(folder, toy_manifest(), {**sealed, **files, **golden.to_files()})


@pytest.mark.parametrize("rows", [3, 20], ids=["on the loop", "in a thread"])
@pytest.mark.parametrize("form", ["v1", "v2"])
async def test_texts_of_a_turn_are_tokenised_together_and_each_gets_its_own_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, form: str
) -> None:
    def tokens(feeds: Any) -> Any:
        return {
            "score": (feeds["text_ids"][:, 0] * 100 + feeds["text_mask"].sum(1)).astype(np.float32)
        }

    runtime = FakeRuntime(
        tokens, inputs={"text_ids": "int64", "text_mask": "int64"}, outputs=["score"]
    )
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
    text_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        served = Served(running, "direct")
        together, said = [], Tokenise.together
        monkeypatch.setattr(
            Tokenise,
            "together",
            lambda self, values: (together.append(len(values)), said(self, values))[1],
        )
        clients = [Client(served) for _ in range(rows + 2)]
        texts = [
            *(" ".join(["ship" if place % 2 else "a"] * (place + 1)) for place in range(rows)),
            "a " * 41,
            "a " * 600,
        ]
        for text, client in zip(texts, clients, strict=True):
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
            v2 = post({"inputs": [tensor]}, "/v2/models/toy/infer")
            client.say(post({"instances": [{"text": text}]}) if form == "v1" else v2)
        for place, client in enumerate(clients):
            [(status, _, value)] = await client.hear()
            if place >= rows:
                assert (status, value["code"]) == (400, "E_TOKENS")
                assert value["error"].startswith("input 'text', row 0: got a text of ")
                continue
            assert status == 200, value
            score = (
                value["predictions"][0]["score"] if form == "v1" else value["outputs"][0]["data"][0]
            )
            assert score == (200 if place % 2 else 100) + place + 1
        assert together == [rows + 1], "the long one went its own way"
        for text, client in zip(texts[:12], clients, strict=False):
            client.say(post({"instances": [{"text": text}, {"text": text}]}))
        leaver = clients[1]
        leaver.leave()
        for place, client in enumerate(clients[:12]):
            if client is not leaver:
                [(status, _, value)] = await client.hear()
                assert [each["score"] for each in value["predictions"]] == [
                    (200 if place % 2 else 100) + place + 1
                ] * 2
            if place == min(rows, 12) - 1:
                break
        while not served.untouched():
            await asyncio.sleep(0)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """The runtime of a model of texts, in the folder of this test."""
    runtime = FakeRuntime(
        lambda feeds: {"score": feeds["text_ids"][:, 0] * 100.0 + 2},
        inputs={"text_ids": "int64", "text_mask": "int64"},
        outputs=["score"],
    )
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
    text_bundle(tmp_path)
    return runtime


def ask_text(text: str, times: int = 1, **headers: str) -> bytes:
    return post({"instances": [{"text": text}] * times}, **headers)


@pytest.mark.parametrize(
    ("way", "clients", "rows"), [("direct", 1, 2), ("direct", 12, 1), ("asgi", 1, 2)]
)
async def test_a_text_is_told_at_its_deadline_although_no_thread_has_taken_it(
    tmp_path: Path, texts: FakeRuntime, way: str, clients: int, rows: int
) -> None:
    async with run_app(tmp_path) as running:
        served, gate = Served(running, way), threading.Event()
        for _ in range(8):  # more than there are threads
            served.model._host_stages.run(partial(gate.wait, 30), flow="others")
        asking = [Client(served) for _ in range(clients)]
        for client in asking:
            client.say(ask_text("a ship", rows, X_Request_Timeout_Ms="5"))
        for client in asking:
            [(status, _, value)] = await client.hear()
            assert (status, value["code"], gate.is_set()) == (504, "E_DEADLINE", False)
        gate.set()
        while not served.untouched():
            await asyncio.sleep(0)


async def test_a_client_with_many_texts_in_a_turn_does_not_stand_before_another(
    tmp_path: Path, texts: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[list[str]] = []
    both, encode_turn = threading.Barrier(2, timeout=60), ServedModel.encode_turn

    def encode(self: ServedModel, rows: Any) -> Any:
        jobs.append([row["text"] for row in rows])
        if len(jobs) <= 2:  # no thread takes a second job before the other has its first
            both.wait()
        return encode_turn(self, rows)

    monkeypatch.setattr(ServedModel, "encode_turn", encode)
    async with run_app(tmp_path) as running:
        served, gate = Served(running, "direct"), threading.Event()
        for _ in range(3):  # one more than there are threads
            served.model._host_stages.run(gate.wait, flow="first")
        crowd, other = [Client(served) for _ in range(100)], Client(served)
        other.protocol.address = "10.0.0.2"
        for client in (*crowd, other):
            client.say(ask_text("other" if client is other else "crowd"))
        while served.running.drain.in_flight < 101:
            await asyncio.sleep(0)
        gate.set()
        for client in (*crowd, other):
            assert (await client.hear())[0][0] == 200
        assert sorted(len(job) for job in jobs) == [5, 32, 32, 32]
        assert sum("other" in job for job in jobs[:2]) == 1, "two threads take two jobs at once"


@pytest.mark.parametrize("count", [3, 12], ids=["on the loop", "in a thread"])
async def test_a_text_at_which_the_tokenizer_raises_takes_no_mate_with_it(
    tmp_path: Path, texts: FakeRuntime, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    alone, together = Tokenise.__call__, Tokenise.together

    def raise_at_odd(value: str) -> None:
        if value == "odd":
            raise ValueError("no such word")

    def tokenise(self: Tokenise, value: str) -> Any:
        raise_at_odd(value)
        return alone(self, value)

    def tokenise_together(self: Tokenise, values: Any) -> Any:
        for value in values:
            raise_at_odd(value)
        return together(self, values)

    monkeypatch.setattr(Tokenise, "__call__", tokenise)
    monkeypatch.setattr(Tokenise, "together", tokenise_together)
    async with run_app(tmp_path) as running:
        served = Served(running, "direct")
        clients = [Client(served) for _ in range(count)]
        for place, client in enumerate(clients):
            client.say(ask_text("odd" if place == 1 else "a ship"))
        answers = [await client.hear() for client in clients]
        assert [answer[0][0] for answer in answers] == [200, 500] + [200] * (count - 2)
        while not served.untouched():
            await asyncio.sleep(0)


async def test_who_leaves_while_a_text_waits_for_its_batch_is_accounted_for_once(
    tmp_path: Path, texts: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_app(tmp_path) as running:
        served = Served(running, "direct")
        assert served.direct is not None
        served.model.batcher.rule = replace(served.model.batcher.rule, max_rows=1, deep_rows=0)
        clients = [Client(served) for _ in range(12)]
        encoded = served.direct._encoded

        def then_leave(*given: Any) -> None:
            encoded(*given)
            for client in clients[3:]:
                client.leave()

        def fail(feeds: Any) -> Any:
            raise ModelError("E_MODEL", "no")

        monkeypatch.setattr(served.direct, "_encoded", then_leave)
        texts.answer = fail
        for client in clients:
            client.say(ask_text("a ship"))
        for client in clients[:3]:
            [(status, _, _)] = await client.hear()
            assert status == 500
        while not (served.model.batcher.idle and served.untouched()):
            await asyncio.sleep(0)
        assert served.model.metrics.statistics.failed == 12


@pytest.mark.parametrize("way", WAYS)
async def test_who_leaves_before_its_task_begins_leaves_nothing_behind(
    tmp_path: Path, runtime: FakeRuntime, way: str
) -> None:
    async with serving(tmp_path, way) as served:
        for _ in range(3):
            client = Client(served)
            client.say(ask(1, X_Partial="1"))
            await asyncio.sleep(0)  # a task is made, which begins in the next turn of the loop
            client.leave()
            while served.state.tasks or not served.untouched():
                await asyncio.sleep(0)


@pytest.mark.parametrize("way", WAYS)
async def test_who_leaves_in_the_turn_in_which_it_asked_has_no_row_run(
    tmp_path: Path, runtime: FakeRuntime, way: str
) -> None:
    async with serving(tmp_path, way) as served:
        runtime.batches.clear()
        client = Client(served)
        client.say(ask(1))
        client.leave()
        while served.state.tasks or not served.untouched():
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert runtime.batches == []
        assert served.model.metrics.statistics.failed == 1


async def test_only_small_whole_posts_to_models_are_direct(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    async with serving(tmp_path, "direct") as served:
        direct = {
            "v1": ask(1),
            "v2": post(tensors(1), "/v2/models/toy/infer"),
            "with a type": ask(1, Content_Type="application/json"),
            "of another model": post({}, "/v1/models/none:predict"),
        }
        asgi = {
            "large": post({"instances": [row(1)], "more": "x" * MOST_BYTES}),
            "compressed": ask(1, Content_Encoding="gzip"),
            "feedback": post({}, "/v1/models/toy:feedback"),
            "awaited": ask(1, Expect="100-continue"),
            "queried": post({}, PATH + "?x"),
            "chunked": ask(1)
            .replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX-Length")
            .replace(b"\r\n\r\n", b"\r\n\r\n20\r\n"),
            "got": b"GET /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
        }
        for name, request in (direct | asgi).items():
            client = Client(served)
            client.say(request)
            assert bool(served.state.tasks) == (name in asgi), name
            client.leave()
            while served.state.tasks or not served.untouched():
                await asyncio.sleep(0)


async def test_a_failure_in_seatrial_is_told_to_its_client_alone(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, "direct") as served:
        clients = [Client(served) for _ in range(3)]
        checked = served.model.checked

        def broken(answer: Any) -> Any:
            if np.asarray(answer.parts[0].outputs["twice"])[answer.parts[0].start] == 4:
                raise ZeroDivisionError
            return checked(answer)

        served.model.checked = broken
        for x, client in enumerate(clients, 1):
            client.say(ask(x))
        said = [(await client.hear())[0] for client in clients]
        assert [each[0] for each in said] == [200, 500, 200]
        assert said[1][2]["code"] == "E_INTERNAL"
        assert served.untouched()
