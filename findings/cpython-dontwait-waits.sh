#!/usr/bin/env bash
# CPython's socket with a timeout: recv with MSG_DONTWAIT, which recv(2) describes as "if the operation would block, the call
# fails with EAGAIN", on a connection where nothing has come.
#
# Seen: the call waits for the socket's whole timeout (2 s here) and raises TimeoutError. A timeout makes CPython wait until the
# socket is readable before it calls recv, whatever the flags say. The documentation of settimeout does not name it. Whoever
# peeks at a connection to learn whether the other end closed it waits, and takes a live connection for a dead one, since
# TimeoutError is an OSError.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
python3 - <<'PYTHON'
import socket
import sys
import time

ours, theirs = socket.socketpair()
ours.settimeout(2)
begun = time.monotonic()
try:
    ours.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    raised = "nothing"
except OSError as error:
    raised = type(error).__name__
waited = time.monotonic() - begun
print(f"Python {sys.version.split()[0]}: raised {raised} after {waited:.1f} s")
sys.exit(not (raised == "TimeoutError" and waited > 1.5))
PYTHON
