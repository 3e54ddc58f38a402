"""Loading a bundle of 144 MB of weights, plain and encrypted, in turns.

    python benchmarks/load/encrypted.py [--turns 5] [--out results.json]

Each load is a fresh process: it opens the bundle, loads its graph and passes the load gate. `cpu`
is the process' processor time, `stall_ms` how long another thread of it waited for the interpreter
at most, while the bundle was opened and loaded. Memory is what the process has at the end, and had
at most. The plain one is loaded with and without onnxruntime's kept graph, which encrypted ones
have not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH = 6000
LOAD = """
import json, resource, sys, threading, time
from pathlib import Path
from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.identities import Identities
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.runtimes.runtime import RuntimeOptions
sys.setswitchinterval(0.0005)
path, key, cache = sys.argv[1:]
stall, done = [0.0], threading.Event()
def beat():
    last = time.perf_counter()
    while not done.is_set():
        time.sleep(0.001)
        now = time.perf_counter()
        stall[0], last = max(stall[0], now - last), now
identities = Identities(Path(key)) if key else None
options = RuntimeOptions(cache=Path(cache) if cache else None)
threading.Thread(target=beat, daemon=True).start()
cpu, start = time.process_time(), time.perf_counter()
bundle = open_bundle(Path(path), identities)
opened = time.perf_counter() - start
engine = load_engine(bundle, options)
loaded = time.perf_counter() - start
done.set()
cpu = time.process_time() - cpu
pass_load_gate(engine)
told = {line.split(":")[0]: line.split()[1] for line in open("/proc/self/status")
        if line.startswith(("VmRSS", "VmHWM", "RssAnon"))}
print(json.dumps({"opened_s": opened, "loaded_s": loaded, "cpu_s": cpu,
                  "stall_ms": 1e3 * stall[0], **{f"{name}_mb": int(kb) / 1e3
                                                for name, kb in told.items()}}))
"""


def measure(path: Path, key: str, cache: str) -> dict[str, float]:
    """One load in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path), key, cache],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(turns: int, out: Path | None) -> None:
    """Print the medians."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    from support.encrypted import encrypted, make_identity

    with tempfile.TemporaryDirectory() as folder:
        key = make_identity(Path(folder) / "key.txt")
        path = encrypted(Path(folder) / "bundles", key, width=WIDTH)
        plain = Path(folder) / "bundles-plain" / "net" / "1.0.0"
        cases = {
            "plain, kept graph": (plain, "", str(Path(folder) / "cache")),
            "plain": (plain, "", ""),
            "encrypted": (path, str(key.file), ""),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
        for turn in range(turns + 1):
            for name, case in cases.items():
                measured = measure(*case)
                found[name] += [measured] if turn else []  # the first fills caches
    medians = {
        name: {each: round(statistics.median(one[each] for one in all_), 3) for each in all_[0]}
        for name, all_ in found.items()
    }
    print(json.dumps(medians, indent=1))
    if out is not None:
        out.write_text(json.dumps({"turns": turns, "medians": medians, "all": found}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    main(arguments.turns, arguments.out)
