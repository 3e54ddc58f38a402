"""The demo's process: its lines come through a pipe at once, and its server ends with it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import ROOT

pytestmark = pytest.mark.slow
SERVES = """
import sys
from pathlib import Path
sys.path.insert(0, "examples")
import demo
demo.prepare()
with demo.serving(Path(sys.argv[1])) as (url, _, server):
    print(url)
    print(server.pid)
    server.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_demo_s_server_ends_with_it_and_its_lines_come_at_once(
    number: signal.Signals, churn: Path
) -> None:
    command = [sys.executable, "-c", SERVES, str(churn / "bundles")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, server = process.stdout.readline().strip(), int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(timeout=60) != 0
    assert not Path(f"/proc/{server}").exists()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", int(url.rpartition(":")[2])))
