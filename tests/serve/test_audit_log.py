"""The audit log: what is recorded, and which changes of its file are found."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.running import run_app
from support.toys import ROWS, fake_runtimes, toy_bundle

from seatrial.commands.audit import command
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.process.audit_lines import FIRST, follow_chain
from seatrial_serve.process.audit_log import AuditLog, record, recording


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def fill(path: Path, count: int) -> None:
    with recording(path):
        for number in range(count):
            record("load", model="toy", number=number)


def outcome(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, ["verify", *map(str, words)])
    return done.exit_code, done.output


async def test_loads_refusals_and_administration_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    bundles, path = tmp_path / "bundles", tmp_path / "audit.jsonl"
    toy_bundle(bundles)
    with recording(path):
        async with run_app(bundles, admin=True) as running:
            reply = await running.client.post(
                "/v1/models/toy:predict", json={"instances": [ROWS[0]]}
            )
            assert reply.status_code == 200
            bad = toy_bundle(bundles, version="1.1.0").path
            (bad / "profile.json").write_bytes(b"{}")
            await running.lifecycle.reload()
            shutil.rmtree(bad)
            await running.client.post("/v2/repository/models/toy/unload")
    said = lines_of(path)
    assert [each["event"] for each in said] == [
        "start", "load", "load", "retire", "retire", "administration", "stop",
    ]  # fmt: skip
    good, refused, *_ = said[1:]
    assert (good["result"], good["version"], len(good["digest"])) == ("ok", "1.0.0", 64)
    assert (refused["result"], refused["version"]) == ("E_BUNDLE_CHANGED", "1.1.0")
    assert said[5]["action"] == "unload"
    assert said[5]["result"] == "ok"
    assert not any(
        str(value) in path.read_text() for value in ROWS[0].values() if len(str(value)) > 5
    )
    assert outcome(path)[0] == 0


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a word": lambda lines: [*lines[:2], lines[2].replace(b"toy", b"boy"), *lines[3:]],
    "a line removed": lambda lines: [*lines[:2], *lines[3:]],
    "a line twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "two lines in turn": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "the first lines removed and the chain begun anew": lambda lines: [b"{}\n", *lines[3:]],
    "another spelling": lambda lines: [*lines[:2], lines[2].replace(b":", b": ", 1), *lines[3:]],
    "a line that is none": lambda lines: [*lines[:2], b"\n", *lines[2:]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_breaks_the_chain(change: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    fill(path, 5)
    status, said = outcome(path)
    assert status == 0
    assert said.startswith("7 lines, last ")
    path.write_bytes(b"".join(CHANGES[change](path.read_bytes().splitlines(keepends=True))))
    status, said = outcome(path)
    assert status == 1
    assert "line" in said


def test_a_log_that_was_cut_lacks_the_line_that_was_last(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    fill(path, 5)
    last = outcome(path)[1].split()[-1]
    fill(path, 2)
    assert outcome(path, "--last", last)[0] == 0
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:4]))
    assert outcome(path)[0] == 0  # which a chain alone does not show
    status, said = outcome(path, "--last", last)
    assert status == 1
    assert "was cut" in said


def test_a_file_that_was_moved_away_is_followed_by_the_next(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.1.jsonl"
    with recording(path):
        record("load", model="toy")
        path.rename(old)
        record("load", model="toy")
    assert outcome(old, path)[0] == 0
    assert outcome(path, old)[0] == 1


def append(path: Path, count: int) -> None:
    log = AuditLog(path)
    for number in range(count):
        fields = {"model": "toy", "number": number}
        log.emit(logging.makeLogRecord({"msg": "load", "fields": fields}))


@pytest.mark.slow
def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append, args=(path, 50)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    chain = follow_chain([path])
    assert (chain.lines, chain.fault) == (150, "")


def test_a_line_that_a_crash_cut_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    fill(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    fill(path, 1)
    assert "no record" in outcome(path)[1]
    assert json.loads(path.read_bytes().splitlines()[-1])["event"] == "stop"


def test_a_place_that_cannot_be_written_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="audit_log"), recording(tmp_path / "none" / "a"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(DeclarationError, match="audit_log"), recording(tmp_path / "link"):
        pass


def test_an_event_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with recording(folder / "audit.jsonl"):
        shutil.rmtree(folder)
        record("load", model="toy")
    assert "an event 'load' was not recorded" in caplog.text


def test_without_a_file_nothing_is_recorded(tmp_path: Path) -> None:
    with recording(None):
        record("load", model="toy")
    assert list(tmp_path.iterdir()) == []
    assert follow_chain([]) == (0, FIRST, "", 0)
