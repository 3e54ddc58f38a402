"""Every route by every scope: the table of who may ask what, held against the routes there are."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount
from support.keyed import bearer, key_of, key_of_each_scope
from support.running import Running, run_app
from support.toys import ROWS, fake_runtimes, toy_bundle

from seatrial_serve.access.caller import Scope
from seatrial_serve.access.paths import Paths
from seatrial_serve.api.fast_path import ROUTES
from seatrial_serve.api.openapi import ApiDocument
from seatrial_serve.api.routes import client_routes

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPEN, INFER, READ, FEEDBACK, ADMIN = None, "infer", "read", "feedback", "admin"
GET = {
    "/": OPEN, "/docs": OPEN, "/docs-static": OPEN, "/console/static": OPEN,
    "/v2/health/live": OPEN, "/v2/health/ready": OPEN, "/ping": OPEN, "/health": OPEN,
    "/up": OPEN,
    "/openapi.json": READ, "/console/series": READ, "/console/about": READ,
    "/info": READ, "/models": READ, "/version": READ,
    "/models/{model}": READ, "/v1/models": READ, "/v1/models/{model:name}": READ,
    "/v1/models/{model:name}/versions/{version:name}": READ,
    "/v1/models/{model}/metadata": READ, "/v1/models/{model}/versions/{version}/metadata": READ,
    "/v2": READ, "/v2/models": READ, "/v2/models/stats": READ, "/v2/models/{model:name}": READ,
    "/v2/models/{model:name}/config": READ, "/v2/models/{model:name}/ready": READ,
    "/v2/models/{model:name}/stats": READ,
    "/v2/models/{model:name}/versions/{version:name}": READ,
    "/v2/models/{model:name}/versions/{version:name}/config": READ,
    "/v2/models/{model:name}/versions/{version:name}/ready": READ,
    "/v2/models/{model:name}/versions/{version:name}/stats": READ,
}  # fmt: skip
POST = {
    "/v2/repository/index": READ,
    "/v2/repository/models/{model}/load": ADMIN, "/v2/repository/models/{model}/unload": ADMIN,
    "/models": ADMIN,
    "/v1/models/{model}:predict": INFER, "/v1/models/{model}:feedback": FEEDBACK,
    "/v2/models/{model}/infer": INFER, "/hf/{model}": INFER, "/models/{model}/invoke": INFER,
    "/": INFER, "/invocations": INFER, "/ask": INFER,
    "/v1/embeddings": INFER, "/v1/rerank": INFER, "/v2/rerank": INFER, "/v2/embed": INFER,
    "/v1/timeseries/forecast": INFER,
    "/embed": INFER, "/embed_all": INFER, "/embed_sparse": INFER, "/predict": INFER,
    "/rerank": INFER, "/similarity": INFER, "/tokenize": INFER,
}  # fmt: skip
DELETE = {"/models/{model}": ADMIN}
TABLE = [
    (method, path, scope)
    for method, paths in (("GET", GET), ("POST", POST), ("DELETE", DELETE))
    for path, scope in paths.items()
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server with every route that there is, which asks for keys."""
    folder = tmp_path_factory.mktemp("keyed")
    toy_bundle(folder / "bundles")
    file = folder / "keys.toml"
    keys = key_of_each_scope(file)
    keys["toys"] = key_of(file, "toys", "infer", "read", models=("toy*",))
    keys["others"] = key_of(file, "others", "infer", "read", "admin", models=("other*",))
    with pytest.MonkeyPatch.context() as patch:
        fake_runtimes(patch)
        async with run_app(
            folder / "bundles", api_keys=file, admin=True, predict_path="/ask", health_path="/up"
        ) as app:
            app.keys = keys  # type: ignore[attr-defined]
            yield app


