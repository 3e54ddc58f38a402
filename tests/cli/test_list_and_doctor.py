"""`seatrial list` and `seatrial doctor`, over folders, servers and machines as they are."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.conformance import seal
from support.keyed import key_of
from support.toys import toy_bundle
from support.waiting import until

from seatrial.commands import doctor
from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle
from seatrial_serve.settings import Settings


def run(*words: str, want: int = 0) -> str:
    done = CliRunner().invoke(cli, [*words])
    assert done.exit_code == want, (done.output, done.exception)
    return done.stdout


def test_bundles_of_a_folder_are_listed_the_highest_version_first(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0"):
        toy_bundle(tmp_path, version=version)
    rows = json.loads(run("list", str(tmp_path), "--json"))
    assert [(row["model"], row["version"], row["state"]) for row in rows] == [
        ("toy", "1.10.0", "sealed"), ("toy", "1.9.0", "sealed"),
    ]  # fmt: skip
    whole = open_bundle(tmp_path / "toy" / "1.9.0")
    assert (rows[1]["digest"], rows[1]["size_bytes"]) == (whole.digest, whole.size_bytes)
    table = run("list", str(tmp_path / "toy" / "1.9.0"))
    assert whole.digest[:12] in table
    assert "1.10.0" not in table


def test_a_damaged_bundle_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        toy_bundle(tmp_path, version=version)
    (tmp_path / "toy" / "2.0.0" / "manifest.json").write_text("{}")
    contract = tmp_path / "toy" / "3.0.0" / "contract.json"
    contract.write_bytes(contract.read_bytes()[:-1] + b" ")
    quick = json.loads(run("list", str(tmp_path), "--json", want=1))
    assert [row["state"] for row in quick] == ["sealed", "damaged", "sealed"]
    whole = json.loads(run("list", str(tmp_path), "--verify", "--json", want=1))
    assert [row["state"] for row in whole] == ["damaged", "damaged", "verified"]
    said = run("list", str(tmp_path), "--verify", want=1)
    assert f"toy 3.0.0: {whole[0]['reason']}"[:60] in said


def test_a_folder_without_bundles_says_how_one_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["list", str(tmp_path)])
    assert "make one: seatrial export" in str(done.exception)


@pytest.mark.slow
def test_models_of_a_server_are_listed_with_a_key(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    seal(tmp_path / "bundles")
    file = tmp_path / "keys.toml"
    (tmp_path / "key").write_text(key_of(file, "list", "read"))
    server = serve(tmp_path / "bundles", "--api-keys", str(file))
    until(lambda: server.wait_until_loaded()[0] == 200)
    given = ("--key-file", str(tmp_path / "key"))
    (row,) = json.loads(run("list", server.url, "--json", *given))
    (here,) = json.loads(run("list", str(tmp_path / "bundles"), "--json"))
    assert row["state"] == "READY"
    assert row["served"] == "fp32"
    for name in ("model", "version", "digest", "size_bytes", "variants"):
        assert row[name] == here[name]
    refused = CliRunner().invoke(cli, ["list", server.url])
    assert "got no key" in str(refused.exception)


def test_a_machine_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {each["what"]: each for each in json.loads(run("doctor", "--json"))}
    assert found["python"]["said"].startswith(".".join(map(str, sys.version_info[:3])))
    assert "CPUExecutionProvider" in found["providers"]["said"]
    assert "serve" in found["extras"]["said"].split(", ")
    assert found["cache"] == {"state": "ok", "what": "cache", "said": str(tmp_path / "seatrial")}


def test_what_is_wrong_with_a_machine_is_said_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seatrial").mkdir()
    (tmp_path / "seatrial").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(Settings.model_fields["http_port"], "default", port)
        found = {each["what"]: each for each in json.loads(run("doctor", "--json"))}
    assert found[f"port {port}"]["state"] == "note"
    assert "--http-port" in found[f"port {port}"]["said"]
    assert "chmod go-w" in found["cache"]["said"]
    monkeypatch.setattr(doctor, "is_installed", lambda _: True)
    states = {(state, what) for state, what, _ in doctor.of_python()}
    assert ("bad", "onnxruntime") in states


def test_instruction_sets_are_read_off_the_system(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("processor : 0\nflags\t\t: fpu avx2 avx512f avx_vnni\n")
    (tmp_path / "arm").write_text("processor : 0\nFeatures\t: fp asimd asimddp\n")
    assert doctor.instruction_sets(tmp_path / "x86") == ["avx2", "avx512f", "avx_vnni"]
    assert doctor.instruction_sets(tmp_path / "arm") == ["asimd", "asimddp"]
    assert doctor.instruction_sets(tmp_path / "none") is None


@pytest.mark.slow
def test_a_bundle_is_opened_and_asked(tmp_path: Path) -> None:
    seal(tmp_path)
    bundle = next(tmp_path.glob("*/*/manifest.json")).parent
    assert "opens and answers: fp32" in run("doctor", str(bundle))
    assert "opens and answers: fp32" in run("doctor", str(tmp_path))
    (bundle / "contract.json").write_bytes(b"{}")
    assert "BAD   " in run("doctor", str(bundle), want=1)
