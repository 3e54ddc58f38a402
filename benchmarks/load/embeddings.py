"""What the forms of an embedding cost before a model that costs nothing: CPU time of the server.

    python benchmarks/load/embeddings.py [--requests 300] [--rounds 5]

Two bundles of 384 dimensions are sealed whose graphs look one vector up: by a number, which costs
nothing on the way in, and by a text. The ways are asked in turns over one connection of the
loopback: V1 in JSON numbers and in base64 and V2 in binary by numbers, and OpenAI's route beside V1
by texts. Processor time is what the kernel books for all of the server's threads. The median of the
rounds is printed, and its rate beside that of V1 in JSON numbers.
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
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.profile import DriftFeatures

SIZE, ROWS = 384, 32
TICK = os.sysconf("SC_CLK_TCK")
TEXT = "sea trial"
TOKENIZER = Tokenizer(models.WordLevel({"[UNK]": 0, "sea": 1, "trial": 2}, unk_token="[UNK]"))
TOKENIZER.pre_tokenizer = pre_tokenizers.Whitespace()
FRONT = {"front/text.tokenizer.json": TOKENIZER.to_str().encode()}


class Place(st.Row):
    """A place in the table."""

    place: Annotated[int, st.Number(ge=0, le=2)]


class Given(st.Row):
    """A text."""

    text: Annotated[str, st.Text(tokenizer=FRONT["front/text.tokenizer.json"], special="words")]


class PlaceVector(st.Answer):
    """The vector there."""

    vector: Annotated[list[float], st.Embedding(SIZE, normalized=True)]


class Vector(st.Answer):
    """The vector of a text's first word."""

    vector: Annotated[list[float], st.Embedding(SIZE, normalized=True, of="text")]


TABLE = np.random.default_rng(0).normal(size=(3, SIZE)).astype(np.float32)
TABLE /= np.linalg.norm(TABLE, axis=1, keepdims=True)


def seal(
    folder: Path, name: str, contract: st.Contract, rows: list[Any], inputs: list[Any],
    nodes: list[Any], front: dict[str, bytes],
) -> None:  # fmt: skip
    """Write a bundle whose golden rows are answered by the vectors at places 1 and 2."""
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", SIZE])
    weights = [
        numpy_helper.from_array(array, each)
        for each, array in (("table", TABLE), ("first", np.array(0)))
    ]
    graph = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [vector], weights),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    golden = Golden(tuple(rows), ({"vector": TABLE[1]}, {"vector": TABLE[2]}))
    valid = [contract.validate_row(row) for row in rows]
    profile = DriftFeatures(HostStage(contract, front)).profile(valid, golden.answers)
    variant = Variant(name="fp32", format="onnx", graph="graphs/fp32.onnx")
    manifest = Manifest(
        schema=1, name=name, version="1.0.0", batchable=True, variants=(variant,),
        files={},
    )  # fmt: skip
    files = {
        CONTRACT: contract.to_json(), PROFILE: profile.to_json(), **front,
        variant.graph: graph.SerializeToString(), **golden.to_files(),
    }  # fmt: skip
    write_bundle(folder, manifest, files)


def seal_both(folder: Path) -> None:
    """Write the two bundles."""
    whole, node = TensorProto.INT64, helper.make_node
    place = [helper.make_tensor_value_info("place", whole, ["batch"])]
    by_place = [node("Gather", ["table", "place"], ["vector"])]
    rows: list[Any] = [{"place": 1}, {"place": 2}]
    seal(folder, "numbers", st.contract_from_rows(Place, PlaceVector), rows, place, by_place, {})
    ids = [
        helper.make_tensor_value_info(name, whole, ["batch", "text_tokens"])
        for name in ("text_ids", "text_mask")
    ]
    by_word = [
        node("Gather", ["text_ids", "first"], ["id"], axis=1),
        node("Gather", ["table", "id"], ["vector"]),
    ]
    rows = [{"text": TEXT}, {"text": "trial"}]
    seal(folder, "texts", st.contract_from_rows(Given, Vector), rows, ids, by_word, FRONT)


def v1(model: str, row: Any, rows: int, **options: Any) -> tuple[str, dict[str, Any]]:
    """Path and body of V1."""
    body = {"instances": [row] * rows} | ({"parameters": options} if options else {})
    return f"/v1/models/{model}:predict", body


def v2(rows: int) -> tuple[str, dict[str, Any]]:
    """Path and body of V2, whose answer is binary."""
    given = {"name": "place", "datatype": "INT64", "shape": [rows, 1], "data": [1] * rows}
    body = {"inputs": [given], "parameters": {"binary_data_output": True}}
    return "/v2/models/numbers/infer", body


BASE = "V1 numbers"
WAYS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    f"{rows} rows of a number": {
        BASE: v1("numbers", {"place": 1}, rows),
        "V1 base64": v1("numbers", {"place": 1}, rows, encoding="base64"),
        "V2 binary": v2(rows),
    }
    for rows in (1, ROWS)
} | {
    f"{ROWS} texts": {
        BASE: v1("texts", {"text": TEXT}, ROWS),
        "OpenAI numbers": ("/v1/embeddings", {"model": "texts", "input": [TEXT] * ROWS}),
        "OpenAI base64": (
            "/v1/embeddings",
            {"model": "texts", "input": [TEXT] * ROWS, "encoding_format": "base64"},
        ),
    }
}


def ask(address: str, pid: int, way: tuple[str, dict[str, Any]], requests: int) -> float:
    """Microseconds of the server's processor time for each request."""
    path, body = way[0], json.dumps(way[1])
    client = http.client.HTTPConnection(address)
    start = ticks(pid)
    for _ in range(requests):
        client.request("POST", path, body, {"content-type": "application/json"})
        reply = client.getresponse()
        data = reply.read()
        assert reply.status == 200, data
    client.close()
    return (ticks(pid) - start) / TICK / requests * 1e6


def ticks(pid: int) -> int:
    """Of all threads, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def main() -> None:
    flags = argparse.ArgumentParser()
    flags.add_argument("--requests", type=int, default=300)
    flags.add_argument("--rounds", type=int, default=5)
    flagged = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seal_both(Path(folder))
        command = [sys.executable, "-m", "seatrial", "serve", folder]
        ports = ["--http-port", "0", "--metrics-port", "0", "--no-grpc"]
        server = subprocess.Popen([*command, *ports], stderr=subprocess.PIPE, text=True)
        try:
            address = loaded(server, 2)
            for what, ways in WAYS.items():
                found: dict[str, list[float]] = {name: [] for name in ways}
                for turn in range(flagged.rounds + 1):
                    for name, way in ways.items():
                        spent = ask(address, server.pid, way, flagged.requests)
                        if turn:
                            found[name].append(spent)
                show(what, {name: statistics.median(each) for name, each in found.items()})
        finally:
            server.terminate()
            server.wait(30)


def loaded(server: subprocess.Popen[str], models: int) -> str:
    """The server's address, once so many models are loaded."""
    address, gates = "", 0
    assert server.stderr is not None
    while not address or gates < models:
        line = server.stderr.readline()
        if not line or "is not ready" in line:
            raise SystemExit(f"the server serves no model: {line}")
        said = re.search(r"http://([0-9.]+:\d+)", line)
        address = said[1] if said else address
        gates += "passed its load gate" in line
    return address


def show(what: str, medians: dict[str, float]) -> None:
    """Print the figures of some ways."""
    for name, spent in medians.items():
        rate = medians[BASE] / spent
        print(f"{what}, {name}: {spent:.0f} us of CPU a request, {rate:.2f} of the rate of {BASE}")


if __name__ == "__main__":
    main()