def registered(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of each route of the framework, and those in front of it."""
    yield from of_routes(app.routes)
    for path in (*ROUTES.values(), *client_routes(), "/", "/invocations", "/ask"):
        yield "POST", path


async def test_the_table_has_every_route(keyed: Running) -> None:
    there = set(registered(cast("FastAPI", keyed.app.app)))
    multi_model = {("POST", "/models"), ("GET", "/models"), ("GET", "/models/{model}"),
                   ("DELETE", "/models/{model}")}  # fmt: skip
    assert there | multi_model == {(method, path) for method, path, _ in TABLE}


def of_routes(routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods - {"HEAD"})
        elif isinstance(route, Mount):
            yield "GET", route.path
        else:  # a router that was included
            yield from of_routes(route.original_router.routes)


def url_of(path: str) -> str:
    """A path with names in it; administration is of a model that is not there."""
    if "repository" in path:
        return path.replace("{model}", "toy-that-is-not-there")
    path = re.sub(r"\{model[^}]*\}", "toy", re.sub(r"\{version[^}]*\}", "1.0.0", path))
    return {"/docs-static": "/docs-static/swagger-ui.css",
            "/console/static": "/console/static/main.js"}.get(path, path)  # fmt: skip


def spelled(path: str) -> list[str]:
    """The path, and other spellings that lead to the same route."""
    doubled = path.replace("/", "//")
    encoded = "/" + "".join(f"%{ord(c):02x}" if c.isalpha() else c for c in path[1:])
    ended = [f"{path}{end}" for end in ("/", "%0a", "%0a/", "/%0a")]
    return [f"http://toy{each}" for each in (path, doubled, encoded, *ended)]


@pytest.mark.parametrize(("method", "path", "scope"), TABLE)
async def test_a_route_asks_for_its_scope(
    keyed: Running, method: str, path: str, scope: str | None
) -> None:
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]
    body: dict[str, Any] = {"json": {"instances": [ROWS[0]]}} if method == "POST" else {}
    for url in spelled(url_of(path)):
        without = await keyed.client.request(method, url, **body)
        if scope is OPEN:
            assert without.status_code not in (401, 403), url
            continue
        assert (without.status_code, without.headers["www-authenticate"]) == (
            401, 'Bearer realm="seatrial"',
        ), url  # fmt: skip
        for name in (each for each in Scope if each != scope):
            reply = await keyed.client.request(method, url, headers=bearer(keys[name]), **body)
            assert reply.status_code == 403, (url, name)
            assert "E_SCOPE" in reply.text
    if scope is not OPEN:
        reply = await keyed.client.request(
            method, url_of(path), headers=bearer(keys[scope]), **body
        )
        assert reply.status_code not in (401, 403)
        for url in spelled(url_of(path)) if "{model" in path else ():
            others = await keyed.client.request(method, url, headers=bearer(keys["others"]), **body)
            assert others.status_code == 403, (url, "a key for other models")


async def test_a_head_asks_for_what_a_get_does(keyed: Running) -> None:
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]
    assert (await keyed.client.head("/v1/models")).status_code == 401
    assert (await keyed.client.head("/v1/models", headers=bearer(keys["read"]))).status_code == 200


async def test_an_unknown_path_tells_nothing_without_a_key(keyed: Running) -> None:
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]
    assert (await keyed.client.get("/nosuch")).status_code == 401
    assert (await keyed.client.get("/nosuch", headers=bearer(keys["read"]))).status_code == 404


async def test_a_limited_key_knows_of_its_models_alone(keyed: Running) -> None:
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]

    async def told(key: str, method: str, path: str) -> Any:
        reply = await keyed.client.request(method, path, headers=bearer(keys[key]))
        assert reply.status_code == 200, reply.text
        return reply.json()

    for key, names in (("read", ["toy"]), ("toys", ["toy"]), ("others", [])):
        listed = await told(key, "GET", "/v1/models")
        assert [each["name"] for each in listed["models"]] == names
        assert [each["id"] for each in listed["data"]] == names
        assert (await told(key, "GET", "/v2/models"))["models"] == names
        stats = (await told(key, "GET", "/v2/models/stats"))["model_stats"]
        assert [each["name"] for each in stats] == names
        index = await told(key, "POST", "/v2/repository/index")
        assert [each["name"] for each in index] == names
        document = await told(key, "GET", "/openapi.json")
        assert ("/v1/models/toy:predict" in document["paths"]) == bool(names)
        assert ("toy" in str(document["components"])) == bool(names)
        series = await keyed.client.get("/console/series?model=toy", headers=bearer(keys[key]))
        assert series.status_code == (200 if names else 403)
    for path in ("/v1/models/toy", "/v1/models/nosuch"):  # whether it is there is not told
        reply = await keyed.client.get(path, headers=bearer(keys["others"]))
        assert reply.status_code == 403


async def test_a_model_that_comes_while_the_document_is_written_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader whose key is for all models so far waits behind one who may read all."""
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path / "bundles")
    file = tmp_path / "keys.toml"
    every, toys = (
        bearer(key_of(file, name, "read", models=models))
        for name, models in (("every", ()), ("toys", ("toy*",)))
    )
    write, begun, go_on = ApiDocument._write, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(document: ApiDocument, *given: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(20)
        return write(document, *given)

    async with run_app(tmp_path / "bundles", api_keys=file) as app:
        monkeypatch.setattr(ApiDocument, "_write", slow)
        page = lambda key: asyncio.create_task(app.client.get("/openapi.json", headers=key))
        first = page(every)
        await begun.wait()
        toy_bundle(tmp_path / "bundles", name="toy-too")
        await app.lifecycle.reload()  # so that the page is written anew for whoever comes
        later = page(every), page(toys)
        await asyncio.sleep(0.3)
        toy_bundle(tmp_path / "bundles", name="secret")
        await app.lifecycle.reload()
        go_on.set()
        assert "secret" not in (await later[1]).text
        assert "secret" in (await later[0]).text
        assert (await first).status_code == 200


async def test_a_model_that_no_path_names_is_checked_too(keyed: Running) -> None:
    """The default model, and one that the body names."""
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]
    rows, named = {"instances": [ROWS[0]]}, {"model": "toy", "input": ["a"]}
    for path, body in (("/ask", rows), ("/invocations", rows), ("/v1/embeddings", named)):
        refused = await keyed.client.post(path, json=body, headers=bearer(keys["others"]))
        assert refused.status_code == 403, path
        asked = await keyed.client.post(path, json=body, headers=bearer(keys["toys"]))
        assert asked.status_code == (400 if path == "/v1/embeddings" else 200), asked.text


