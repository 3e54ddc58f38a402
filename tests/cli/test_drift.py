"""`seatrial drift` over rows and over a Prometheus: its table, its JSON, its exit code.

The message is tested too where the drift cannot be computed.
"""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.toys import ROWS, fake_runtimes, toy_bundle, toy_files, toy_manifest

from seatrial import main as front_door
from seatrial.main import cli
from seatrial_contracts.bundle import PROFILE, Bundle, write_bundle
from seatrial_contracts.errors import DeclarationError


class FakePrometheus(HTTPServer):
    """Answers queries with series by a part of the expression; anything else with nothing."""

    series: dict[str, list[tuple[dict[str, str], float]]] = {}
    answer: bytes | None = None
    asked: str = ""
    """The last expression."""

    class Handler(BaseHTTPRequestHandler):
        server: FakePrometheus

        def do_GET(self) -> None:
            expression = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
            self.server.asked = expression
            found = next(
                (series for part, series in self.server.series.items() if part in expression), []
            )
            result = [{"metric": labels, "value": [0, str(value)]} for labels, value in found]
            body = self.server.answer or json.dumps({"data": {"result": result}}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    with FakePrometheus(("127.0.0.1", 0), FakePrometheus.Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    fake_runtimes(monkeypatch)
    return toy_bundle(tmp_path / "bundles")


def drift(bundle: Bundle, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["drift", str(bundle.path), *arguments])


def test_the_reference_itself_shows_no_drift(bundle: Bundle) -> None:
    done = drift(bundle, json.dumps(ROWS))
    assert done.exit_code == 0, done.output
    assert "toy 1.0.0: 9 rows against 9 reference rows" in done.output
    assert "few rows" in done.output
    assert "YES" not in done.output


def test_drifted_rows_exit_with_one_and_limits_can_be_set(bundle: Bundle, tmp_path: Path) -> None:
    rows = json.dumps(
        [{"x": 50.0, "word": "b"}] * 20 + [{"x": 1.0, "word": "zebra"}, {"x": 412.0, "word": "a"}]
    )
    done = drift(bundle, rows, "--plot", str(tmp_path / "drift.png"))
    assert done.exit_code == 1
    assert "YES" in done.output
    assert "refused: 1 E_CATEGORY, 1 E_RANGE" in done.output
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    assert drift(bundle, rows, "--psi", "99", "--js", "1").exit_code == 0
    words = next(
        each
        for each in json.loads(drift(bundle, rows, "--json").output)["fields"]
        if each["field"] == "word"
    )
    assert [each["live"] for each in words["bins"]] == [0, 20, 1]


def test_the_exit_code_reaches_the_shell(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for x, code in ((50.0, 1), (None, 0)):
        rows = ROWS if x is None else [{"x": x, "word": "a"}] * 9
        monkeypatch.setattr("sys.argv", ["seatrial", "drift", str(bundle.path), json.dumps(rows)])
        with pytest.raises(SystemExit) as ended:
            front_door.main()
        assert ended.value.code == code


def test_the_counters_of_servers_are_read_from_prometheus(
    bundle: Bundle, prometheus: FakePrometheus
) -> None:
    prometheus.series = {
        "seatrial_drift_total": [
            ({"field": "word", "bin": "a"}, 10.2),
            ({"field": "word", "bin": "(unseen)"}, 5.1),
        ],
        "seatrial_requests_total": [({"code": "E_CATEGORY"}, 5.1), ({"code": "E_RANGE"}, 0.0)],
    }
    done = drift(bundle, "--prometheus", prometheus.url, "--json")
    assert done.exit_code == 1, done.output
    found = json.loads(done.output)
    word = next(each for each in found["fields"] if each["field"] == "word")
    assert word["unseen"] == pytest.approx(1 / 3)
    assert found["refused"] == {"E_CATEGORY": 5}


def test_where_it_cannot_tell_it_says_why(
    bundle: Bundle, prometheus: FakePrometheus, tmp_path: Path
) -> None:
    def said(*arguments: str) -> str:
        error = drift(bundle, *arguments).exception
        assert isinstance(error, DeclarationError)
        return str(error)

    assert "no values of toy 1.0.0" in said("--prometheus", prometheus.url)
    assert "no values of blue 1.0.0" in said("--prometheus", prometheus.url, "--model", "blue")
    assert 'model="blue",version="1.0.0"' in prometheus.asked
    assert "--window: got 'yesterday'" in said(
        "--prometheus", prometheus.url, "--window", "yesterday"
    )
    assert "want a URL" in said("--prometheus", "file:///etc/passwd")
    assert "no answer" in said("--prometheus", "http://127.0.0.1:9")
    prometheus.answer = b"<html>"
    assert "an answer of another kind" in said("--prometheus", prometheus.url)
    assert "none of which the contract takes" in said('[{"x": 412.0, "word": "a"}]')
    assert "--plot" in said(json.dumps(ROWS), "--plot", str(tmp_path / "no" / "folder.png"))
    assert "one of them" in drift(bundle).output
    files = {**toy_files(), PROFILE: b"{}\n"}
    assert "reference=[...]" in str(
        drift(write_bundle(tmp_path, toy_manifest(name="bare"), files), "[]").exception
    )
