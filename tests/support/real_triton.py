"""NVIDIA's real Triton server, where `make triton` installed it, on free ports of the loopback."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

import pytest

from support.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(os.environ.get("TRITON_FOLDER", ROOT / "build" / "triton"))
SERVER = INSTALLED / "DIST" / "pytriton" / "tritonserver" / "bin" / "tritonserver"
needs_triton = pytest.mark.skipif(
    not SERVER.exists(), reason="no Triton here: make triton installs it"
)


class RealTriton:
    """A Triton that reads its configurations strictly: nothing is completed for us. Use `with`."""

    def __init__(self, repository: Path, log: Path) -> None:
        self.http, self.grpc_port, self.metrics = free_ports(3)
        self.url, self.grpc = f"http://127.0.0.1:{self.http}", f"127.0.0.1:{self.grpc_port}"
        self._repository, self._log = repository, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until every model is ready."""
        command = [
            str(SERVER),
            f"--model-repository={self._repository}",
            f"--backend-directory={INSTALLED / 'B'}",
            f"--backend-config=python,shm-region-prefix-name=st{os.getpid()}x{self.http}",
            "--http-address=127.0.0.1",
            f"--http-port={self.http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics}",
            "--allow-gpu-metrics=false",
            "--disable-auto-complete-config",
            "--exit-on-error=true",
        ]
        libraries = (
            f"{sysconfig.get_config_var('LIBDIR')}:{INSTALLED / 'DIST' / 'nvidia_pytriton.libs'}"
        )
        environment = os.environ | {
            "LD_LIBRARY_PATH": libraries,
            "PATH": f"{INSTALLED / 'V' / 'bin'}:{os.environ['PATH']}",
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while not self.ready():
            assert self.process.poll() is None, self._log.read_text("utf-8", "replace")[-4000:]
            assert time.monotonic() < end, self._log.read_text("utf-8", "replace")[-4000:]
            time.sleep(0.1)

    def ready(self) -> bool:
        """Does it say so?"""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL: as a machine dies."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
