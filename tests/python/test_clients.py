"""The clients of a server: over real sockets, and over httpx's own transports where it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image
from pydantic import BaseModel, ValidationError
from support.animals import ROWS, Animal
from support.made import made_bundle

import seatrial as st
from seatrial_client import client as module
from seatrial_client.plan import Wait, sent
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import Array

MANY = [{**ROWS[0], "mass": place / 8} for place in range(25)]


@pytest.fixture
def client(server: st.ThreadServer) -> Iterator[st.Client]:
    with st.Client(server.url) as asking:
        yield asking


@pytest.mark.parametrize("data", [ROWS[0], Animal(**ROWS[0]), ROWS, MANY])
def test_rows_are_answered_as_in_this_process(
    client: st.Client, animals: st.Bundle, data: Any
) -> None:
    assert client.predict(data) == animals.predict(data)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("rows", [ROWS, MANY])
def test_frames_are_answered_as_in_this_process(
    client: st.Client, animals: st.Bundle, make: Any, rows: Any
) -> None:
    data = make(rows)
    got, want = client.predict(data), animals.predict(data)
    assert type(got) is type(want)
    assert got.equals(want)
    arrays = animals.predict(data, to="arrays")
    for name, array in client.predict(data, to="arrays").items():
        np.testing.assert_array_equal(array, arrays[name])
    assert client.predict(data, to="rows") == animals.predict(rows)


async def test_the_other_client_answers_alike_on_an_event_loop(
    server: st.ThreadServer, animals: st.Bundle
) -> None:
    async with st.AsyncClient(server.url, "animals") as client:
        assert await client.predict(MANY) == animals.predict(MANY)
        assert (await client.predict(pd.DataFrame(MANY))).equals(
            animals.predict(pd.DataFrame(MANY))
        )
        assert (await client.describe()).version == "1.0.0"
        with pytest.raises(st.Refusal) as refused:
            await client.predict([*MANY, {**ROWS[0], "mass": 101}])
    assert refused.value.code == "E_RANGE"


@pytest.mark.parametrize("make", [list, pd.DataFrame])
@pytest.mark.parametrize("place", [0, 3, 4, 13, 24])
async def test_a_refused_row_is_named_by_its_place_among_all(
    server: st.ThreadServer, client: st.Client, make: Any, place: int
) -> None:
    data = make([{**row, "mass": 101} if n == place else row for n, row in enumerate(MANY)])
    with pytest.raises(st.Refusal, match=rf"^input 'mass', row {place}: got .*request") as refused:
        client.predict(data)
    assert (refused.value.row, refused.value.field) == (place, "mass")
    async with st.AsyncClient(server.url, "animals") as other:
        with pytest.raises(st.Refusal, match=rf"^input 'mass', row {place}: got"):
            await other.predict(data)


def test_rows_are_asked_for_as_a_frame(client: st.Client, animals: st.Bundle) -> None:
    pd.testing.assert_frame_equal(
        client.predict(MANY, to="frame"), animals.predict(MANY, to="frame"), check_dtype=False,
        check_categorical=False,
    )  # fmt: skip


def test_requests_go_in_parts_that_the_server_takes(
    client: st.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    send = client._send

    def counted(request: Any) -> Any:
        asked.append((request.path, len(request.content or b"")))
        return send(request)

    monkeypatch.setattr(client, "_send", counted)
    client.predict(MANY)
    client.predict(pd.DataFrame(MANY))
    paths = [path for path, _ in asked]
    assert paths.count("/v1/models/animals:predict") == 7
    assert paths.count("/v2/models/animals/infer") == 7
    assert paths.count("/v1/models/animals") == 1


def test_a_body_that_is_too_large_is_halved(
    client: st.Client, animals: st.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = client.describe()
    client._calls._described = replace(about, max_body_bytes=150)
    assert client.predict(ROWS) == animals.predict(ROWS)


def test_the_rows_model_is_made_from_the_contract(client: st.Client, animals: st.Bundle) -> None:
    row = client.describe().row
    assert client.predict(row(**ROWS[0])) == animals.predict(ROWS[0])
    assert row.model_json_schema()["properties"]["year"]["maximum"] == 2030
    for bad in ({"island": "Atlantis"}, {"mass": 100.5}, {"year": "2001"}, {"wings": 2}):
        with pytest.raises(ValidationError):
            row(**{**ROWS[0], **bad})


def test_rows_are_held_against_the_users_own_model(server: st.ThreadServer) -> None:
    class Mine(BaseModel):
        island: str
        mass: float | None = 1.5
        year: int = 2001

    with st.Client(server.url, row=Mine) as client:
        assert client.predict({"island": "Biscoe"})["size"] == 1.5
        with pytest.raises(ValidationError):
            client.predict({"island": 3})


def test_errors_have_the_servers_code_and_request(client: st.Client, animals: st.Bundle) -> None:
    with pytest.raises(st.Refusal, match=r"input 'island', row 0.*\(request [0-9a-f]{32}\)") as e:
        client.predict({**ROWS[0], "island": "Atlantis"})
    assert e.value.code == "E_CATEGORY"
    with pytest.raises(st.Refusal) as e, st.Client(client.url, "nosuch") as other:
        other.predict(ROWS)
    assert e.value.code == "E_MODEL_NOT_FOUND"
    with st.Client(client.url, version="1.0.0") as other:
        assert other.predict(ROWS) == animals.predict(ROWS)


def test_the_key_goes_with_each_request_and_is_not_shown(server: st.ThreadServer) -> None:
    with st.Client(server.url, key="hush") as client:
        seen: list[str] = []
        client._http.event_hooks = {"request": [lambda r: seen.append(r.headers["authorization"])]}
        client.predict(ROWS)
        assert set(seen) == {"Bearer hush"}
        assert "hush" not in repr(client)


def test_what_is_no_url_is_refused() -> None:
    for url in ("127.0.0.1:8000", "", "http://[::1"):
        with pytest.raises(st.DeclarationError, match="want a URL"):
            st.Client(url)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of clients, which are not waited for."""
    found: list[float] = []
    monkeypatch.setattr(module.time, "sleep", found.append)
    return found


