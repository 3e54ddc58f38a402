"""Administration and what keeps other sites' pages from it.

It is tried over real sockets and by real clients; each call leaves one line.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.http.aio
from support.conformance import seal
from support.waiting import until
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow
MODEL = "conformance"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Any:
    folder = tmp_path_factory.mktemp("admin")
    seal(folder)
    started = serve(
        folder,
        "--admin",
        "--log-format",
        "json",
        "--logged-per-s",
        "1000",
        "--allowed-hosts",
        "models",
    )
    assert started.wait_until_loaded()[0] == 200
    return started


def post(server: Any, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    """Status and code."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    try:
        connection.request(
            "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        reply = connection.getresponse()
        said = reply.read()
        return reply.status, json.loads(said)["code"] if reply.status >= 400 else ""
    finally:
        connection.close()


def lines(server: Any, logger: str, **fields: str) -> list[dict[str, Any]]:
    """The lines of a logger that have these fields."""
    found = [json.loads(line) for line in server.log if line.startswith("{")]
    return [line for line in found if line["logger"] == logger and fields.items() <= line.items()]


def wait_for(count: int, server: Any, logger: str, **fields: str) -> None:
    """So many lines have come: each is written by a thread after the answer."""
    for _ in range(100_000):
        if len(lines(server, logger, **fields)) >= count:
            break
        urllib.request.urlopen(f"{server.url}/v2/health/live", timeout=10).close()
    assert len(lines(server, logger, **fields)) == count


def load_and_unload(client: Any, headers: dict[str, str]) -> None:
    client.unload_model(MODEL, headers=headers)
    client.load_model(MODEL, headers=headers)
    with pytest.raises(InferenceServerException):
        client.load_model("canary7f3a9c", headers=headers)
    client.close()


async def load_and_unload_soon(place: str, headers: dict[str, str]) -> None:
    async with tritonclient.http.aio.InferenceServerClient(place) as client:
        await client.unload_model(MODEL, headers=headers)
        await client.load_model(MODEL, headers=headers)
        with pytest.raises(InferenceServerException):
            await client.load_model("canary7f3a9c", headers=headers)


@pytest.mark.parametrize("client", ["http", "aio", "grpc"])
def test_each_call_of_a_real_client_is_one_line_of_the_audit(server: Any, client: str) -> None:
    place, headers = server.url.removeprefix("http://"), {"x-request-id": client}
    if client == "http":
        load_and_unload(tritonclient.http.InferenceServerClient(place), headers)
    elif client == "grpc":
        load_and_unload(tritonclient.grpc.InferenceServerClient(server.grpc), headers)
    else:
        asyncio.run(load_and_unload_soon(place, headers))
    wait_for(3, server, "seatrial.audit", request_id=client)
    told = [
        (line["action"], line["model"], line["result"], line["level"])
        for line in lines(server, "seatrial.audit", request_id=client)
    ]
    assert told == [
        ("unload", MODEL, "ok", "INFO"),
        ("load", MODEL, "ok", "INFO"),
        ("load", "an unknown model", "E_MODEL_NOT_FOUND", "WARNING"),
    ]
    (over,) = {
        (line["who"], line["over"]) for line in lines(server, "seatrial.audit", request_id=client)
    }
    assert over == ("127.0.0.1", "gRPC" if client == "grpc" else "HTTP")
    assert "canary7f3a9c" not in "".join(server.log)


LOAD = f"/v2/repository/models/{MODEL}/load"


@pytest.mark.parametrize(
    ("headers", "want"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, (403, "E_CROSS_SITE")),
        (
            {"Sec_Fetch_Site": "same-site", "Content_Type": "application/json"},
            (403, "E_CROSS_SITE"),
        ),
        ({"Origin": "https://pages.example"}, (403, "E_CROSS_SITE")),
        ({"Host": "pages.example", "Origin": "http://pages.example"}, (421, "E_HOST")),
        ({"Content_Type": "application/x-www-form-urlencoded"}, (415, "E_CONTENT_TYPE")),
        ({"Content_Type": "multipart/form-data; boundary=a"}, (415, "E_CONTENT_TYPE")),
        ({"Content_Type": "application/json"}, (200, "")),
        ({"Host": "models:8000", "Origin": "http://models:8000"}, (200, "")),
        ({}, (200, "")),
    ],
)
@pytest.mark.parametrize("verb", ["load", "index"])
def test_another_sites_page_changes_nothing(
    server: Any, headers: dict[str, str], want: tuple[int, str], verb: str
) -> None:
    found = len(refused_loads(server, want[1]))
    status, code = post(server, LOAD if verb == "load" else "/v2/repository/index", **headers)
    assert (status, code) == want
    if code and verb == "load":  # each refused call has its line, one of no administration none
        until(lambda: len(refused_loads(server, code)) == found + 1)


def refused_loads(server: Any, code: str) -> list[dict[str, Any]]:
    told = {"action": "load", "model": MODEL, "who": "127.0.0.1", "over": "HTTP", "result": code}
    return lines(server, "seatrial.audit", **told)


def test_administration_is_asked_by_its_exact_path(server: Any) -> None:
    for path in (f"/{LOAD}", f"{LOAD}/", LOAD.replace("/models", "//models")):
        assert post(server, path) == (404, "E_NOT_FOUND")


def test_what_no_model_was_asked_is_counted_by_code_and_cause_and_logged(server: Any) -> None:
    def counted(name: str) -> dict[str, float]:
        text = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
        found = re.findall(
            (
                rf'{name}{{([a-z]+)="(\w+)",model="",version=""}} ([0-9.]+)'
                rf'|{name}{{model="",\w+="(\w+)"'
            ),
            text,
        )
        return {label: float(value) for _, label, value, _ in found if label}

    before_causes, before_codes = (
        counted("seatrial_refusals_total"),
        counted("seatrial_requests_total"),
    )
    asked = {
        "E_CROSS_SITE": {"Origin": "http://pages.example"},
        "E_HOST": {"Host": "pages.example"},
        "E_EXPECT": {"Expect": "tea"},
    }
    for code, headers in asked.items():
        logged = len(lines(server, "seatrial.request", code=code))
        assert post(server, "/v1/models", "{}", **headers)[1] == code
        wait_for(logged + 1, server, "seatrial.request", code=code)
    assert post(server, "/nowhere")[1] == "E_NOT_FOUND"
    causes, codes = counted("seatrial_refusals_total"), counted("seatrial_requests_total")
    assert {
        name: causes[name] - before_causes.get(name, 0) for name in ("origin", "framing", "other")
    } == {
        "origin": 2,
        "framing": 1,
        "other": 1,
    }
    assert {
        code: codes[code] - before_codes.get(code, 0) for code in (*asked, "E_NOT_FOUND")
    } == dict.fromkeys((*asked, "E_NOT_FOUND"), 1)
