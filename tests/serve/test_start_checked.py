"""Several workers: what one process would refuse at its start ends theirs before any is started."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.servers import OURS
from support.signers import make_key
from support.toys import fake_runtimes, toy_bundle

from seatrial_contracts.errors import DeclarationError
from seatrial_serve import server
from seatrial_serve.process.reloads import NoReloads
from seatrial_serve.settings import Settings
from seatrial_serve.supervisor import Supervisor
from seatrial_serve.thread_server import ThreadServer

Wrong = Callable[[Path], Mapping[str, Any]]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


WRONG: dict[str, Wrong] = {
    "no policy": lambda at: {"require_signature": at / "none.pem"},
    "a policy that is none": lambda at: {
        "require_signature": written(at / "policy.toml", "no policy")
    },
    "an empty folder of keys": lambda at: {"require_signature": folder(at / "keys")},
    "a policy whose key is gone": lambda at: {
        "require_signature": written(at / "p.toml", '[[signer]]\nname = "a"\nkey = "none.pem"')
    },
    "no identity": lambda at: {"identity": at / "none.txt"},
    "an identity that is none": lambda at: {"identity": written(at / "id.txt", "secret")},
    "a command that fails": lambda _: {"identity_command": "false"},
    "an audit log in no folder": lambda at: {"audit_log": str(at / "none" / "audit.jsonl")},
    "a syslog that is none": lambda _: {"audit_log": "syslog://nowhere"},
    "a folder for failures that is a file": lambda at: {
        "keep_failures": written(at / "failures", "")
    },
    "a recipient that is none": lambda at: {
        "keep_failures": at / "kept", "keep_failures_key": "age1nobody"
    },
    "no keys": lambda at: {"api_keys": at / "none.toml"},
    "a certificate that is gone": lambda at: {
        "tls_cert": at / "none.pem", "tls_key": at / "none.key"
    },
}  # fmt: skip


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A folder of bundles, and what is started in the place of workers."""
    started: list[object] = []
    monkeypatch.setattr(Supervisor, "_supervise", lambda *_: started.append(_))
    monkeypatch.setattr(server, "start_log", lambda *_: None)
    monkeypatch.setattr(server, "Reloads", NoReloads)
    toy_bundle(tmp_path / "bundles")
    return started


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_ends_the_start_of_workers_as_that_of_one_process(
    case: str, started: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port"), 0)
    said = {**ports, "bundles": tmp_path / "bundles", **WRONG[case](tmp_path)}
    with pytest.raises(DeclarationError) as alone:
        ThreadServer(Settings(**said)).start()
    with pytest.raises(DeclarationError) as several:
        server.serve(Settings(**said, workers=2))
    assert not started
    assert str(several.value) == str(alone.value)


def test_what_can_be_read_starts_workers(started: list[object], tmp_path: Path) -> None:
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port"), 0)
    server.serve(
        Settings(
            bundles=tmp_path / "bundles",
            workers=2,
            audit_log=str(tmp_path / "audit.jsonl"),
            keep_failures=tmp_path / "kept",
            **ports,
            require_signature=make_key(tmp_path / "keys").public,
        )
    )
    assert started


@pytest.mark.slow
def test_a_command_that_starts_workers_ends_with_the_fault_and_its_status(tmp_path: Path) -> None:
    toy_bundle(tmp_path / "bundles")
    words = [*OURS, str(tmp_path / "bundles"), "--require-signature", str(tmp_path / "none.pem")]
    ends = [
        subprocess.run(
            [*words, "--workers", workers, *ports()], capture_output=True, text=True, timeout=60
        )
        for workers in ("1", "2")
    ]
    told = [each.stderr.splitlines()[-1] for each in ends]
    assert [each.returncode for each in ends] == [1, 1]
    assert told[0] == told[1]
    assert "No such file" in told[0]


def ports() -> list[str]:
    return [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
