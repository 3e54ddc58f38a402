"""A crowd that sends again at once when it is refused: does the server come back when it is gone?

    python benchmarks/load/crowd.py HARNESS BUILD [WORKLOAD]

Sixty-four closed-loop clients, then sixty-four more for half of the time, then the sixty-four alone
again; HARNESS and BUILD as in `overload.py`. Answers in each span, and refusals.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from overload import served

CLIENTS, SECONDS = 64, 8


def main(harness: Path, build: Path, workload: str) -> None:
    """Print one line of JSON for each span."""
    with served(workload, harness, build) as (_, server, requests):
        wrk = ["wrk", "-t1", f"-c{CLIENTS}", "--timeout", "60s", "-s", str(harness / "rotate.lua")]
        asked = [f"http://127.0.0.1:{server.port}/", "--", *map(str, requests)]

        def tell(span: str) -> None:
            said = server.load([*wrk, f"-d{SECONDS}s", *asked])
            counts = {"answered": said["replies"] - said["bad"], "refused": said["bad"]}
            print(json.dumps({"span": span, **counts}), flush=True)

        crowd = threading.Thread(target=server.load, args=([*wrk, f"-d{SECONDS // 2}s", *asked],))
        tell("before")
        crowd.start()
        tell("crowd")
        crowd.join()
        tell("after")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).resolve(),
        Path(sys.argv[2]).resolve(),
        sys.argv[3] if len(sys.argv) > 3 else "image",
    )
