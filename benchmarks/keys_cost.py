"""The cost of keys, and what the time of a refusal tells: `--api-keys` on against off.

    python benchmarks/keys_cost.py BUNDLES [ROUNDS]

BUNDLES is a folder that holds penguins; wrk is needed. A server that asks for keys, of a file with
1,000, runs against one that does not, as in `metrics_cost.py`: both at once on core 0, wrk on core
1, in turns. Then wrong keys of three sorts are sent in turns, each of them once: an unknown id, a
known id with another secret, and no key of ours. The two-sided Mann-Whitney test asks whether their
refusals take unlike times.
"""

from __future__ import annotations

import http.client
import json
import secrets
import sys
import tempfile
import time
import urllib.request
from itertools import combinations
from pathlib import Path

import numpy as np
from metrics_cost import CONNECTIONS, Running, in_turns
from scipy.stats import mannwhitneyu

from seatrial_serve.access.keys_file import new_entry, read_keys

KEYS, WRONG = 1000, 60


def many_keys(file: Path) -> str:
    """A file of keys; return one of them. The others have its hash, and ids of their own."""
    entry, key = new_entry(file, "asked", ("infer", "read"))
    others = [
        f'[[keys]]\nid = "{secrets.token_hex(6)}"\nname = "other {place}"\n'
        f'scopes = ["infer"]\nhash = "{entry.hash}"\n'
        for place in range(KEYS - 1)
    ]
    file.write_text(file.read_text() + "".join(others))
    assert len(read_keys(file).keys) == KEYS
    return key


def refusal_s(url: str, key: str) -> float:
    """How long the refusal of a wrong key takes."""
    place = url.removeprefix("http://")
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", "/v1/models", headers={"X-API-Key": key})
    with connection.getresponse() as reply:
        reply.read()
        assert reply.status == 401
    connection.close()
    return time.perf_counter() - begun


def compare_times(url: str, key: str) -> None:
    """Print the times of refusals, and whether sorts of wrong keys differ by them."""
    key_id = key.split("_")[1]
    sorts = {
        "unknown id": lambda: f"st_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}",
        "known id": lambda: f"st_{key_id}_{secrets.token_urlsafe(32)}",
        "no key": lambda: secrets.token_urlsafe(47),
    }
    seen: dict[str, list[float]] = {name: [] for name in sorts}
    for _ in range(WRONG):
        for name, make in sorts.items():
            seen[name].append(refusal_s(url, make()))
    for name, times in seen.items():
        low, middle, high = np.quantile(times, (0.25, 0.5, 0.75)) * 1e3
        print(f"{name}: refused after {middle:.1f} ms (half between {low:.1f} and {high:.1f})")
    for one, other in combinations(seen, 2):
        p = mannwhitneyu(seen[one], seen[other]).pvalue
        print(f"{one} against {other}: p = {p:.2f}")


def main() -> None:
    bundles, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys.toml")
        key = many_keys(file)
        on, off = Running(bundles, "--api-keys", str(file)), Running(bundles)
        with urllib.request.urlopen(f"{off.url}/v1/models/penguins", timeout=10) as reply:
            row = json.load(reply)["example"]
        script = Path(folder, "post.lua")
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = [[{json.dumps({"instances": [row]})}]]\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
            f'wrk.headers["Authorization"] = "Bearer {key}"\n'
        )
        for connections in CONNECTIONS:
            with_it, without = in_turns(on, off, script, connections, rounds)
            ratios = with_it / without
            (low, middle, high), (_, rate, _) = np.quantile(ratios, (0.25, 0.5, 0.75), axis=0).T
            print(
                f"{connections:3} connections: {middle:.3f} of the processor time a request "
                f"(half between {low:.3f} and {high:.3f}), {rate:.3f} of the rate"
            )
        compare_times(on.url, key)
        for server in (on, off):
            server.process.terminate()
            server.process.wait(30)


if __name__ == "__main__":
    main()
