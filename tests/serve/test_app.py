"""The app in process: answers, refusals in one shape, states of models.

Its documentation needs no network.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.running import Running, run_app
from support.toys import ROWS, answer, fake_runtimes, toy_bundle, toy_golden

import seatrial as st
from seatrial_serve.access.paths import Paths
from seatrial_serve.api.openapi import ModelParts, model_parts
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.codes import CODES
from seatrial_serve.runtimes.fake import FakeRuntime

GOOD = {"x": 3.5, "word": "a"}


async def test_rows_are_answered_in_order_with_the_version_that_answered(running: Running) -> None:
    reply = await running.ask([GOOD, {"x": -1.0, "word": "b"}])
    assert reply.status_code == 200
    assert reply.json() == {
        "predictions": [{"twice": 7.0, "pair": [3.5, 1.0]}, {"twice": -2.0, "pair": [-1.0, 0.0]}],
        "model_version": "1.0.0",
    }


async def test_many_clients_each_get_their_own_rows(running: Running, runtime: FakeRuntime) -> None:
    replies = await asyncio.gather(
        *(running.ask([{"x": float(i), "word": "a"}] * (1 + i % 5)) for i in range(64))
    )
    assert [reply.json()["predictions"] for reply in replies] == [
        [{"twice": 2.0 * i, "pair": [float(i), 1.0]}] * (1 + i % 5) for i in range(64)
    ]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "E_EMPTY"),
        (b"{", {}, 400, "E_JSON"),
        (json.dumps({"instances": [{**GOOD, "x": 412.0}]}).encode(), {}, 400, "E_RANGE"),
        (json.dumps({"instances": [{**GOOD, "x": "3"}]}).encode(), {}, 400, "E_TYPE"),
        (json.dumps({"instances": [{"x": 1.0}]}).encode(), {}, 400, "E_MISSING"),
        (json.dumps({"instances": [{**GOOD, "word": "c"}]}).encode(), {}, 400, "E_CATEGORY"),
        (
            json.dumps({"instances": [GOOD]}).encode(),
            {"content-type": "text/plain"},
            415,
            "E_CONTENT_TYPE",
        ),
        (
            json.dumps({"instances": [GOOD]}).encode(),
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            "E_CONTENT_TYPE",
        ),
        (
            json.dumps({"instances": [GOOD]}).encode(),
            {"content-type": "application/json; charset=latin-1"},
            415,
            "E_CONTENT_TYPE",
        ),
        (
            json.dumps({"instances": [GOOD]}).encode(),
            {"content-encoding": "br"},
            415,
            "E_CONTENT_ENCODING",
        ),
        (b" " * (4 * 2**20 + 1), {}, 413, "E_BODY_BYTES"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_bad_input_is_refused_in_one_shape(
    body: bytes, headers: dict[str, str], status: int, code: str, shared: Running
) -> None:
    reply = await shared.client.post(
        "/v1/models/toy:predict",
        content=body,
        headers={"content-type": "application/json", **headers},
    )
    assert reply.status_code == status
    assert set(reply.json()) - {"errors"} == {"error", "code", "request_id"}
    assert reply.json()["code"] == code
    assert code in CODES


async def test_a_request_id_of_the_client_comes_back(running: Running) -> None:
    reply = await running.client.post(
        "/v1/models/toy:predict", content=b"{", headers={"x-request-id": "order-7"}
    )
    assert reply.json()["request_id"] == "order-7"
    reply = await running.client.post(
        "/v1/models/toy:predict", content=b"{", headers={"x-request-id": "a\tb"}
    )
    assert reply.json()["request_id"] != "a\tb"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/models/other:predict", 404, "E_MODEL_NOT_FOUND"),
        ("POST", "/v1/models/toy/versions/9.9.9:predict", 404, "E_MODEL_NOT_FOUND"),
        ("POST", "/v1/models/..%2ftoy:predict", 404, "E_NOT_FOUND"),
        ("POST", "/v1/models/toy/infer", 404, "E_NOT_FOUND"),
        ("POST", "/v2/models/toy:predict", 404, "E_NOT_FOUND"),
        ("GET", "/v2/models/toy:predict", 404, "E_NOT_FOUND"),
        ("POST", "/v1/models/toy/versions/1.0.0/infer", 404, "E_NOT_FOUND"),
        ("POST", "/v2/models/toy/versions/1.0.0:predict", 404, "E_NOT_FOUND"),
        ("POST", "/v1/models/toy:explain", 404, "E_NOT_FOUND"),
        ("GET", "/v1/models/toy:predict", 405, "E_METHOD"),
        ("GET", "/v1/models/other", 404, "E_MODEL_NOT_FOUND"),
        ("GET", "/v2/models/other/ready", 404, "E_MODEL_NOT_FOUND"),
        ("GET", "/nowhere", 404, "E_NOT_FOUND"),
        ("POST", "/v1/models", 405, "E_METHOD"),
        ("DELETE", "/v2/health/live", 405, "E_METHOD"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_unknown_paths_models_and_methods_are_refused(
    method: str, path: str, status: int, code: str, shared: Running
) -> None:
    reply = await shared.client.request(method, path)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert status != 405 or reply.headers["allow"]


async def test_models_are_listed_with_contract_example_and_execution_receipt(
    running: Running,
) -> None:
    (listed,) = (await running.client.get("/v1/models")).json()["models"]
    assert (listed["name"], listed["ready"], listed["versions"][0]["state"]) == (
        "toy",
        True,
        "READY",
    )
    shown = (await running.client.get("/v1/models/toy/versions/1.0.0")).json()
    assert shown["execution"]["provider"] == "FakeExecutionProvider"
    assert shown["execution"]["engine"] == "own"
    assert all(trial["passed"] for trial in shown["load_gate"])
    assert (await running.ask([shown["example"]])).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/toy/ready",
        "/v2/models/toy/versions/1.0.0/ready",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_health_answers_get_and_head(path: str, shared: Running) -> None:
    assert (await shared.client.get(path)).status_code == 200
    assert (await shared.client.head(path)).status_code == 200


async def test_draining_is_not_ready_but_answers_and_closes_connections(running: Running) -> None:
    running.drain.begin()
    ready = await running.client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()["draining"]) == (503, True)
    reply = await running.ask([GOOD])
    assert (reply.status_code, reply.headers["connection"]) == (200, "close")


async def test_the_openapi_document_is_typed_for_each_model_and_valid(running: Running) -> None:
    document = (await running.client.get("/openapi.json")).json()
    route = document["paths"]["/v1/models/toy:predict"]["post"]
    request = route["requestBody"]["content"]["application/json"]
    parts = {"components": document["components"]}
    jsonschema.validate(request["example"], request["schema"] | parts)
    with pytest.raises(jsonschema.ValidationError, match="412"):
        jsonschema.validate({"instances": [{**GOOD, "x": 412}]}, request["schema"] | parts)
    reply = (await running.ask([GOOD])).json()
    jsonschema.validate(
        reply, route["responses"]["200"]["content"]["application/json"]["schema"] | parts
    )


async def test_the_openapi_document_is_written_once_for_each_state_of_the_repository(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def counted(model: ServedModel, needed: Paths | None) -> ModelParts:
        written.append(model.bundle.name)
        return model_parts(model, needed)

    monkeypatch.setattr("seatrial_serve.api.openapi.model_parts", counted)
    get = running.client.get
    replies = await asyncio.gather(*(get("/openapi.json") for _ in range(9)))
    (etag,) = {reply.headers["etag"] for reply in replies}
    assert len({reply.content for reply in replies}) == 1
    for known in (etag, f'"x", W/{etag}', "*"):
        unchanged = await get("/openapi.json", headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (
            304,
            b"",
            etag,
        )
    toy_bundle(tmp_path, name="other")
    await running.lifecycle.reload()
    changed = await get("/openapi.json", headers={"If-None-Match": etag})
    assert (changed.status_code, "/v1/models/other:predict" in changed.json()["paths"]) == (
        200,
        True,
    )
    assert sorted(written) == ["other", "toy"]
    await running.lifecycle.reload()
    await running.lifecycle.unload("other")
    again = await get("/openapi.json")
    assert (again.content, again.headers["etag"]) == (replies[0].content, etag)


async def test_every_reference_of_the_openapi_document_leads_somewhere(running: Running) -> None:
    document = (await running.client.get("/openapi.json")).json()
    found = set(re.findall(r'"\$ref": "#/([^"]*)"', json.dumps(document)))
    assert {"components/responses/Refused400", "components/schemas/toy-1.0.0-row"} <= found
    for reference in found:
        place = document
        for step in reference.split("/"):
            place = place[step]


async def test_the_pages_need_no_network(running: Running) -> None:
    page = (await running.client.get("/docs")).text
    assert "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs-static/{asset}" in page
        assert (await running.client.get(f"/docs-static/{asset}")).status_code == 200


async def test_a_model_that_answers_its_golden_rows_wrongly_takes_no_traffic_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(
        monkeypatch, lambda feeds: {**answer(feeds), "twice": feeds["x"] * np.float32(2.01)}
    )
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        ready = await running.client.get("/v2/health/ready")
        assert ready.status_code == 503
        (why,) = ready.json()["not_ready"]
        assert (why["state"], why["code"]) == ("FAILED", "E_LOAD_GATE")
        assert "sample 8, output 'twice': got 16.07" in why["reason"]
        reply = await running.ask([GOOD])
        assert (reply.status_code, reply.json()["code"]) == (503, "E_NOT_READY")
        assert reply.headers["retry-after"]
        assert 'seatrial_model_ready{model="toy",version="1.0.0"} 0.0' in scrape(running)


async def test_a_model_that_no_longer_refuses_what_it_must_takes_no_traffic(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    golden = toy_golden()
    wrong = type(golden)(
        golden.rows,
        golden.answers,
        (*golden.refusals, type(golden.refusals[0])({"x": 1.0, "word": "a"}, "E_RANGE")),
    )
    toy_bundle(tmp_path, golden=wrong)
    async with run_app(tmp_path) as running:
        (why,) = (await running.client.get("/v2/health/ready")).json()["not_ready"]
        assert "refusal 2: want E_RANGE, got an answer" in why["reason"]


async def test_a_damaged_bundle_takes_no_traffic_and_its_neighbour_does(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    graph = toy_bundle(tmp_path, name="other").path / "graphs" / "toy.fake"
    graph.write_bytes(b"Twice")
    async with run_app(tmp_path) as running:
        (why,) = (await running.client.get("/v2/health/ready")).json()["not_ready"]
        assert (why["name"], why["code"]) == ("other", "E_BUNDLE_CHANGED")
        assert (await running.ask([GOOD])).status_code == 200
        assert (await running.ask([GOOD], model="other")).status_code == 503


async def test_a_folder_named_otherwise_than_its_bundle_is_refused(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path).path.parent.rename(tmp_path / "renamed")
    async with run_app(tmp_path) as running:
        (why,) = (await running.client.get("/v2/health/ready")).json()["not_ready"]
        assert why["code"] == "E_BUNDLE_NAME"


async def test_the_highest_version_is_served_or_all_of_them(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    for version in ("1.9.0", "1.10.0"):
        toy_bundle(tmp_path, version=version)
    async with run_app(tmp_path) as running:
        assert (await running.ask([GOOD])).json()["model_version"] == "1.10.0"
        assert (
            await running.client.post("/v1/models/toy/versions/1.9.0:predict")
        ).status_code == 404
    async with run_app(tmp_path, versions="all") as running:
        reply = await running.client.post(
            "/v1/models/toy/versions/1.9.0:predict", json={"instances": [GOOD]}
        )
        assert reply.json()["model_version"] == "1.9.0"


async def test_a_model_that_is_not_batchable_sees_one_row_at_a_time(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path, batchable=False)
    async with run_app(tmp_path) as running:
        runtime.batches.clear()
        replies = await asyncio.gather(*(running.ask([GOOD] * 4) for _ in range(8)))
        assert all(reply.status_code == 200 for reply in replies)
        assert set(runtime.batches) == {1}


@pytest.mark.parametrize("spoil", [
    lambda out: {**out, "twice": np.full_like(out["twice"], np.nan)},
    lambda out: {**out, "twice": np.full_like(out["twice"], np.inf)},
    lambda out: {**out, "pair": out["pair"][:, :1]},
    lambda out: {"twice": out["twice"], "pair": out["pair"][:-1]},
    lambda out: {"twice": out["twice"]},
])  # fmt: skip
async def test_an_answer_that_breaks_the_contract_is_never_sent(
    spoil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = [False]
    fake_runtimes(monkeypatch, lambda feeds: spoil(answer(feeds)) if spoilt[0] else answer(feeds))
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        spoilt[0] = True
        reply = await running.ask([GOOD])
        assert (reply.status_code, reply.json()["code"]) == (500, "E_OUTPUT_CONTRACT")


async def test_what_a_library_raises_stays_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [False]

    def run(feeds: Any) -> Any:
        if broken[0]:
            raise RuntimeError("secret path /srv/models")
        return answer(feeds)

    fake_runtimes(monkeypatch, run)
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        broken[0] = True
        reply = await running.ask([GOOD])
    assert (reply.status_code, reply.json()["code"]) == (500, "E_INTERNAL")
    assert "secret" not in reply.text
    assert "secret path" in caplog.text


async def test_a_row_limit_is_the_contracts(tmp_path: Path, runtime: FakeRuntime) -> None:
    toy_bundle(tmp_path, limits=st.Limits(max_rows=3, max_body_bytes=500))
    async with run_app(tmp_path) as running:
        assert (await running.ask(ROWS[:3])).status_code == 200
        assert (await running.ask(ROWS[:4])).json()["code"] == "E_BATCH"
        assert (await running.ask([{"x": 1.0, "word": "a" * 500}])).status_code == 413


async def test_a_bug_while_loading_is_a_failed_model_and_not_a_dead_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch, lambda feeds: {}[0])
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        (why,) = (await running.client.get("/v2/health/ready")).json()["not_ready"]
        assert why["code"] == "E_INTERNAL"
        assert (await running.client.get("/v2/health/live")).status_code == 200


def scrape(running: Running) -> str:
    from prometheus_client import generate_latest

    running.metrics.flush()
    return generate_latest(running.metrics.registry).decode()


async def test_metrics_count_outcomes_phases_and_batches(running: Running) -> None:
    for row in (GOOD, GOOD, {**GOOD, "x": 412.0}):
        await running.ask([row])
    await running.ask([GOOD], model="x" * 100)
    text = scrape(running)
    assert 'seatrial_requests_total{code="ok",model="toy",version="1.0.0"} 2.0' in text
    assert 'seatrial_requests_total{code="E_RANGE",model="toy",version="1.0.0"} 1.0' in text
    for phase in ("front", "queue", "run"):
        assert (
            "seatrial_request_phase_seconds_count"
            f'{{model="toy",phase="{phase}",version="1.0.0"}} 2.0'
        ) in text
    assert 'seatrial_batch_rows_count{model="toy",version="1.0.0"} 2.0' in text
    assert 'seatrial_model_ready{model="toy",version="1.0.0"} 1.0' in text
    assert "xxxx" not in text


async def test_a_refused_request_leaves_nothing_to_the_collector(running: Running) -> None:
    assert (await running.ask([{"x": 1.0, "word": "c"}])).status_code == 400
    gc.collect()
    gc.disable()
    try:
        assert (await running.ask([{"x": 1.0, "word": "c"}])).status_code == 400
        await asyncio.sleep(0)
        assert not [each for each in gc.get_objects() if type(each) is RequestRecord]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/docs-static/swagger-ui-bundle.js"),
        ("GET", "/v1/models/toy"),
        ("GET", "/nowhere"),
        ("GET", "/v1/models/toy:predict"),
        ("POST", "/v1/models/other:predict"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_page_and_error_keeps_to_itself_in_a_browser(
    method: str, path: str, shared: Running
) -> None:
    headers = (await shared.client.request(method, path)).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "'unsafe-inline'" not in policy.get("script-src", "")
    assert headers["x-content-type-options"] == "nosniff"
    assert (
        headers["cross-origin-resource-policy"]
        == headers["cross-origin-opener-policy"]
        == "same-origin"
    )
    assert len(headers.get_list("content-security-policy")) == 1


async def test_every_prediction_is_what_its_type_says(running: Running) -> None:
    reply = await running.ask([GOOD])
    assert reply.status_code == 200
    assert reply.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_the_script_of_the_apis_pages_is_the_one_that_its_policy_names(
    running: Running,
) -> None:
    page = await running.client.get("/docs")
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    named = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    assert named
    assert all(f"'sha256-{digest}'" in page.headers["content-security-policy"] for digest in named)


@pytest.mark.parametrize(
    "path",
    ["//v1/models", "/v1/models/", "/v1//models//toy//", "//v2//health/live/", "/docs/", "/v2/"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_slash_too_many_leads_to_the_same_route(path: str, shared: Running) -> None:
    plain = re.sub("//+", "/", path).rstrip("/")
    more, exact = await shared.client.get(f"http://toy{path}"), await shared.client.get(plain)
    assert (more.status_code, more.content) == (200, exact.content)


@pytest.mark.parametrize(
    "path",
    [
        "//v1/models/toy:predict",
        "/v1/models/toy:predict/",
        "/v1/models//toy//versions/1.0.0:predict",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_slash_too_many_leads_to_the_same_model(path: str, shared: Running) -> None:
    reply = await shared.client.post(
        f"http://toy{path}", json={"instances": [{"x": 1.0, "word": "a"}]}
    )
    assert reply.status_code == 200
