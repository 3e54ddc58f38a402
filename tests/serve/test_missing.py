"""Values that may be missing, of kinds whose values cannot say so: a mark beside a fill value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from support.made import made_bundle
from support.running import Running, run_app
from support.word_tokenizer import word_tokenizer

import seatrial as st
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.image import draw
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.profile import DriftFeatures

PICTURE = base64_text(draw(8, 6, (200, 10, 10), "PNG"))
WHOLE: dict[str, Any] = {"member": True, "note": "a ship", "photo": PICTURE, "spot": [1.0, 2.0]}
FIELDS = list(WHOLE)
NOTHING: dict[str, Any] = dict.fromkeys(FIELDS)
SAID = ["member", "note", "photo", "spot"]


def contract_of(tokenizer: bytes) -> st.Contract:
    class Row(st.Row):
        member: bool | None
        note: Annotated[str | None, st.Text(tokenizer=tokenizer, max_tokens=8)]
        photo: Annotated[bytes | None, st.Image(size_px=(6, 8))]
        spot: st.Tensor[np.float32, 2] | None

    class Seen(st.Answer):
        there: st.Tensor[np.float32, 4]
        sums: st.Tensor[np.float32, 4]

    return st.contract_from_rows(Row, Seen)


def seen(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Which inputs are there, and something of each."""
    there = np.stack([feeds[f"{name}_present"] for name in SAID], 1)
    sums = [
        feeds["member"],
        (feeds["note_ids"] * feeds["note_mask"]).sum(1),
        feeds["photo"].mean((1, 2, 3)),
        feeds["spot"].sum(1),
    ]
    return {"there": there.astype(np.float32), "sums": np.stack(sums, 1).astype(np.float32)}


def files_of(contract: st.Contract) -> dict[str, bytes]:
    return {
        name: data
        for field in contract.inputs
        for name, data in field.kind.front_files(field.name).items()
    }


@pytest.fixture
def contract() -> st.Contract:
    return contract_of(word_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "ship"]))


@pytest.fixture
async def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: st.Contract
) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, contract, seen, [WHOLE, NOTHING], files_of(contract))
    async with run_app(tmp_path) as running:
        yield running


async def answers(served: Running, rows: list[dict[str, Any]]) -> list[Any]:
    reply = await served.client.post("/v1/models/made:predict", json={"instances": rows})
    assert reply.status_code == 200, reply.text
    return [(row["there"], row["sums"]) for row in reply.json()["predictions"]]


async def test_the_graph_sees_a_fill_value_and_a_mark(served: Running) -> None:
    rows = [WHOLE, NOTHING, {}, {**WHOLE, "note": None}, {"member": False, "spot": [0.0, 0.0]}]
    whole, nothing, absent, silent, zeros = await answers(served, rows)
    assert whole[0] == [1, 1, 1, 1]
    assert whole[1][0] == 1
    assert whole[1][1] == 2 + 4 + 5 + 3  # [CLS] a ship [SEP]
    assert whole[1][3] == 3
    assert nothing == absent == ([0, 0, 0, 0], [0, 2 + 3, 0, 0])
    assert silent == ([1, 0, 1, 1], [1, 5, whole[1][2], 3])
    assert zeros == ([1, 0, 0, 1], [0, 5, 0, 0]), "a value that is there is not its fill value"


async def test_columns_hold_missing_values_too(served: Running) -> None:
    columns = {name: [WHOLE[name], None] for name in FIELDS}
    reply = await served.client.post("/v1/models/made:predict", json={"inputs": columns})
    assert reply.json()["outputs"]["there"] == [[1, 1, 1, 1], [0, 0, 0, 0]]


def tensor(name: str, datatype: str, data: list[Any], *row_shape: int) -> dict[str, Any]:
    shape = [len(data), *(row_shape or (1,))]
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


async def infer(served: Running, *inputs: dict[str, Any]) -> Any:
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": list(inputs)})
    if reply.status_code != 200:
        return reply.json()["code"], reply.json()["error"]
    return np.array(reply.json()["outputs"][0]["data"]).reshape(-1, 4).tolist()


async def test_over_v2_a_mark_beside_the_values_says_which_are_there(served: Running) -> None:
    there = await infer(
        served,
        tensor("member", "BOOL", [True, False, False]),
        tensor("member_present", "BOOL", [True, True, False]),
        tensor("note", "BYTES", ["a", None, ""]),
        tensor("spot", "FP32", [[0.0, 0.0]] * 3, 2),
        tensor("spot_present", "BOOL", [False, True, True]),
    )
    assert there == [[1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1]]


async def test_what_stands_in_the_place_of_a_missing_value_is_not_looked_at(
    served: Running,
) -> None:
    there = await infer(
        served,
        tensor("note", "BYTES", ["x" * 5000, "a"]),
        tensor("note_present", "BOOL", [False, True]),
    )
    assert there == [[0, 0, 0, 0], [0, 1, 0, 0]]


async def test_a_refusal_names_the_row_of_the_request(served: Running) -> None:
    code, error = await infer(
        served,
        tensor("note", "BYTES", ["a", "", "x" * 5000]),
        tensor("note_present", "BOOL", [True, False, True]),
    )
    assert (code, error[:35]) == ("E_TEXT_LIMIT", "input 'note', row 2: got 5000 chara")


async def test_metadata_names_the_marks(served: Running) -> None:
    inputs = (await served.client.get("/v2/models/made")).json()["inputs"]
    assert {"name": "spot_present", "datatype": "BOOL", "shape": [-1, 1]} in inputs


async def test_drift_counts_missing_values_by_themselves(contract: st.Contract) -> None:
    front = HostStage(contract, files_of(contract))
    rows = [contract.validate_row(row) for row in (WHOLE, NOTHING, WHOLE, WHOLE)]
    answered = [
        {name: array[0] for name, array in seen(collate(front.specs, [row])).items()}
        for row in map(front.encode_row, rows)
    ]
    profile = DriftFeatures(front).profile(rows, answered)
    for name, histogram in profile.inputs.items():
        assert dict(zip(histogram.bins.names, histogram.counts, strict=True))["(missing)"] == 1, (
            name
        )
    unseen = DriftFeatures(front).inputs({name: [None, None] for name in FIELDS})
    assert unseen.keys() == profile.inputs.keys()


def test_an_answer_is_about_no_input_that_may_be_missing() -> None:
    class Row(st.Row):
        photo: Annotated[bytes | None, st.Image()]

    class Found(st.Answer):
        depth: Annotated[dict, st.Picture(on="photo")]

    with pytest.raises(st.DeclarationError, match="want an input that is always there"):
        st.contract_from_rows(Row, Found)


def test_rows_with_and_without_a_value_share_a_batch(contract: st.Contract) -> None:
    front = HostStage(contract, files_of(contract))
    rows = [front.encode_row(contract.validate_row(row)) for row in (WHOLE, NOTHING)]
    assert collate(front.specs, rows)["spot_present"].tolist() == [True, False]
