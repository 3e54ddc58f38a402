"""The audit log through a syslog: a real rsyslogd, one that is away, and what the chains show."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.conformance import seal
from support.ports import free_ports, reaches
from support.servers import Server
from support.waiting import until

from seatrial.commands.audit import command
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.process import syslog
from seatrial_serve.process.audit_lines import lines_of
from seatrial_serve.process.audit_log import record, recording
from seatrial_serve.process.syslog import read_target

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin")
needs_rsyslogd = pytest.mark.skipif(
    RSYSLOGD is None, reason="no rsyslogd here: apt-get install rsyslog (make judges)"
)
RFC_5424 = re.compile(
    rb"<110>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 \S+ seatrial \d+ audit - (\{.*\})\n?"
)
"""PRI (log audit, info), version, time, host, program, process, kind, no structured data."""


def outcome(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, ["verify", *map(str, words)])
    return done.exit_code, done.output


@contextmanager
def rsyslogd(folder: Path, port: int) -> Iterator[Path]:
    """A real one, on a port and a socket of its own; gives the file that it writes."""
    folder.mkdir(exist_ok=True)
    written = folder / "messages"
    config = folder / "rsyslog.conf"
    config.write_text(f"""
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log" CreatePath="on")
module(load="imtcp")
input(type="imtcp" port="{port}" address="127.0.0.1")
*.* action(type="omfile" file="{written}" template="RSYSLOG_TraditionalFileFormat")
""")
    command = [str(RSYSLOGD), "-n", "-f", str(config), "-i", str(folder / "pid")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: reaches(port))
        yield written
    finally:
        process.terminate()
        process.wait(20)


def loads_in(path: Path) -> int:
    found = [line.record for line in lines_of([path])] if path.exists() else []
    return sum(each is not None and each["event"] == "load" for each in found)


def records_in(path: Path) -> int:
    return sum(line.record is not None for line in lines_of([path])) if path.exists() else 0


@pytest.mark.slow
@needs_rsyslogd
@pytest.mark.parametrize("way", ["tcp", "socket"])
def test_lines_that_a_real_syslog_wrote_are_verified(way: str, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    target = f"syslog://127.0.0.1:{port}" if way == "tcp" else f"syslog:{tmp_path}/r/log"
    with rsyslogd(tmp_path / "r", port) as written:
        for model in ("toy", "Küche"):
            with recording(target):
                record("load", model=model, result="ok")
        subprocess.run(["logger", "-u", tmp_path / "r/log", "another { program"], check=True)
        until(lambda: records_in(written) == 6)
    assert b" seatrial[" in written.read_bytes() or b" seatrial " in written.read_bytes()
    status, said = outcome(written)
    assert (status, said.split(", ")[0]) == (0, "6 lines of 2 processes"), said
    last = said.split()[-1]
    assert outcome(written, "--last", last)[0] == 0
    lines = written.read_bytes().splitlines(keepends=True)
    (place,) = [at for at, line in enumerate(lines) if b'"model":"toy"' in line]
    written.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
    assert outcome(written)[0] == 1, "a line removed"
    changed = lines[place].replace(b'"ok"', b'"no"')
    written.write_bytes(b"".join([*lines[:place], changed, *lines[place + 1 :]]))
    assert outcome(written)[0] == 1, "a word changed"


@pytest.mark.slow
@needs_rsyslogd
def test_each_process_of_a_server_with_workers_writes_a_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seal(tmp_path / "bundles")
    target = f"syslog:{tmp_path}/r/log"
    with rsyslogd(tmp_path / "r", free_ports(1)[0]) as written:
        server = Server(tmp_path / "bundles", "--audit-log", target, "--workers", "2")
        try:
            until(lambda: loads_in(written) == 2)
        finally:
            server.stop()
        until(lambda: records_in(written) == 8)
    status, said = outcome(written)
    assert (status, said.split(", ")[0]) == (0, "8 lines of 3 processes"), said


@pytest.mark.slow
@needs_rsyslogd
def test_what_waits_for_a_syslog_that_is_away_goes_there_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(syslog, "RETRY_S", 0.05)
    port = free_ports(1)[0]
    with recording(f"syslog://127.0.0.1:{port}"):
        record("load", model="before")
        until(lambda: "is away" in caplog.text)
        with rsyslogd(tmp_path / "first", port) as first:
            until(lambda: records_in(first) == 2)
        record("load", model="between")
        until(lambda: caplog.text.count("is away") == 2)
        with rsyslogd(tmp_path / "second", port) as second:
            until(lambda: records_in(second) == 1)
            record("load", model="after")
            until(lambda: records_in(second) == 2)
        assert caplog.text.count("is back") == 2
        first_lines = records_in(first)
    assert "was not recorded" in caplog.text, "that of the end, when it was away again"
    status, said = outcome(first, second)
    assert (status, first_lines) == (0, 2), said
    assert said.startswith("4 lines, last ")


@contextmanager
def listener(handle: Callable[[bytes], None]) -> Iterator[str]:
    """A syslog of the test's own, of one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    handle(line)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"syslog://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def test_each_event_is_a_message_of_rfc_5424() -> None:
    lines: list[bytes] = []
    with listener(lines.append) as target, recording(target):
        record("load", model="toy\nline", result="ok")
    bodies = []
    for line in lines:
        found = RFC_5424.fullmatch(line)
        assert found, line
        bodies.append(json.loads(found[1]))
    assert [each["event"] for each in bodies] == ["start", "load", "stop"]
    assert len({each["chain"] for each in bodies}) == 1


