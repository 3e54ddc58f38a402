"""Bundles in MLflow: logged, found again byte for byte, served, and refused where they changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.real_mlflow import mlflow_database
from support.running import Running, run_app
from support.toys import fake_runtimes, toy_bundle, toy_golden

from seatrial_contracts.bundle import SIGNATURE_FILE, Bundle, open_bundle
from seatrial_contracts.errors import BundleError, DeclarationError, StoreError
from seatrial_serve.stores.address import InMlflow, read_address
from seatrial_serve.stores.resolve import open_address, pull
from seatrial_serve.stores.store import mark_of

pytestmark = pytest.mark.slow
ROW = {"x": 2.0, "word": "a"}


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_database(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(autouse=True)
def runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runtimes(monkeypatch)


def at(text: str) -> InMlflow:
    address = read_address(f"mlflow:models:/{text}")
    assert isinstance(address, InMlflow)
    return address


def push(bundle: Bundle, text: str) -> str:
    """The address of the version that it became."""
    from seatrial_serve.mlflow.push import push_to_mlflow

    return push_to_mlflow(bundle, at(text)).address


def artifacts(address: str) -> Path:
    """Where the artifacts of a version lie on this machine."""
    from mlflow import MlflowClient

    name, version = address.removeprefix("mlflow:models:/").split("/")
    uri = MlflowClient().get_model_version_download_uri(name, version)
    return Path(uri.removeprefix("file://"))


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_bundle_is_given_back_byte_for_byte_by_each_address_and_by_mlflow(tmp_path: Path) -> None:
    import mlflow
    from mlflow import MlflowClient

    bundle = toy_bundle(tmp_path / "made")
    address = push(bundle, "whole@stable")
    assert address == "mlflow:models:/whole/1"
    version = MlflowClient().get_model_version("whole", "1")
    logged, run = version.source, f"runs:/{version.run_id}/toy"
    for text in (address, "mlflow:models:/whole@stable", f"mlflow:{logged}", f"mlflow:{run}"):
        assert open_address(text).digest == bundle.digest
    pulled, was_there = pull(at("whole/1"), tmp_path / "pulled")
    assert not was_there
    theirs = mlflow.artifacts.download_artifacts("models:/whole/1", dst_path=str(tmp_path / "own"))
    sealed = files_below(bundle.path)
    assert files_below(pulled.path) == sealed
    assert files_below(Path(theirs) / "data" / "bundle") == sealed
    assert version.tags["seatrial.bundle.digest"] == f"sha256:{bundle.digest}"
    assert version.tags["seatrial.version"] == "1.0.0"


def test_the_same_bundle_is_one_version_and_the_alias_moves(tmp_path: Path) -> None:
    one, other = (toy_bundle(tmp_path, version=each) for each in ("1.0.0", "1.1.0"))
    assert push(one, "again@stable") == "mlflow:models:/again/1"
    mark = mark_of(at("again@stable"))
    assert push(other, "again") == "mlflow:models:/again/2"
    assert push(one, "again@old") == "mlflow:models:/again/1"
    assert mark_of(at("again@stable")) == mark == mark_of(at("again@old")) == mark_of(at("again/1"))
    push(other, "again@stable")
    assert open_address("mlflow:models:/again@stable").version == "1.1.0"
    assert mark_of(at("again@stable")) != mark


def test_the_run_and_the_experiment_are_those_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient()
    with mlflow.start_run() as run:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    push(toy_bundle(tmp_path, version="1.0.0"), "trained")
    assert client.get_model_version("trained", "1").run_id == run.info.run_id
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)  # MLflow takes it out itself
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "releases")
    push(toy_bundle(tmp_path, version="1.1.0"), "trained")
    made = client.get_run(client.get_model_version("trained", "2").run_id)
    assert client.get_experiment(made.info.experiment_id).name == "releases"
    assert made.info.run_name == "toy 1.1.0"


async def version_of(running: Running) -> str:
    reply = await running.ask([ROW])
    assert reply.status_code == 200, reply.text
    return str(reply.json()["model_version"])


async def told(running: Running) -> dict[str, Any]:
    return dict((await running.client.get("/v2/health/ready")).json())


async def test_an_alias_is_served_and_what_is_damaged_changes_nothing(tmp_path: Path) -> None:
    push(toy_bundle(tmp_path, version="1.0.0"), "served@stable")
    async with run_app("mlflow:models:/served@stable") as running:
        assert await version_of(running) == "1.0.0"
        two = push(toy_bundle(tmp_path, version="1.1.0"), "served@stable")
        file = artifacts(two) / "data" / "bundle" / "profile.json"
        whole = file.read_bytes()
        for damaged in (b"x" * len(whole), whole + b" ", whole[:-1], None):
            file.write_bytes(damaged) if damaged is not None else file.unlink()
            await running.lifecycle.reload()
            assert await version_of(running) == "1.0.0"
            assert len((await told(running))["from_cache"]) == 1
        file.write_bytes(whole)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"
        assert (await told(running))["from_cache"] == []


def test_a_manifest_that_changed_is_another_bundle_or_none(tmp_path: Path) -> None:
    address = push(toy_bundle(tmp_path), "manifest")
    file = artifacts(address) / "data" / "bundle" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"toy"', b'"joy"'))
    assert open_address(address).name == "joy"  # its files are those that it names
    file.write_bytes(b"{" * 2**21)
    with pytest.raises(StoreError, match="2097152 bytes"):
        open_address(address)
    file.write_bytes(b"{}")
    with pytest.raises(BundleError, match="manifest"):
        open_address(address)


def test_the_signature_goes_along_and_receipts_stay(tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path)
    (bundle.path / "receipts").mkdir()
    assert push(bundle, "signed@stable") == "mlflow:models:/signed/1"
    (bundle.path / SIGNATURE_FILE).write_bytes(b"a signature")
    assert push(open_bundle(bundle.path), "signed@stable") == "mlflow:models:/signed/2"
    assert push(open_bundle(bundle.path), "signed@stable") == "mlflow:models:/signed/2"
    names = files_below(artifacts("mlflow:models:/signed/2") / "data" / "bundle")
    assert names.keys() == {*bundle.files, "manifest.json", SIGNATURE_FILE}
    pulled, _ = pull(at("signed@stable"), tmp_path / "pulled")
    assert (pulled.path / SIGNATURE_FILE).read_bytes() == b"a signature"
    unsigned, _ = pull(at("signed/1"), tmp_path / "unsigned")
    assert not (unsigned.path / SIGNATURE_FILE).exists()


def test_a_model_of_others_holds_no_bundle(tmp_path: Path) -> None:
    import mlflow

    (tmp_path / "file").write_text("x")
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="plain", loader_module="json", data_path=str(tmp_path / "file"),
            registered_model_name="plain", pip_requirements=["numpy"],
        )  # fmt: skip
    with pytest.raises(BundleError, match="seatrial adopt makes a bundle"):
        open_address("mlflow:models:/plain/1")


@pytest.mark.parametrize("text", ["none/1", "none@stable", f"m-{'0' * 32}"])
def test_what_mlflow_does_not_know_is_named(text: str) -> None:
    with pytest.raises(StoreError, match="nothing there, says MLflow"):
        open_address(f"mlflow:models:/{text}")


def test_a_name_without_version_is_for_pushing_alone(tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path)
    with pytest.raises(DeclarationError, match="neither version nor alias"):
        open_address("mlflow:models:/toy")
    for text in ("toy/1", f"m-{'0' * 32}"):
        with pytest.raises(DeclarationError, match="an address to read from"):
            push(bundle, text)


def test_plain_http_to_another_machine_is_refused_and_no_password_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow.example.org:5000")
    with pytest.raises(DeclarationError, match="plain HTTP") as refused:
        open_address("mlflow:models:/toy/1")
    assert "at http://mlflow.example.org:5000" in str(refused.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match="Connection refused") as down:
        open_address("mlflow:models:/toy/1")
    assert "secret" not in f"{refused.value}{down.value}"


def test_two_servers_are_remembered_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = at("toy/1").shown
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    assert at("toy/1").shown != one
    with pytest.raises(StoreError):
        open_address("mlflow:models:/whole/1")


def test_rows_that_change_the_digest_are_two_versions(tmp_path: Path) -> None:
    push(toy_bundle(tmp_path / "a"), "rows")
    golden = toy_golden([{"x": 1.5, "word": "a"}] * 3)
    assert push(toy_bundle(tmp_path / "b", golden=golden), "rows").endswith("/2")


@pytest.mark.parametrize(
    ("came", "wanted"),
    [
        (None, ["seatrial[serve]==1.2.3"]),
        ({"url": "file:///clone", "dir_info": {"editable": True}}, []),
        ({"url": "file:///dist/seatrial.whl", "archive_info": {}}, []),
        ({"url": "file:///clone", "vcs_info": {"vcs": "git", "commit_id": "abc"}}, []),
        (
            {"url": "https://host/o/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["seatrial[serve] @ git+https://host/o/r.git@abc"],
        ),
    ],
)
def test_a_requirement_names_where_this_package_came_from_or_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    came: dict[str, Any] | None,
    wanted: list[str],
) -> None:
    from packaging.requirements import Requirement

    import seatrial_serve.mlflow.push as module

    text = None if came is None else json.dumps(came)
    package = SimpleNamespace(version="1.2.3", read_text=lambda _name: text)
    monkeypatch.setattr(module, "distribution", lambda _name: package)
    found = module.own_requirement(toy_bundle(tmp_path))
    assert found == wanted
    assert all(Requirement(each).name == "seatrial" for each in found)


def test_what_mlflow_installs_from_an_index_is_not_this_package(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    push(toy_bundle(tmp_path), "needs")
    source = MlflowClient().get_model_version_download_uri("needs", "1")
    lines = (Path(source.removeprefix("file://")) / "requirements.txt").read_text().split("\n")
    assert any(line.startswith("mlflow==") for line in lines)
    assert not [line for line in lines if line.startswith("seatrial")]
