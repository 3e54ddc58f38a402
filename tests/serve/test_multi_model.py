"""SageMaker's multi-model endpoints, by the requests that its documentation shows."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.running import Running, run_app
from support.toys import ROWS, fake_runtimes, toy_bundle

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.models import lifecycle
from seatrial_serve.settings import Settings, load_settings

HASH = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A server whose folder has models that nobody asked it to load."""
    fake_runtimes(monkeypatch)
    models = tmp_path / "models"
    for name, version in ((HASH, "1.0.0"), ("other", "2.0.0")):
        sealed = toy_bundle(tmp_path / "sealed", version=version).path
        shutil.copytree(sealed, models / name / "model")
    async with run_app(models, multi_model=True) as app:
        yield app


def url(running: Running, tmp_path: Path, name: str = HASH) -> str:
    return str(tmp_path / "models" / name / "model")


async def load(running: Running, name: str, folder: str) -> tuple[int, dict[str, str]]:
    reply = await running.client.post("/models", json={"model_name": name, "url": folder})
    return reply.status_code, reply.json()


async def test_models_are_loaded_asked_listed_and_unloaded(
    running: Running, tmp_path: Path
) -> None:
    client = running.client
    assert (await client.get("/ping")).status_code == 200  # before there is any
    assert (await client.get("/models")).json() == {"models": []}
    assert (await client.post(f"/models/{HASH}/invoke", json=[])).status_code == 404
    told = {"modelName": HASH, "modelUrl": url(running, tmp_path)}
    assert await load(running, HASH, told["modelUrl"]) == (200, told)
    reply = await client.post(
        f"/models/{HASH}/invoke",
        json={"instances": [ROWS[3]]},
        headers={"X-Amzn-SageMaker-Target-Model": "toy.tar.gz"},
    )
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"][0]["twice"] == 6.0
    assert (await load(running, "other", url(running, tmp_path, "other")))[0] == 200
    listed = (await client.get("/models")).json()["models"]
    assert [each["modelName"] for each in listed] == [HASH, "other"]
    assert (await client.get(f"/models/{HASH}")).json() == told
    csv = await client.post(
        "/models/other/invoke", content=b"x,word\n3,a\n", headers={"content-type": "text/csv"}
    )
    assert csv.json()["model_version"] == "2.0.0"
    assert (await client.delete(f"/models/{HASH}")).json() == told
    assert (await client.delete(f"/models/{HASH}")).status_code == 404
    assert (await client.get(f"/models/{HASH}")).status_code == 404
    assert (await client.post(f"/models/{HASH}/invoke", json=[])).status_code == 404
    await running.lifecycle.reload()
    assert running.repository.names == ["other"]
    assert (await client.get("/ping")).status_code == 200


async def test_a_name_that_is_loaded_is_a_conflict(running: Running, tmp_path: Path) -> None:
    assert (await load(running, HASH, url(running, tmp_path)))[0] == 200
    status, said = await load(running, HASH, url(running, tmp_path, "other"))
    assert (status, said["code"]) == (409, "E_LOADED")


async def test_a_model_without_room_is_told_so_and_is_not_there(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "granted_bytes", lambda: 1)
    status, said = await load(running, HASH, url(running, tmp_path))
    assert (status, said["code"]) == (507, "E_MEMORY")
    assert (await running.client.get("/models")).json() == {"models": []}
    monkeypatch.undo()


async def test_a_damaged_bundle_is_refused_and_leaves_nothing(
    running: Running, tmp_path: Path
) -> None:
    folder = Path(url(running, tmp_path))
    (folder / "profile.json").write_bytes(b"{}")
    status, said = await load(running, HASH, str(folder))
    assert (status, said["code"]) == (500, "E_BUNDLE_CHANGED")
    assert running.repository.names == []
    assert (await running.client.get("/ping")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model_name": "../x", "url": "/"}, 400),
        ({"model_name": "x"}, 400),
        ({"model_name": "x", "url": "/etc"}, 400),
        ({"model_name": "x", "url": "{models}/../sealed"}, 400),
        ([], 400),
    ],
)
async def test_odd_requests_are_refused(
    body: object, status: int, running: Running, tmp_path: Path
) -> None:
    if isinstance(body, dict) and "url" in body:
        body = body | {"url": body["url"].replace("{models}", str(tmp_path / "models"))}
    reply = await running.client.post("/models", json=body)
    assert reply.status_code == status, reply.text
    assert running.repository.names == []


async def test_a_folder_without_a_bundle_is_told(running: Running, tmp_path: Path) -> None:
    (tmp_path / "models" / "empty").mkdir()
    status, said = await load(running, "x", str(tmp_path / "models" / "empty"))
    assert status == 500
    assert "no bundle" in said["error"]


async def test_without_the_setting_there_is_no_such_route(tmp_path: Path) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as running:
        assert (await running.client.get("/models")).status_code == 404
        assert (await running.client.post("/models", json={})).status_code in (404, 405)


def test_sagemaker_says_when_an_endpoint_has_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings(container="sagemaker").multi_model
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    settings = load_settings(container="sagemaker")
    assert settings.multi_model
    assert settings.bundles == ("/opt/ml/models",)


def test_several_workers_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="one worker"):
        load_settings(bundles=(str(tmp_path),), workers=2, multi_model=True)
    assert Settings(bundles=(str(tmp_path),), multi_model=True).workers == 1