def test_a_syslog_that_is_away_stops_nothing_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with recording(f"syslog://127.0.0.1:{free_ports(1)[0]}"):
        record("load", model="toy")
    assert caplog.text.count("is away (Connection refused)") == 1
    assert sum(map(int, re.findall(r"(\d+) events from", caplog.text))) + caplog.text.count(
        "an event"
    ) == 3  # fmt: skip
    caplog.clear()
    with recording("syslog:/no/such/socket"):
        record("load", model="toy")
    assert "syslog at /no/such/socket is away (No such file or directory)" in caplog.text


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda lines: lines[1:], "want the first line of a log"),
        (lambda lines: [*lines[:1], *lines[2:]], "does not follow the one before it"),
        (lambda lines: [*lines, UNCHAINED], "got no `chain`"),
    ],
)
def test_a_chain_of_a_syslog_begins_with_its_first_line(
    change: Callable[[list[bytes]], list[bytes]], fault: str, tmp_path: Path
) -> None:
    lines: list[bytes] = []
    for _ in range(2):
        with listener(lines.append) as target, recording(target):
            record("load", model="toy")
    written = tmp_path / "messages"
    written.write_bytes(b"".join(lines))
    assert outcome(written)[1].startswith("6 lines of 2 processes, last ")
    written.write_bytes(b"".join(change(lines)))
    status, said = outcome(written)
    assert (status, fault in said) == (1, True), said


UNCHAINED = b'<110>1 - - {"event":"load","previous":"' + b"0" * 64 + b'"}\n'


def test_a_syslog_whose_older_lines_are_kept_elsewhere_is_followed(tmp_path: Path) -> None:
    lines: list[bytes] = []
    for _ in range(2):
        with listener(lines.append) as target, recording(target):
            record("load", model="toy")
    written = tmp_path / "messages"
    written.write_bytes(lines[0])
    before = outcome(written)[1].split()[-1]
    written.write_bytes(b"".join(lines[1:]))
    assert outcome(written)[0] == 1
    assert outcome(written, "--first", before)[1].startswith("5 lines of 2 processes, last ")


@pytest.mark.parametrize(
    "target", ["syslog://", "syslog://host", "syslog://host:x", "syslog://a:1/b", "syslog://u@a:1"]
)
def test_what_names_no_syslog_is_told_at_start(target: str) -> None:
    with pytest.raises(DeclarationError, match=r"audit_log.*syslog://HOST:PORT"):
        read_target(target)
