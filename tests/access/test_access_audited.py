"""Who was refused administration, and who asked for the first time, as the audit log has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.keyed import bearer, key_of
from support.listening import grpc_of
from support.running import Running, run_app
from support.toys import ROWS, fake_runtimes, toy_bundle
from support.waiting import until_here

from seatrial_serve.access.keys_file import read_keys, revoke_keys
from seatrial_serve.api import audit
from seatrial_serve.process.audit_log import recording

SERVICE = "/inference.GRPCInferenceService"
UNLOAD = "/v2/repository/models/toy/unload"


class Audited:
    """A server with keys, and what its audit log says once it has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.path = folder, folder / "keys.toml", folder / "audit.jsonl"
        toy_bundle(folder / "bundles")
        self.keys = {
            name: key_of(self.file, name, *scopes, models=models)
            for name, scopes, models in (
                ("asker", ("infer",), ()), ("reader", ("read",), ()), ("admin", ("admin",), ()),
                ("elsewhere", ("admin", "read"), ("other*",)), ("gone", ("admin",), ()),
            )
        }  # fmt: skip
        revoke_keys(self.file, ["gone"], datetime.now(UTC))
        self.ids = {key.name: key.id for key in read_keys(self.file).keys}

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Running]:
        with recording(self.path):
            async with run_app(
                self.folder / "bundles", api_keys=self.file, **({"admin": True} | options)
            ) as app:
                yield app
            app.exchanges.audit.tell()

    def who(self, name: str) -> str:
        return f"{name} (key {self.ids[name]}) at 127.0.0.1"

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.path.read_bytes().splitlines())
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audited:
    fake_runtimes(monkeypatch)
    return Audited(tmp_path)


