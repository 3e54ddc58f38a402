"""The log: one line an event, escaped, without what clients sent, through a sink that may block."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from support.running import Running, run_app
from support.toys import Feeds, answer, fake_runtimes, toy_bundle, toy_files, toy_manifest

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, write_bundle
from seatrial_contracts.errors import ModelError, Refusal
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.observers.request_log import RequestLog
from seatrial_serve.process.drain import Drain
from seatrial_serve.process.log import KEPT_LINES, JsonLines, LogSink, TextLines, escaped
from seatrial_serve.process.reloads import Reloads
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.server import DrainingServer

ODD = "a\r\nINFO forged\x1b[31m\u202eb\u2028c\x00\x85"


def record(
    message: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any
) -> logging.LogRecord:
    made = logging.LogRecord(
        "seatrial.x",
        level,
        __file__,
        1,
        message,
        None,
        (type(error), error, error.__traceback__) if error else None,
    )
    made.__dict__.update(fields)
    return made


@pytest.mark.parametrize("lines", [TextLines("info"), JsonLines("info")], ids=["text", "json"])
def test_a_line_stays_one_line_and_moves_no_terminal(lines: logging.Formatter) -> None:
    line = lines.format(record(ODD, request_id=ODD))
    assert line.isprintable()
    assert not re.search("[\u202e\u2028]", line)
    assert "forged" in line


def test_json_lines_hold_the_fields_of_an_event_and_keep_their_text() -> None:
    said = json.loads(JsonLines("info").format(record(ODD, digest="d1", total_s=0.5)))
    assert said["message"] == ODD
    assert (said["level"], said["logger"], said["digest"], said["total_s"]) == (
        "INFO",
        "seatrial.x",
        "d1",
        0.5,
    )
    assert said["timestamp"].endswith("+00:00")


@pytest.mark.parametrize("form", [TextLines, JsonLines])
def test_what_libraries_say_of_a_value_is_left_out_unless_one_debugs(
    form: type[TextLines] | type[JsonLines],
) -> None:
    try:
        try:
            int("hunter2")
        except ValueError as error:
            raise ModelError("E_MODEL", "the model failed on this input") from error
    except ModelError as error:
        failed = error
    said = form("info").format(record("x", error=failed))
    assert "hunter2" not in said.replace('int(\\"hunter2\\")', "").replace('int("hunter2")', "")
    assert "ValueError" in said
    assert "the model failed on this input" in said
    assert "invalid literal" not in said
    assert "invalid literal" in form("debug").format(record("x", error=failed))
    assert "412.0" not in form("info").format(
        record("x", error=Refusal("E_RANGE", "input 'x'", "412.0", "less"))
    )


def test_escaping_keeps_what_reads_as_it_stands() -> None:
    assert escaped("Größe 5 µm, 日本語") == "Größe 5 µm, 日本語"


@pytest.fixture
def pipe() -> Iterator[tuple[io.FileIO, io.TextIOWrapper]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as read, os.fdopen(writing, "w") as write:
        yield read, write  # type: ignore[misc]


def test_a_sink_that_nobody_reads_drops_lines_and_counts_them(
    pipe: tuple[io.FileIO, io.TextIOWrapper],
) -> None:
    read, write = pipe
    sink = LogSink(write, kept=8)
    sink.setFormatter(TextLines("info"))
    counted: list[int] = []
    sink.on_drop = lambda: counted.append(1)
    for turn in range(100):  # 100 lines of 4 kB do not fit a pipe of 64 kB and a queue of 8
        sink.emit(record(f"{turn} " + "x" * 4096))
    assert 0 < sink.dropped == len(counted) < 100
    said = b""
    # The sink goes on where somebody reads again.
    while said.count(b"x" * 4096 + b"\n") < 100 - sink.dropped:
        said += read.read(65_536)
    sink.emit(record("after all"))
    while b"after all" not in said:
        said += read.read(65_536)
    assert sum(map(int, re.findall(rb"(\d+) lines were dropped here", said))) == sink.dropped


async def test_a_failed_request_gets_one_line_with_ids_codes_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_runtimes(monkeypatch, explodes_at_13)
    bundle = toy_bundle(tmp_path)
    with caplog.at_level(logging.INFO, "seatrial.request"):
        async with run_app(tmp_path) as app:
            refused = await app.ask([{"x": 98765.25, "word": "a"}])
            failed = await app.ask([{"x": 13.0, "word": "a"}], headers={"X-Request-Id": "order-13"})
            await app.ask([{"x": 1.0, "word": "a"}])
    info, error = [line for line in caplog.records if line.name == "seatrial.request"]
    assert (info.levelname, info.code, info.status) == ("INFO", "E_RANGE", 400)  # type: ignore[attr-defined]
    assert info.request_id == refused.headers["x-request-id"] == refused.json()["request_id"]  # type: ignore[attr-defined]
    assert (error.levelname, error.code, error.request_id) == ("ERROR", "E_MODEL", "order-13")  # type: ignore[attr-defined]
    assert failed.headers["x-request-id"] == "order-13"
    assert (error.model, error.model_version, error.digest) == ("toy", "1.0.0", bundle.digest)  # type: ignore[attr-defined]
    assert {"front_s", "queue_s", "run_s", "total_s"} <= set(error.__dict__)
    assert "98765.25" not in caplog.text


def explodes_at_13(feeds: Feeds) -> dict[str, Any]:
    if (feeds["x"] == 13).any():
        raise ModelError("E_MODEL", "the model failed on this input")
    return answer(feeds)


async def test_a_slow_request_gets_a_line_and_others_none(
    tmp_path: Path, runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    contract = st.Contract.from_json(toy_files()[CONTRACT])
    never = contract.model_copy(update={"objective": st.Objective(p99_s=1e-9)})
    write_bundle(tmp_path, toy_manifest(), toy_files() | {CONTRACT: never.to_json()})
    with caplog.at_level(logging.INFO, "seatrial.request"):
        async with run_app(tmp_path) as app:
            assert (await app.ask([{"x": 1.0, "word": "a"}])).status_code == 200
    (line,) = [line for line in caplog.records if line.name == "seatrial.request"]
    assert line.levelname == "WARNING"
    assert "ok 200 later than its objective: toy 1.0.0" in line.getMessage()


def test_above_the_rate_lines_are_counted_in_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    times = [0.0]
    said = RequestLog(2.0, clock=lambda: times[-1])
    with caplog.at_level(logging.INFO, "seatrial.request"):
        for turn in range(10):
            said.ended(ended_by(Refusal("E_RANGE", "input 'x'"), 400, turn))
        said.ended(ended_by(ModelError("E_MODEL", "failed"), 500, 10))
        times.append(1.0)
        said.ended(ended_by(Refusal("E_RANGE", "input 'x'"), 400, 11))
    lines = [line.getMessage() for line in caplog.records]
    assert len(lines) == 4
    assert "E_MODEL 500" in lines[2], "a flood of one kind does not hide another"
    assert lines[3].endswith("request r11; 8 more like it were not logged")


def ended_by(error: Exception, status: int, turn: int) -> RequestRecord:
    record = RequestRecord(f"r{turn}", "/v1/models/{model}:predict", 0.0)
    record.end(getattr(error, "code", ""), status, error)
    return record


async def test_every_answer_names_its_request(running: Running) -> None:
    for path in ("/v2/health/ready", "/v1/models", "/v1/models/none", "/nowhere", "/docs"):
        reply = await running.client.get(path, headers={"X-Request-Id": "mine.1"})
        assert reply.headers["x-request-id"] == "mine.1"
        assert reply.json()["request_id"] == "mine.1" if reply.status_code == 404 else True
    made = {
        (await running.ask([{"x": 1.0, "word": "a"}])).headers["x-request-id"] for _ in range(3)
    }
    assert len(made) == 3
    odd = await running.ask([{"x": 1.0, "word": "a"}], headers={"X-Request-Id": "a b"})
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])


@pytest.mark.slow
def test_a_server_whose_log_nobody_reads_goes_on_answering(tmp_path: Path) -> None:
    from refusals.sealed import seal

    seal(tmp_path)
    flags = [
        "--http-port",
        "0",
        "--metrics-port",
        "0",
        "--no-grpc",
        "--log-format",
        "json",
        "--logged-per-s",
        "1e6",
    ]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-m", "seatrial", "serve", str(tmp_path), *flags],
        stderr=subprocess.PIPE,
        env=usual,
    )
    try:
        assert process.stderr is not None
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        address, metrics = listening(process.stderr)
        connection = HTTPConnection(address, timeout=10)
        for _ in range(KEPT_LINES + 200):  # a line each, more than the pipe and the sink hold
            assert ask(connection, "POST", "/v1/models/none:predict") == 404
        assert ask(connection, "GET", "/v2/health/live") == 200
        connection.close()
        with urllib.request.urlopen(metrics, timeout=10) as reply:
            dropped = re.search(
                r"^seatrial_log_lines_dropped_total (\S+)$", reply.read().decode(), re.MULTILINE
            )
        assert dropped is not None
        assert float(dropped[1]) > 0
        process.terminate()
        assert process.wait(20) == 0, "a full pipe does not keep it from ending"
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def listening(stderr: Any) -> tuple[str, str]:
    for line in stderr:
        said = re.search(
            r"http://([0-9.]+:\d+) .*metrics on port (\d+)", json.loads(line)["message"]
        )
        if said:
            return said[1], f"http://127.0.0.1:{said[2]}/metrics"
    raise AssertionError("it did not start")


def ask(connection: HTTPConnection, method: str, path: str) -> int:
    connection.request(method, path)
    with connection.getresponse() as reply:
        reply.read()
        return reply.status


@pytest.mark.slow
def test_every_answer_over_grpc_names_its_request_too(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    import grpc
    from refusals.sealed import seal

    from seatrial_serve.v2.proto import inference_pb2 as pb

    seal(tmp_path)
    server = serve(tmp_path, "--log-format", "json")
    assert server.wait_until_loaded()[0] == 200
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="ids",
        datatype="INT64",
        shape=[1, 2],
        contents=pb.InferTensorContents(int64_contents=[1, 2]),
    )
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelInferResponse.FromString,
        )
        good = infer.future(
            pb.ModelInferRequest(model_name="embedding", inputs=[tensor]),
            metadata=(("x-request-id", "call-1"),),
        )
        assert good.result(timeout=10).model_name == "embedding"
        assert dict(good.trailing_metadata())["x-request-id"] == "call-1"
        bad = infer.future(pb.ModelInferRequest(model_name="embedding"))
        assert bad.exception(timeout=10) is not None
        told = dict(bad.trailing_metadata())
    assert server.stop() == 0
    (line,) = [
        line
        for line in map(json.loads, server.log)
        if line.get("request_id") == told["x-request-id"]
    ]
    assert (
        (line["code"], line["model"])
        == (told["seatrial-code"], "embedding")
        == ("E_SCHEMA", "embedding")
    )
    assert line["route"] == "inference.GRPCInferenceService/ModelInfer"


def test_the_handler_of_sigterm_logs_nothing_since_it_may_have_interrupted_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    drain, lifecycle = Drain(), Mock(ModelLifecycle)
    server = DrainingServer(
        uvicorn.Config("unused"), drain, 0.0, lifecycle, None, nullcontext(), Mock(Reloads)
    )
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)
    assert (drain.draining, server.force_exit, caplog.records) == (True, True, [])
