"""Real stores on the loopback: Debian's registry, read back by oras and KServe, and object stores.

S3 is moto's, Google's is gcp-storage-emulator's, Azure's is azurite's. They, the libraries that
ask them, oras and KServe's storage run in environments of their own: `make clients`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.real_stores import ObjectStore, object_store, python_of, seatrial, served_beside
from support.registries import debian_registry
from support.servers import fetch
from support.waiting import until

from seatrial_contracts.bundle import open_bundle, write_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def penguins(examples: Path) -> Path:
    return examples / "penguins" / "1.0.0"


def test_golden_rows_pass_through_a_registry_and_the_server_outlives_it(
    penguins: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    with debian_registry(tmp_path) as host:
        address = f"oci://{host}/team/penguins:1.0.0"
        said = seatrial("push", str(penguins), address)
        pinned = said.splitlines()[1].removeprefix("pinned: ")
        assert seatrial("push", str(penguins), f"oci://{host}/team/penguins:stable").count(
            pinned.partition("@")[2]
        )
        assert "penguins 1.0.0" in seatrial("inspect", address)
        assert "the contracts are equal" in seatrial("diff", address, pinned)
        seatrial("pull", pinned, "--out", str(tmp_path / "pulled"))
        pulled = tmp_path / "pulled" / "penguins" / "1.0.0"
        assert open_bundle(pulled).digest == open_bundle(penguins).digest
        server = serve(address, "--watch", "--poll-s", "1")
        status, body = server.wait_until_loaded()
        assert status == 200, body
        report = str(tmp_path / "report.xml")
        seatrial("parity", address, "--url", server.url, "--runner", "http v1", "--junit", report)
    end = 100
    while not json.loads(fetch(f"{server.url}/v2/health/ready")[1])["from_cache"] and end:
        end -= 1
        time.sleep(0.1)
    assert json.loads(fetch(f"{server.url}/v2/health/ready")[1])["from_cache"][0]["reason"]
    seatrial("parity", str(pulled), "--url", server.url, "--runner", "http v1", "--junit", report)
    again = serve(address, "--workers", "2")
    status, body = again.wait_until_loaded()
    assert status == 200, body
    assert "Connection refused" in json.loads(body)["from_cache"][0]["reason"]
    seatrial("parity", str(pulled), "--url", again.url, "--runner", "http v1", "--junit", report)
    assert "Connection refused" in seatrial("inspect", address, status=1)


def test_oras_and_kserve_read_what_was_pushed(penguins: Path, tmp_path: Path) -> None:
    python = python_of("stores")
    with debian_registry(tmp_path) as host:
        seatrial("push", str(penguins), f"oci://{host}/team/penguins:1.0.0")
        (tmp_path / "read").mkdir()
        reader = Path(__file__).parent / "read_back.py"
        done = subprocess.run(
            [python, str(reader), f"{host}/team/penguins:1.0.0", str(tmp_path / "read")],
            capture_output=True, text=True, timeout=240, check=False, env={"HOME": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["index"] == "application/vnd.oci.image.index.v1+json"
    assert told["artifact_types"] == [None, None, "application/vnd.cncf.model.manifest.v1+json"]
    assert told["read"] == told["layer"]
    bundle = open_bundle(tmp_path / "read" / "models" / "penguins" / "1.0.0")
    assert bundle.digest == open_bundle(penguins).digest
    assert len(told["files"]) == len(bundle.files) + 1


@pytest.fixture(params=["s3", "gs", "az"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    with object_store(request.param, tmp_path) as found:
        yield found


def test_a_bundle_goes_through_an_object_store(
    penguins: Path, tmp_path: Path, store: ObjectStore
) -> None:
    place = f"{store.address}/churn"
    assert f"{place}/penguins/1.0.0" in store.seatrial("push", str(penguins), place)
    store.seatrial("pull", place, "--out", str(tmp_path / "pulled"))
    pulled = open_bundle(tmp_path / "pulled" / "penguins" / "1.0.0")
    assert pulled.digest == open_bundle(penguins).digest
    assert "penguins 1.0.0" in store.seatrial("inspect", f"{place}/penguins/1.0.0")
    (said,) = store.seatrial("inspect", f"{store.address}/other", status=1).splitlines()
    assert "no bundle" in said
    nowhere = f"{store.address}-not/churn"
    (said,) = store.seatrial("push", str(penguins), nowhere, status=1).splitlines()
    assert "got no such bucket or container" in said
    if store.wrong is None:
        return
    refused = store._replace(variables=store.wrong)
    for words in (("inspect", f"{place}/penguins/1.0.0"), ("push", str(penguins), place)):
        (said,) = refused.seatrial(*words, status=1).splitlines()
        assert "credentials that may read" in said
        assert re.search(r"; A[A-Z].* give", said)  # AWS's or AZURE's variables
        assert "s3cret" not in said


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_follows_a_prefix_of_an_object_store_and_outlives_it(
    penguins: Path,
    tmp_path: Path,
    serve: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    with object_store(scheme, tmp_path) as store:
        for name in store.variables.keys() - {"PYTHONPATH", "XDG_CACHE_HOME", "HOME"}:
            monkeypatch.setenv(name, store.variables[name])
        address = f"{store.address}/birds"
        assert address in store.seatrial("push", str(penguins), address)
        program = served_beside("object_stores")
        server = serve(address, "--watch", "--poll-s", "1", program=program)
        status, body = server.wait_until_loaded()
        assert status == 200, body
        report = str(tmp_path / "report.xml")
        ask = ("--url", server.url, "--runner", "http v1", "--junit", report)
        seatrial("parity", str(penguins), *ask)
        bundle = open_bundle(penguins)
        manifest = bundle.manifest.model_copy(update={"version": "1.1.0", "files": {}})
        newer = write_bundle(tmp_path / "newer", manifest, dict(bundle.files)).path
        store.seatrial("push", str(newer), address)
        ready = f"{server.url}/v2/models/penguins/versions/1.1.0/ready"
        until(lambda: fetch(ready)[0] == 200)
    until(lambda: json.loads(fetch(f"{server.url}/v2/health/ready")[1])["from_cache"], 120)
    seatrial("parity", str(newer), *ask)
    assert "Traceback" not in "".join(server.log)
    assert not [line for line in server.log if re.search(r" (gcsfs|azure|s3fs)\S*\[", line)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_leaves_no_half_bundle(penguins: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(disk)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        with debian_registry(tmp_path) as host:
            address = f"oci://{host}/team/penguins:1.0.0"
            seatrial("push", str(penguins), address)
            said = seatrial("inspect", address, status=1, XDG_CACHE_HOME=str(disk))
            assert said.count("No space left on device") == 1
            assert "Traceback" not in said
            said = seatrial("pull", address, "--out", str(disk), status=1)
            assert said.count("No space left on device") == 1
        assert not [each for each in disk.rglob("*") if each.name == "manifest.json"]
        assert not [each for each in disk.rglob("*") if each.is_file() and each.stat().st_size]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