@pytest.mark.parametrize("model", ["toy", "secret"])
async def test_a_path_to_a_model_as_predict_or_health_path_lends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """As Vertex AI is told of TensorFlow Serving's paths."""
    fake_runtimes(monkeypatch)
    for name in ("secret", "toy"):
        toy_bundle(tmp_path / "bundles", name=name)
    file, path = tmp_path / "keys.toml", f"/v1/models/{model}"
    others = bearer(key_of(file, "others", "infer", models=("other*",)))
    mine = bearer(key_of(file, "mine", "infer", models=(model,)))
    rows = {"instances": [ROWS[0]]}
    async with run_app(
        tmp_path / "bundles", api_keys=file, predict_path=f"{path}:predict", health_path=path
    ) as app:
        for url in spelled(f"{path}:predict"):
            assert (await app.client.post(url, json=rows)).status_code == 401, url
            assert (await app.client.post(url, json=rows, headers=others)).status_code == 403, url
        reply = await app.client.post(f"{path}:predict", json=rows, headers=mine)
        assert reply.status_code == 200
        for url in spelled(path):
            reply = await app.client.get(url)
            assert "contract" not in reply.text, url
        assert (await app.client.get(path)).json() == {"ready": True, "draining": False}


async def test_a_path_below_a_model_as_predict_path_needs_the_default_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path / "bundles")
    file, path = tmp_path / "keys.toml", "/v1/models/a/score"
    keys = {
        models: bearer(key_of(file, models, "infer", models=(models,))) for models in ("a", "toy")
    }
    rows = {"instances": [ROWS[0]]}
    async with run_app(tmp_path / "bundles", api_keys=file, predict_path=path) as app:
        assert (await app.client.post(path, json=rows, headers=keys["toy"])).status_code == 200
        assert (await app.client.post(path, json=rows, headers=keys["a"])).status_code == 403
        assert (await app.client.get(path, headers=keys["toy"])).status_code == 403


