"""The audit log: what is recorded, and which changes of its file are found."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.pages import page
from support.running import run_app
from support.servers import ROOT
from support.toys import ROWS, fake_runtimes, toy_bundle
from support.waiting import until

from seatrial.commands.audit import command
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.api import audit
from seatrial_serve.process import audit_log, audit_writer
from seatrial_serve.process.audit_lines import FIRST, follow_chain
from seatrial_serve.process.audit_log import AuditFile, record, recording
from seatrial_serve.process.audit_writer import AuditWriter


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


def forged(**more: str) -> bytes:
    """The first line of a log, by somebody else."""
    return canonical_json({"at": "", "event": "load", "previous": FIRST, **more})


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a word": lambda lines: [*lines[:2], lines[2].replace(b"toy", b"boy"), *lines[3:]],
    "a line removed": lambda lines: [*lines[:2], *lines[3:]],
    "a line twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "two lines in turn": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "the first lines removed": lambda lines: lines[4:],
    "the first lines removed and the chain begun anew": lambda lines: [b"{}\n", *lines[3:]],
    "a line of a chain of its own": lambda lines: [*lines, forged(chain="00ff")],
    "a line of a chain of its own, first": lambda lines: [forged(chain="00ff"), *lines],
    "a first line once more": lambda lines: [*lines, forged()],
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


def test_a_log_whose_older_file_is_kept_elsewhere_begins_behind_its_last_line(
    tmp_path: Path,
) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.1.jsonl"
    with recording(path):
        until(lambda: path.stat().st_size > 0)
        path.rename(old)
        record("load", model="toy")
    last = outcome(old)[1].split()[-1]
    status, said = outcome(path)
    assert status == 1
    assert "line 1: got a line that follows another, want the first line of a log; give the older "
    assert f"or --first {last} if" in said
    assert outcome(path, "--first", last)[0] == 0
    assert outcome(path, "--first", FIRST)[0] == 1
    assert outcome(old, path)[0] == 0
    status, said = outcome(old, path, "--first", last)
    assert (status, "want one that follows --first" in said) == (1, True)
    assert outcome(path, "--first", last, "--first", "00")[0] == 1


def test_a_file_that_was_moved_away_is_followed_by_the_next(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.1.jsonl"
    with recording(path):
        until(lambda: path.stat().st_size > 0)
        path.rename(old)
        record("load", model="toy")
    assert outcome(old, path)[0] == 0
    assert outcome(path, old)[0] == 1


def load_of(number: int) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": "load", "fields": {"model": "toy", "number": number}})


def append(path: Path, count: int) -> None:
    log = AuditFile(path)
    for number in range(count):
        log.write([load_of(number)])
    log.close()


def test_processes_that_share_a_file_follow_it_when_it_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    moved = [tmp_path / f"audit.{number}.jsonl" for number in range(3)]
    first, second = AuditFile(path), AuditFile(path)
    for place, old in enumerate(moved):
        first.write([load_of(1), load_of(2)])
        if place != 1:  # one that writes nothing for a while looks at the file now and then
            second.write([load_of(3)])
        second.look()
        path.rename(old)
    second.write([load_of(4)])
    for log in (first, second):
        log.close()
    status, said = outcome(*moved, path)
    assert (status, said[:9]) == (0, "9 lines, "), said


def test_whoever_records_an_event_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, there, threads = tmp_path / "audit.jsonl", threading.Event(), set[str]()
    fsync = os.fsync

    def slow(file: int) -> None:
        threads.add(threading.current_thread().name)
        assert there.wait(60)
        fsync(file)

    monkeypatch.setattr(audit_log.os, "fsync", slow)
    with recording(path):
        for number in range(50):
            record("load", number=number)
        there.set()
    assert threads == {"seatrial-audit"}
    said = lines_of(path)
    assert [each["number"] for each in said[1:-1]] == list(range(50))
    assert [each["event"] for each in (said[0], said[-1])] == ["start", "stop"]
    assert outcome(path)[0] == 0


def test_events_that_find_no_room_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_writer, "MOST_WAITING", 3)
    there = threading.Event()
    log = AuditFile(tmp_path / "audit.jsonl")
    write = log.write
    monkeypatch.setattr(log, "write", lambda events: there.wait(60) and write(events))
    writer = AuditWriter(log)
    writer.handle(load_of(0))
    until(lambda: writer._waiting.qsize() == 0)
    for number in range(1, 10):
        writer.handle(load_of(number))
    there.set()
    writer.finish()
    assert caplog.text.count("3 wait already") == 1
    said = lines_of(tmp_path / "audit.jsonl")
    assert [each.get("number", each.get("events")) for each in said] == [0, 6, 1, 2, 3]
    assert said[1]["event"] == "lost"


def test_what_a_full_disk_takes_half_of_is_not_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, write = tmp_path / "audit.jsonl", os.write
    writer = AuditWriter(AuditFile(path))
    writer.handle(load_of(0))
    until(lambda: path.stat().st_size > 0)
    with monkeypatch.context() as patch:
        patch.setattr(audit_log.os, "write", lambda file, data: write(file, data[:9]))
        writer.handle(load_of(1))
        until(lambda: "No space left" in caplog.text)
    writer.handle(load_of(2))
    writer.finish()
    said = lines_of(path)
    assert [(each["event"], each.get("events")) for each in said[:2]] == [
        ("load", None), ("lost", 1),
    ]  # fmt: skip
    assert said[2]["number"] == 2
    assert outcome(path)[0] == 0


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


@pytest.mark.parametrize("left", [-60, -10, -2, 3])
def test_a_line_that_a_crash_cut_is_removed_and_counted(
    left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    fill(path, 2)
    *before, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(before) + last[:left])
    status, said = outcome(path)
    assert (status, "no record" in said) == (1, True), "until somebody writes there again"
    fill(path, 1)
    assert "ended within a line" in caplog.text
    told = [(each["event"], each.get("events")) for each in lines_of(path)]
    assert told[:3] == [("start", None), ("load", None), ("load", None)]
    assert told[3:] == [("lost", 1), ("start", None), ("load", None), ("stop", None)]
    assert outcome(path)[0] == 0
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    assert outcome(path)[0] == 1, "what stands before it is not let go"


def test_a_line_that_lacks_its_end_alone_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    fill(path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    fill(path, 1)
    assert [each["event"] for each in lines_of(path)] == [
        "start", "load", "load", "stop", "start", "load", "stop",
    ]  # fmt: skip
    assert outcome(path)[0] == 0


def test_the_text_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text('{"mine":1')
    fill(path, 1)
    assert path.read_text().startswith('{"mine":1\n')


def test_a_place_that_cannot_be_written_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="audit_log"), recording(tmp_path / "none" / "a"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(DeclarationError, match="audit_log"), recording(tmp_path / "link"):
        pass


def test_an_event_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    path.parent.mkdir()
    with recording(path):
        until(lambda: path.stat().st_size > 0)
        shutil.rmtree(path.parent)
        record("load", model="toy")
        until(lambda: "was not recorded" in caplog.text)
    assert "an event 'load' was not recorded: No such file or directory" in caplog.text


def test_without_a_file_nothing_is_recorded(tmp_path: Path) -> None:
    with recording(None):
        record("load", model="toy")
    assert list(tmp_path.iterdir()) == []
    assert follow_chain([]) == (0, FIRST, "", 0)


def test_the_page_has_each_event_and_bound() -> None:
    text = page("how-to/trust.md")
    section = text[text.index("## A record of who did what") :]
    table = section[: section.index("###")]
    told = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:40])}
    source = "".join(path.read_text() for path in (ROOT / "serve/seatrial_serve").rglob("*.py"))
    events = set(re.findall(r'\brecord\(\s*"(\w+)"', source)) | {"lost"}
    assert events == told & events
    assert f"{audit_writer.MOST_WAITING:,} events wait" in table
    assert f"{audit.REFUSED_AT_ONCE} lines at once" in table
    assert f"one in {1 / audit.REFUSED_PER_S:g} s" in table
    assert audit.TELL_S == 60  # "each minute"
