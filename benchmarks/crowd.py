"""A crowd that asks again at once when it is refused: does the server come back when it is gone?

    python benchmarks/crowd.py HARNESS BUILD [WORKLOAD]

Sixty-four closed-loop clients, then sixty-four more for half of the time, then the sixty-four alone again; HARNESS and BUILD as in
`overload.py`. Answers in each span, and refusals.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

CLIENTS, SECONDS = 64, 8


def main(harness: Path, build: Path, workload: str) -> None:
    """Print one line of JSON for each span."""
    sys.path.insert(0, str(harness))
    bench: Any = importlib.import_module("bench")
    os.environ["BENCH_MAX_BATCH"] = "32"  # which the harness tells its contenders; we measure our own
    work = build / "work"
    contender = bench.Contender.load(Path(__file__).resolve().parent / "contender.toml")
    requests = bench.raw_requests(contender, workload, work / "models", work)
    log = work / "logs" / f"crowd.{workload}.log"
    with bench.serving(
        contender, workload, Path(sys.executable), requests[0].read_bytes(), work / "models", log
    ) as server:

        def ask(clients: int, seconds: int) -> dict[str, Any]:
            command = [
                "wrk",
                "-t1",
                f"-c{clients}",
                f"-d{seconds}s",
                "--timeout",
                "60s",
                "-s",
                str(harness / "rotate.lua"),
            ]
            found: dict[str, Any] = server.load(
                [*command, f"http://127.0.0.1:{server.port}/", "--", *map(str, requests)]
            )
            return found

        for span in ("before", "crowd", "after"):
            crowd = threading.Thread(target=ask, args=(CLIENTS, SECONDS // 2))
            if span == "crowd":
                crowd.start()
            said = ask(CLIENTS, SECONDS)
            if span == "crowd":
                crowd.join()
            print(
                json.dumps({"span": span, "answered": said["replies"] - said["bad"], "refused": said["bad"]}),
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3] if len(sys.argv) > 3 else "image")
