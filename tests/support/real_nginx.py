"""A real nginx in front of a server of our own, where Debian's package is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

NGINX = shutil.which("nginx") or next(
    (path for path in ("/usr/sbin/nginx",) if Path(path).is_file()), None
)
WHY = "nginx is not installed: apt-get install --no-install-recommends nginx-light"
ADDRESS = "127.0.0.9"
"""What it connects from, so that it can be told from its clients."""
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream models {{ server {http}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{ports[0]};
    location / {{
      proxy_pass http://models; proxy_bind {address}; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
  server {{
    listen 127.0.0.1:{ports[1]} http2;
    location / {{
      grpc_pass grpc://{grpc}; grpc_bind {address};
      grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


class RealNginx:
    """nginx that passes HTTP and gRPC on to `http` and `grpc` (host:port). Use `with`."""

    def __init__(self, folder: Path, http: str, grpc: str) -> None:
        folder.mkdir(parents=True)
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [sock.getsockname()[1] for sock in held]
        for sock in held:
            sock.close()
        self.http, self.grpc = (f"127.0.0.1:{port}" for port in ports)
        config = CONFIG.format(folder=folder, http=http, grpc=grpc, ports=ports, address=ADDRESS)
        self._config, self._log = folder / "nginx.conf", folder / "log"
        self._config.write_text(config)

    def __enter__(self) -> Self:
        assert NGINX is not None
        command = [NGINX, "-p", str(self._config.parent), "-c", str(self._config), "-e", "stderr"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            host, _, port = self.grpc.partition(":")
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:
                assert self._process.poll() is None, self._log.read_text("utf-8")
                assert time.monotonic() < end, self._log.read_text("utf-8")
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