Answers = Callable[[httpx.Request], httpx.Response]


def over(answers: Answers, model: str | None = "animals", **options: Any) -> st.Client:
    """A client whose connection is a function."""
    client = st.Client("http://server", model, **options)
    client._http = httpx.Client(base_url="http://server", transport=httpx.MockTransport(answers))
    return client


def told(error: str, code: str, status: int, **headers: str) -> httpx.Response:
    body = {"error": error, "code": code, "request_id": "0"}
    return httpx.Response(status, json=body, headers=headers)


def test_the_server_is_asked_again_after_the_pause_that_it_names(waits: list[float]) -> None:
    replies = [told("busy", "E_OVERLOADED", 503, **{"retry-after": "2"})] * 2
    replies += [httpx.Response(200, json={"models": [{"name": "only"}]})]
    with over(lambda _: replies.pop(0), model=None) as client:
        assert client._run(client._calls.model()) == "only"
    assert waits == [2.0, 2.0]


@pytest.mark.parametrize(
    ("reply", "error", "code", "pauses"),
    [
        (told("busy", "E_OVERLOADED", 503, **{"retry-after": "1"}), st.Unavailable,
         "E_OVERLOADED", [1.0] * 3),
        (told("busy", "E_OVERLOADED", 503, **{"retry-after": "11"}), st.Unavailable,
         "E_OVERLOADED", []),
        (told("busy", "E_OVERLOADED", 503), st.Unavailable, "E_OVERLOADED", []),
        (told("too late", "E_DEADLINE", 504), st.Unavailable, "E_DEADLINE", []),
        (told("bad", "E_TYPE", 400), st.Refusal, "E_TYPE", []),
        (told("failed", "E_MODEL", 500), st.ModelError, "E_MODEL", []),
        (httpx.Response(502, text="<html>a proxy"), st.Unavailable, "E_ODD_ANSWER", []),
        (httpx.Response(200, json=[1]), st.Unavailable, "E_ODD_ANSWER", []),
        (httpx.Response(200, json={"contract": {}}), st.Unavailable, "E_ODD_ANSWER", []),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_exception_with_its_code(
    reply: httpx.Response, error: type[Exception], code: str, pauses: list[float],
    waits: list[float],
) -> None:  # fmt: skip
    with over(lambda _: reply) as client, pytest.raises(error) as raised:
        client.predict(ROWS)
    assert raised.value.code == code  # type: ignore[attr-defined]
    assert waits == pauses


@pytest.mark.parametrize(
    ("lost", "tries", "code"),
    [
        (httpx.ConnectError, 4, "E_UNREACHABLE"),
        (httpx.RemoteProtocolError, 2, "E_UNREACHABLE"),
        (httpx.ReadError, 2, "E_UNREACHABLE"),
        (httpx.ReadTimeout, 1, "E_DEADLINE"),
        (httpx.UnsupportedProtocol, 1, "E_UNREACHABLE"),
    ],
)
def test_a_lost_request_is_sent_again_where_that_is_safe(
    lost: type[httpx.HTTPError], tries: int, code: str, waits: list[float]
) -> None:
    asked: list[httpx.Request] = []

    def lose(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise lost("gone")

    with over(lose) as client, pytest.raises(st.Unavailable) as raised:
        client.predict(ROWS)
    assert (len(asked), raised.value.code) == (tries, code)
    assert len(waits) == tries - 1
    for place, wait_s in enumerate(waits):
        assert 0.05 <= wait_s / 2**place <= 0.15


def test_the_timeout_bounds_all_tries_together_and_the_server_is_told() -> None:
    now = [0.0]
    with over(lambda _: httpx.Response(200), timeout_s=5.0) as client:
        plan = client._calls._sent("GET", "/")
        assert next(plan).headers[-1] == ("X-Request-Timeout-Ms", "5000")
        plan.close()
        request = client._calls._sent("GET", "/").gi_frame.f_locals["request"]
    asking = sent(request, st.Retries(), "there", lambda: now[0])
    assert next(asking).timeout_s == 5.0
    busy = module.Reply(503, {"retry-after": "2"}, b"")
    assert asking.send(busy) == Wait(2.0)
    now[0] = 2.0
    assert next(asking).timeout_s == 3.0
    now[0] = 2.5
    assert asking.send(busy) == Wait(2.0)
    now[0] = 4.5
    assert next(asking).timeout_s == 0.5
    with pytest.raises(StopIteration) as ended:
        asking.send(busy)  # no third pause: it would end after the timeout
    assert ended.value.value is busy


async def test_requests_of_one_call_are_under_way_together_and_end_with_the_first_failure(
    server: st.ThreadServer,
) -> None:
    under_way, most = 0, 0

    async def answers(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        if request.method == "GET":
            return httpx.Response(200, json=about)
        rows = json.loads(request.content)["instances"]
        under_way += 1
        most = max(most, under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way -= 1
        if rows[0]["mass"] == MANY[4]["mass"]:
            return told("bad", "E_TYPE", 400)
        return httpx.Response(200, json={"predictions": rows, "model_version": "1.0.0"})

    about = httpx.get(f"{server.url}/v1/models/animals").json()
    client = st.AsyncClient("http://server", "animals")
    client._http = httpx.AsyncClient(
        base_url="http://server", transport=httpx.MockTransport(answers)
    )
    async with client:
        assert await client.predict(MANY[5:]) == MANY[5:]
        assert most == module.AT_ONCE
        with pytest.raises(st.Refusal, match="bad"):
            await client.predict(MANY)


def test_another_version_is_described_anew(client: st.Client) -> None:
    first = client.describe()
    client._calls._note_version("1.0.0")
    assert client.describe() is first
    client._calls._note_version("1.1.0")
    assert client.describe() is not first


def test_a_frame_is_answered_where_another_version_has_other_outputs_by_now(
    client: st.Client, animals: st.Bundle
) -> None:
    class Before(st.Answer):
        old: float

    stale = st.contract_from_rows(Animal, Before)
    client._calls._described = replace(client.describe(), contract=stale, version="0.9.0")
    assert client.predict(pd.DataFrame(ROWS)).equals(animals.predict(pd.DataFrame(ROWS)))
    assert client.describe().version == "1.0.0"


def test_a_picture_goes_as_a_file_as_bytes_and_over_the_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(st.Row):
        picture: Annotated[bytes, st.Image(formats=("PNG",))]

    class Mean(st.Answer):
        mean: float

    def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"mean": feeds["picture"].mean((1, 2, 3)).astype(np.float32)}

    for name, shade in (("dark", 20), ("light", 200)):
        Image.new("RGB", (4, 3), (shade,) * 3).save(tmp_path / f"{name}.png")
    dark, light = ((tmp_path / f"{name}.png").read_bytes() for name in ("dark", "light"))
    contract = st.contract_from_rows(Seen, Mean)
    rows = [{"picture": base64_text(each)} for each in (dark, light)]
    made_bundle(tmp_path / "bundles", monkeypatch, contract, answer, rows)
    bundle = st.open_bundle(tmp_path / "bundles" / "made" / "1.0.0")
    want = [{"mean": 20.0}, {"mean": 200.0}]
    given = [{"picture": dark}, {"picture": light}]
    assert bundle.predict(tmp_path / "dark.png") == want[0]
    assert bundle.predict(given) == bundle.predict(rows) == want
    assert bundle.predict(pd.DataFrame(given))["mean"].tolist() == [20.0, 200.0]
    with st.serve(bundle) as server, st.Client(server.url) as client:
        assert client.predict(given) == want
        assert client.predict(pd.DataFrame(given))["mean"].tolist() == [20.0, 200.0]
        assert client.predict(client.describe().row(picture=dark)) == want[0]
    with pytest.raises(st.Refusal, match=r"input 'picture', row 1: got a file") as refused:
        bundle.predict([given[0], {"picture": b"no picture, but a secret"}])
    assert "secret" not in str(refused.value)


def test_a_stopped_server_is_told_of_and_stops_once(animals: st.Bundle) -> None:
    server = st.serve(animals)
    with st.Client(server.url) as client:
        client.predict(ROWS)
        server.stop()
        server.stop()
        with pytest.raises(st.Unavailable, match="is it running"):
            client.predict(ROWS)
    assert not server.running
