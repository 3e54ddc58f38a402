#!/usr/bin/env bash
# grpcio 1.85.1: a server is started with the option `grpc.so_reuseport` as the text "0", and a second one on the same port.
#
# Seen: both listen, and the system shares calls among them. With the number 0 the second one is refused the port, as asked.
# grpcio takes any value for an option and passes a text on as a text; the core reads a number there, and goes by its own value,
# which lets ports be shared. Ray Serve 2.60.0 writes `str(int(enable_so_reuseport))` (serve/_private/grpc_util.py), and means
# its replicas not to share a port: behind its HAProxy, the replicas of two Rays on one machine listened on 40000 and 40001
# together, and a client of one was answered by the other. Ranges of their own (RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT) end it.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grpcio==1.85.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from concurrent import futures

import grpc


def start(value: object, port: int) -> tuple[grpc.Server, int]:
    pool = futures.ThreadPoolExecutor(1)
    server = grpc.server(pool, options=[("grpc.so_reuseport", value)])
    taken = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, taken


def shares(value: object) -> bool:
    """Does a second server listen on the first one's port?"""
    first, port = start(value, 0)
    try:
        second, taken = start(value, port)
    except RuntimeError:
        return False
    finally:
        first.stop(0)
    second.stop(0)
    return taken == port


text, number = shares("0"), shares(0)
print(f"ports are shared: {text} with the text 0, {number} with the number 0")
sys.exit(0 if (text, number) == (True, False) else 1)
PYTHON
