"""What the time of a refusal tells of a wrong key.

    python benchmarks/wrong_keys.py BUNDLES

A server asks for keys, of a file with 1,000. Wrong keys of three sorts are sent in turns, each of
them once: an unknown id, a known id with another secret, and no key of ours. The two-sided
Mann-Whitney test asks whether their refusals take unlike times.
"""

from __future__ import annotations

import http.client
import secrets
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from metrics_cost import Running
from scipy.stats import mannwhitneyu

sys.path.insert(0, str(Path(__file__).parent / "load"))
from edge import many_keys

WRONG = 60


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
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys.toml")
        key = many_keys(file)
        server = Running(sys.argv[1], "--api-keys", str(file))
        compare_times(server.url, key)
        server.process.terminate()
        server.process.wait(30)


if __name__ == "__main__":
    main()