def told(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(line[name] for name in ("request_id", "action", "model", "who", "result", "over"))


async def test_each_refused_call_of_administration_is_recorded(audited: Audited) -> None:
    keys, nobody = audited.keys, "127.0.0.1"
    asked = {
        "a": ("", UNLOAD, "unload", "toy", nobody, "E_KEY"),
        "b": ("st_wrong", UNLOAD, "unload", "toy", nobody, "E_KEY"),
        "c": (keys["gone"], UNLOAD, "unload", "toy", audited.who("gone"), "E_KEY"),
        "d": (keys["asker"], UNLOAD, "unload", "toy", audited.who("asker"), "E_SCOPE"),
        "e": (keys["elsewhere"], UNLOAD, "unload", "toy", audited.who("elsewhere"), "E_SCOPE"),
        "f": (keys["asker"], "/v2/repository/models/secret7/load", "load", "an unknown model",
              audited.who("asker"), "E_SCOPE"),
        "g": (keys["reader"], "/models", "load", "not read", audited.who("reader"), "E_SCOPE"),
        "h": ("", "/v2/repository/models/toy", "another", "toy", nobody, "E_KEY"),
    }  # fmt: skip
    async with audited.running() as app:
        for request_id, (key, path, *_) in asked.items():
            headers = {"X-Request-Id": request_id} | (bearer(key) if key else {})
            reply = await app.client.post(path, headers=headers)
            assert reply.status_code in (401, 403)
        headers = bearer(keys["asker"])  # what changes nothing is no administration
        assert (await app.client.get("/v1/models", headers=headers)).status_code == 403
    assert [told(line) for line in audited.said("administration")] == [
        (request_id, action, model, who, code, "HTTP")
        for request_id, (_, _, action, model, who, code) in asked.items()
    ]
    assert "secret7" not in audited.path.read_text()


async def test_a_model_in_a_body_that_a_key_is_not_for_is_recorded(audited: Audited) -> None:
    async with audited.running(multi_model=True) as app:
        body = {"model_name": "toy", "url": str(audited.folder / "bundles" / "toy")}
        reply = await app.client.post(
            "/models", json=body, headers=bearer(audited.keys["elsewhere"])
        )
        assert reply.status_code == 403
    (line,) = audited.said("administration")
    assert told(line)[1:5] == ("load", "an unknown model", audited.who("elsewhere"), "E_SCOPE")


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def metadata(key: str, **more: str) -> tuple[tuple[str, str], ...]:
    given = (("authorization", f"Bearer {key}"),) if key else ()
    return (*given, *((name.replace("_", "-"), value) for name, value in more.items()))


async def test_each_refused_call_over_grpc_is_recorded(audited: Audited) -> None:
    denied, unknown = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
    keys, nobody = audited.keys, "127.0.0.1"
    asked = {
        "a": ("", unknown, nobody, "E_KEY"),
        "b": ("st_wrong", unknown, nobody, "E_KEY"),
        "c": (keys["gone"], unknown, audited.who("gone"), "E_KEY"),
        "d": (keys["asker"], denied, audited.who("asker"), "E_SCOPE"),
        "e": (keys["elsewhere"], denied, audited.who("elsewhere"), "E_SCOPE"),
    }
    toy = b"\x12\x03toy"  # model_name, the second field
    async with audited.running() as app:
        async with grpc_of(app) as channel:
            unload = channel.unary_unary(f"{SERVICE}/RepositoryModelUnload")
            for request_id, (key, status, *_) in asked.items():
                given = metadata(key, x_request_id=request_id)
                assert await code_of(unload(toy, metadata=given)) is status
            assert (
                await code_of(unload(toy, metadata=metadata(keys["admin"]))) is grpc.StatusCode.OK
            )
        async with grpc_of(app, admin=False) as channel:
            unload = channel.unary_unary(f"{SERVICE}/RepositoryModelUnload")
            given = metadata(keys["admin"])
            assert await code_of(unload(toy, metadata=given)) is grpc.StatusCode.NOT_FOUND
    *refused, done, off = audited.said("administration")
    assert [told(line) for line in refused] == [
        (request_id, "unload", "toy", who, code, "gRPC")
        for request_id, (_, _, who, code) in asked.items()
    ]
    assert told(done)[1:] == ("unload", "toy", audited.who("admin"), "ok", "gRPC")
    assert off["result"] == "E_NOT_FOUND"


@contextmanager
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(audit.AdminAudit.__init__, "__defaults__", (lambda: 0.0,))
        yield


async def test_a_flood_of_refused_calls_is_counted_and_hides_no_known_caller(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with stopped_clock(monkeypatch):
        async with audited.running() as app:
            for _ in range(audit.REFUSED_AT_ONCE + 30):
                await app.client.post(UNLOAD)
            reply = await app.client.post(UNLOAD, headers=bearer(audited.keys["asker"]))
            assert reply.status_code == 403
    whos = [line["who"] for line in audited.said("administration")]
    assert whos == ["127.0.0.1"] * audit.REFUSED_AT_ONCE + [audited.who("asker")]
    assert [line["calls"] for line in audited.said("left_out")] == [30]
    assert "30 more calls of administration were refused" in caplog.text
    lines = [line for line in caplog.records if line.name == "seatrial.audit"]
    assert len(lines) == audit.REFUSED_AT_ONCE + 2


async def test_who_leaves_before_the_key_was_looked_at_is_bounded_too(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "REFUSED_AT_ONCE", 3)
    with stopped_clock(monkeypatch):
        async with audited.running() as app, grpc_of(app) as channel:
            monkeypatch.setattr(app.exchanges.access, "caller_of", never)
            unload = channel.unary_unary(f"{SERVICE}/RepositoryModelUnload")
            for _ in range(audit.REFUSED_AT_ONCE + 5):
                with pytest.raises(grpc.aio.AioRpcError):
                    await unload(b"\x12\x03toy", timeout=0.05)
            await until_here(lambda: app.exchanges.audit._left_out == 5)
    results = {line["result"] for line in audited.said("administration")}
    assert results == {"left"}
    assert len(audited.said("administration")) == audit.REFUSED_AT_ONCE
    assert [line["calls"] for line in audited.said("left_out")] == [5]


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_what_is_left_out_is_counted_also_while_the_flood_goes_on(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "TELL_S", 0.0)
    with stopped_clock(monkeypatch):
        async with audited.running() as app:
            for _ in range(audit.REFUSED_AT_ONCE + 5):
                await app.client.post(UNLOAD)
            await until_here(lambda: "5 more calls" in caplog.text)
            for _ in range(7):
                await app.client.post(UNLOAD)
    assert [line["calls"] for line in audited.said("left_out")] == [5, 7]


async def test_health_over_grpc_names_no_model_without_a_key(audited: Audited) -> None:
    keys, unknown = audited.keys, grpc.StatusCode.UNAUTHENTICATED
    denied, missing = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND
    ok = grpc.StatusCode.OK
    async with audited.running() as app, grpc_of(app) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def check(service: str, key: str = "") -> grpc.StatusCode:
            request = health_pb2.HealthCheckRequest(service=service)
            return await code_of(health.Check(request, metadata=metadata(key)))

        async def watch(service: str, key: str = "") -> grpc.StatusCode:
            request = health_pb2.HealthCheckRequest(service=service)
            stream = health.Watch(request, metadata=metadata(key))
            code = await code_of(stream.read())
            stream.cancel()
            return code

        for ask in (check, watch):
            for service in ("", "inference.GRPCInferenceService"):
                assert await ask(service) is ok
            there, nowhere = [await ask("toy"), await ask("nosuch")], missing
            assert there == [unknown, unknown]
            assert await ask("toy", keys["reader"]) is ok
            if ask is watch:
                nowhere = ok  # SERVICE_UNKNOWN, until it is there
            assert await ask("nosuch", keys["reader"]) is nowhere
            for key in (keys["asker"], keys["elsewhere"]):
                assert [await ask("toy", key), await ask("nosuch", key)] == [denied, denied]


async def test_a_watch_ends_with_its_key(audited: Audited) -> None:
    async with audited.running() as app, grpc_of(app) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        given = metadata(audited.keys["reader"])
        stream = health.Watch(health_pb2.HealthCheckRequest(service="toy"), metadata=given)
        assert (await stream.read()).status == health_pb2.HealthCheckResponse.SERVING
        revoke_keys(audited.file, ["reader"], datetime.now(UTC))
        assert app.exchanges.access is not None
        app.exchanges.access.reload()
        await app.client.post(UNLOAD, headers=bearer(audited.keys["admin"]))
        assert await code_of(stream.read()) is grpc.StatusCode.UNAUTHENTICATED


async def test_one_who_asks_for_the_first_time_is_recorded_once(audited: Audited) -> None:
    with audited.file.open("a") as more:
        more.write('[[certificates]]\nname = "dns:a.example"\nscopes = ["infer"]\n')
    async with audited.running() as app:
        access = app.exchanges.access
        assert access is not None
        for _ in range(3):
            caller = await access.caller_of([], "x", ("dns:a.example",))
            caller.count()
        for _ in range(2):
            await app.ask([ROWS[0]], headers=bearer(audited.keys["asker"]))
    first = [(line["key"], line["name"]) for line in audited.said("key_first_used")]
    key = f"key {audited.ids['asker']}"
    assert first == [("certificate dns:a.example", "dns:a.example"), (key, "asker")]
    used = {line["key"]: line["requests"] for line in audited.said("key_used")}
    assert used == {"certificate dns:a.example": 3, key: 2}
