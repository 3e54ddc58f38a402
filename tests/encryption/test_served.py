"""Servers of encrypted bundles: what they answer, what is refused, and what reaches no disk."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.encrypted import (
    DATA,
    KNOWN,
    Key,
    encrypted,
    make_identity,
    seal,
    secrets_of,
    weights_of,
)
from support.running import Running, run_app
from support.servers import Server, fetch
from support.signers import make_key
from support.waiting import until

import seatrial as st
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.signature_files import put_signatures, read_signatures
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.policy import read_policy
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

PROVEN = r"(?m)^seatrial_live_parity_checked_total\{.*\} [1-9]"
ROW = {"x": [1.0] * 64}


async def version_of(running: Running) -> str:
    reply = await running.client.post("/v1/models/net:predict", json={"instances": [ROW]})
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    seed = int(told["model_version"].split(".")[1])
    assert np.allclose(told["predictions"][0]["y"], weights_of(64, seed).sum(0), atol=1e-3)
    return str(told["model_version"])


async def refused(running: Running, version: str) -> tuple[str, str]:
    told = (await running.client.get("/v1/models/net")).json()
    (found,) = [each for each in told["versions"] if each["version"] == version]
    return found["code"], found["reason"]


@pytest.mark.parametrize("how", ["file", "command"])
async def test_the_old_version_goes_on_where_the_new_one_cannot_be_opened(
    how: str, tmp_path: Path, key: Key
) -> None:
    bundles = tmp_path / "bundles"
    encrypted(bundles, key)
    other = make_identity(tmp_path / "other")
    options: dict[str, Any] = (
        {"identity": key.file} if how == "file" else {"identity_command": f"cat {key.file}"}
    )
    async with run_app(bundles, **options) as running:
        assert await version_of(running) == "1.0.0"
        new = encrypted(bundles, other, "1.1.0", seed=1)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        code, reason = await refused(running, "1.1.0")
        assert code == "E_BUNDLE_ENCRYPTED"
        assert "encrypted to X25519" in reason
        assert str(KNOWN) not in reason
        key.file.write_text(key.file.read_text() + other.file.read_text())
        damaged = (new / f"{DATA}.age").read_bytes()
        (new / f"{DATA}.age").write_bytes(damaged[:-1] + bytes([damaged[-1] ^ 1]))
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        assert (await refused(running, "1.1.0"))[0] == "E_BUNDLE_CHANGED"
        (new / f"{DATA}.age").write_bytes(damaged)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"


async def test_without_an_identity_the_model_is_not_ready_and_says_why(
    tmp_path: Path, key: Key
) -> None:
    encrypted(tmp_path / "bundles", key)
    async with run_app(tmp_path / "bundles") as running:
        code, reason = await refused(running, "1.0.0")
        assert code == "E_BUNDLE_ENCRYPTED"
        assert "--identity FILE" in reason


async def test_an_identity_that_cannot_be_read_is_told_at_start(tmp_path: Path, key: Key) -> None:
    encrypted(tmp_path / "bundles", key)
    with pytest.raises(DeclarationError, match="No such file"):
        async with run_app(tmp_path / "bundles", identity=tmp_path / "none"):
            pass


async def test_a_signature_of_the_plain_bundle_counts_and_is_checked_before_a_key(
    tmp_path: Path, key: Key
) -> None:
    keys = make_key(tmp_path / "signers")
    plain = seal(tmp_path / "plain")
    sign_bundle(plain.path, read_signing_key(make_key(tmp_path / "strangers").private))
    before = read_signatures(plain.path)
    sign_bundle(plain.path, read_signing_key(keys.private))
    put_signatures(plain.path, (*before, *read_signatures(plain.path)))
    path = encrypt_bundle(st.open_bundle(plain.path), [key.to], tmp_path / "bundles")
    assert read_signatures(path) == read_signatures(plain.path)
    assert check_signature(path, read_policy(keys.public)).digest == plain.digest
    options = {"require_signature": keys.public, "identity": key.file}
    async with run_app(tmp_path / "bundles", **options) as running:
        assert await version_of(running) == "1.0.0"
        unsigned = encrypted(tmp_path / "bundles", make_identity(tmp_path / "other"), "1.1.0")
        await running.lifecycle.reload()
        assert (await refused(running, "1.1.0"))[0] == "E_UNSIGNED", "no key was asked for"
        assert await version_of(running) == "1.0.0"
        shutil.rmtree(unsigned)
        shutil.rmtree(path)
        shutil.copytree(plain.path, path)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0", "the same digest: nothing is loaded anew"


@pytest.fixture
def dumping() -> Iterator[None]:
    """Let servers of this test dump as much as the system allows, if they did."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_plain_reaches_the_disk(
    workers: int, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch, dumping: None
) -> None:
    for variable in ("TMPDIR", "HOME"):
        folder = tmp_path / "server" / variable
        folder.mkdir(parents=True)
        monkeypatch.setenv(variable, str(folder))
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "server" / variable))
    bundles = tmp_path / "server" / "bundles"
    # above 1 MiB, from where on graphs are kept in the cache
    path = encrypted(bundles, key, width=640)
    plain = st.open_bundle(path, key.identities)
    weights = (bundles.with_name("bundles-plain") / "net/1.0.0" / DATA).read_bytes()
    known = secrets_of(plain.files, weights)
    assert len(written(bundles.with_name("bundles-plain"), known)) == len(known)
    shutil.rmtree(bundles.with_name("bundles-plain"))
    flags = [
        *("--identity", str(key.file), "--workers", str(workers), "--live-parity-per-s", "1000"),
        *("--audit-log", str(tmp_path / "server" / "audit.jsonl"), "--drain-window-s", "0.1"),
    ]
    assert core_limit(os.getpid()) != 0, "or the server's own limit would tell nothing"
    server = Server(bundles, *flags)
    try:
        url = server.url
        status, text = server.wait_until_loaded()
        assert status == 200, text
        want = (np.full(640, KNOWN, np.float32) @ weights_of(640)).astype(float)
        got = [ask_row(url, 640)["predictions"][0]["y"] for _ in range(20)]
        assert np.allclose(got, [want] * 20, rtol=1e-3, atol=50)
        until(lambda: re.search(PROVEN, fetch(server.metrics_url)[1]), 60)
        encrypted(bundles, key, "1.1.0", seed=1, width=640)
        shutil.rmtree(bundles.with_name("bundles-plain"))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: ask_row(url, 640)["model_version"] == "1.1.0", 60)
        assert not written(tmp_path / "server", known)
        serving = psutil.Process(server.process.pid)
        found = serving.children() if workers > 1 else [serving]
        assert len(found) == workers
        # the second worker may be starting yet
        until(lambda: all(core_limit(each.pid) == 0 for each in found), 60)
    finally:
        server.stop()
    assert not written(tmp_path / "server", known)
    assert not any(each.search("".join(server.log).encode()) for each in known)


def ask_row(url: str, width: int) -> dict[str, Any]:
    body = json.dumps({"instances": [{"x": [KNOWN] * width}]}).encode()
    asked = urllib.request.Request(
        f"{url}/v1/models/net:predict", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as reply:
        told: dict[str, Any] = json.load(reply)
    return told


def core_limit(pid: int) -> int:
    """The soft limit of a process' core files; -1 without one."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max core file size")
    ]
    soft = line.split()[4]
    return -1 if soft == "unlimited" else int(soft)


def written(folder: Path, known: list[re.Pattern[bytes]]) -> list[str]:
    """The files below a folder that hold what is known of a bundle."""
    return [
        f"{file.relative_to(folder)}: {each.pattern!r}"
        for file in folder.rglob("*")
        if file.is_file()
        for each in known
        if each.search(file.read_bytes())
    ]