async def test_a_model_is_not_lent_out_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a key for other models, which may load what is its own."""
    fake_runtimes(monkeypatch)
    folders = {
        name: toy_bundle(tmp_path / "bundles", name=name).path for name in ("secret", "mine")
    }
    file = tmp_path / "keys.toml"
    mine = bearer(key_of(file, "mine", "infer", "admin", models=("mine*",)))
    async with run_app(tmp_path / "bundles", api_keys=file, multi_model=True) as app:
        for name, status in (("secret", 403), ("mine", 200)):
            asked = {"model_name": "mine-too", "url": str(folders[name])}
            reply = await app.client.post("/models", json=asked, headers=mine)
            assert reply.status_code == status, reply.text
        assert app.repository.names == ["mine-too"]


async def test_a_model_may_be_called_as_the_path_to_all_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path / "bundles", name="stats")
    others = bearer(key_of(tmp_path / "keys.toml", "others", "infer", "read", models=("other*",)))
    async with run_app(tmp_path / "bundles", api_keys=tmp_path / "keys.toml") as app:
        assert (await app.ask([ROWS[0]], "stats", headers=others)).status_code == 403
        for path in ("/v1/models/stats", "/v2/models/stats/config", "/v2/models/stats/stats"):
            assert (await app.client.get(path, headers=others)).status_code == 403
        told = (await app.client.get("/v2/models/stats", headers=others)).json()
        assert told == {"model_stats": []}


async def test_readiness_says_why_to_those_who_may_read(keyed: Running) -> None:
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]
    for path in ("/v2/health/ready", "/up"):
        assert (await keyed.client.get(path)).json() == {"ready": True, "draining": False}
    # a probe's key was verified before: the probe itself waits for no slow hash
    await keyed.client.get("/v1/models", headers=bearer(keys["read"]))
    reply = await keyed.client.get("/v2/health/ready", headers=bearer(keys["read"]))
    assert reply.json()["kept_receipts"] == []


async def test_errors_have_the_shape_of_their_protocol(keyed: Running) -> None:
    reply = await keyed.client.post("/v1/embeddings", json={"model": "toy", "input": "a"})
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "E_KEY"
    reply = await keyed.client.post("/rerank", json={})
    assert reply.json()["error_type"]


async def test_the_openapi_document_names_the_schemes(keyed: Running) -> None:
    keys: dict[str, str] = keyed.keys  # type: ignore[attr-defined]
    document = (await keyed.client.get("/openapi.json", headers=bearer(keys["read"]))).json()
    assert document["components"]["securitySchemes"].keys() == {"Bearer", "ApiKey"}
    assert document["security"] == [{"Bearer": []}, {"ApiKey": []}]
    paths = document["paths"]
    assert paths["/v2/health/ready"]["get"]["security"] == []
    assert {"401", "403", "429"} <= paths["/v1/models/toy:predict"]["post"]["responses"].keys()
    page = (await keyed.client.get("/docs")).text
    assert "requestInterceptor" in page


async def test_without_a_file_of_keys_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as app:
        assert (await app.client.get("/v1/models")).status_code == 200
        document: dict[str, Any] = (await app.client.get("/openapi.json")).json()
        assert "securitySchemes" not in document["components"]
        reply: httpx.Response = await app.ask([ROWS[0]], headers=bearer("st_any"))
        assert reply.status_code == 200
        assert "requestInterceptor" not in (await app.client.get("/docs")).text


async def test_nothing_that_changes_is_open() -> None:
    """By the table of paths itself, over spellings that no route has."""
    paths = Paths((), ())
    for path in ("/", "/docs", "/v2/health/ready", "/console/static/x", "/metrics", "/v2"):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            assert paths.needed(method, path).scope is not None
    for path in ("/v2/repository/models/a/load", "/v2/repository/models/a/load/", "/v2/repository",
                 "//v2//repository//models//a//load", "/v2/repository/models/a/b/c"):  # fmt: skip
        assert paths.needed("POST", path).scope is Scope.ADMIN
