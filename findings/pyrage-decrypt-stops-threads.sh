#!/usr/bin/env bash
# pyrage 1.4.0: decrypt of 200 MB in one thread, while another one counts.
#
# Seen: the other thread stands still for as long as decrypt runs (0.5 s here), since it holds the interpreter all the time. In
# a server no request is answered meanwhile. decrypt_io with a writer whose `write` is a Python function takes no longer, and
# lets the other thread go on after each 8 kB.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyrage==1.4.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys
import threading
import time

import pyrage

identity = pyrage.x25519.Identity.generate()
ciphertext = pyrage.encrypt(bytes(200_000_000), [identity.to_public()])
longest, done = [0.0], threading.Event()


def count() -> None:
    last = time.perf_counter()
    while not done.is_set():
        time.sleep(0.001)
        now = time.perf_counter()
        longest[0], last = max(longest[0], now - last), now


class Writer:
    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        pass


def stood_still(decrypt) -> tuple[float, float]:
    longest[0], begun = 0.0, time.perf_counter()
    decrypt()
    took = time.perf_counter() - begun
    time.sleep(0.05)
    return longest[0], took


threading.Thread(target=count, daemon=True).start()
time.sleep(0.2)
whole, took = stood_still(lambda: pyrage.decrypt(ciphertext, [identity]))
pieces, took_io = stood_still(lambda: pyrage.decrypt_io(io.BytesIO(ciphertext), Writer(), [identity]))
done.set()
print(f"decrypt: {took:.2f} s, another thread stood still for {whole:.2f} s; decrypt_io: {took_io:.2f} s, {pieces:.3f} s")
sys.exit(not (whole > 0.8 * took and pieces < 0.5 * took_io))
PYTHON
