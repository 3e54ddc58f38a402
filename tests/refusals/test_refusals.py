"""The matrix of refusals over real sockets: each case gets what its row demands.

The server is afterwards as it was before.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from refusals.case import CANARY, SHAPES, Case
from refusals.sealed import seal
from refusals.target import (
    CASES,
    FLAGS,
    GOOD,
    LIVE,
    Target,
    answer_of,
    hang_up,
    read_answer,
    reload,
)
from support.audit_hook import WatchedServer

from seatrial_serve.process.codes import CODES

pytestmark = pytest.mark.slow
OURS = re.compile(
    r'seatrial_requests_total\{code="(E_INTERNAL|E_MODEL|E_OUTPUT_CONTRACT)"[^}]*\} [1-9]'
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("refusals")
    seal(folder)
    watched = WatchedServer(folder, tmp_path_factory.mktemp("events") / "events.txt")
    server = serve(folder, *FLAGS, program=watched.program)
    assert server.wait_until_loaded()[0] == 200
    target = Target(server)
    watched.forget()
    for case in CASES:  # what each of them makes the server load and keep, once
        if case.grows_mb > 32:
            answer_of(target, case)
    yield target
    reload(target, folder, lambda: hang_up(target))
    assert not watched.deeds, "it connected, started, unpickled or ran something"
    assert not OURS.search(target.metrics), "a caller's fault was counted as ours"
    assert CANARY not in target.metrics, "a caller's text is a label"
    assert CANARY not in "".join(server.log), "a caller's text is in the log"


def test_the_watch_sees_what_a_server_must_not_do(tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "of_a_bundle.py").write_text("")
    then = (
        "import pickle, socket, subprocess\n"
        "subprocess.run(['true'])\n"
        "pickle.loads(pickle.dumps(subprocess.run))\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))\n"
        f"sys.path.append({str(tmp_path / 'bundles')!r}); import of_a_bundle\n"
    )
    watched = WatchedServer(tmp_path / "bundles", tmp_path / "events.txt", then)
    subprocess.run(watched.program, check=True, timeout=60)
    seen = {deed.split()[0] for deed in watched.deeds}
    assert {"subprocess.Popen", "pickle.find_class", "socket.connect", "exec"} <= seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_gets_what_its_row_says_and_harms_nobody(target: Target, case: Case) -> None:
    before_mb = target.rss_mb
    with target.connect() as mate:
        mate.sendall(GOOD[:-5])
        start = time.monotonic()
        status, headers, body, closed = answer_of(target, case)
        assert time.monotonic() - start < case.within_s
        mate.sendall(GOOD[-5:])
        assert read_answer(mate)[0] == 200, "a good request that was under way"
    assert (status, closed) == (case.status, case.closed), body[:300]
    assert CANARY.encode() not in body
    if status >= 400:
        said = json.loads(body)
        assert headers["content-type"] == "application/json"
        want, read = SHAPES[case.shape]
        keys, text, code = read(said)
        assert keys == want
        assert isinstance(text, str)
        assert code in CODES
        if case.code:
            assert code == case.code, text
        assert not re.search(
            r"Traceback|\.py\b|/site-packages|0x[0-9a-f]{6}|onnx|pydantic|Pillow|PIL", text
        )
        assert ("allow" in headers) == (status == 405)
    with target.connect(5) as sock:
        sock.sendall(LIVE)
        assert read_answer(sock)[0] == 200
    assert target.rss_mb - before_mb < case.grows_mb
    assert not OURS.search(target.metrics)


def test_memory_after_the_whole_matrix_is_what_it_was(target: Target) -> None:
    # What is touched for the first time stays: whichever test came before, this one starts there.
    for case in CASES:
        answer_of(target, case)
    before_mb = target.rss_mb
    for case in CASES:
        answer_of(target, case)
    assert target.rss_mb - before_mb < 64


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(
            GOOD[: GOOD.index(b"\r\n\r\n") + 9], id="93 a body that ends early runs nothing"
        ),
        pytest.param(GOOD[:40], id="headers that end early"),
        pytest.param(b"", id="a connection without a byte"),
    ],
)
def test_who_leaves_early_costs_nothing(target: Target, sent: bytes) -> None:
    with target.connect() as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        assert read_answer(sock)[0] in (0, 400)
    assert not OURS.search(target.metrics)
