"""`seatrial diff` on real bundles: what it says, its notes, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from refusals.sealed import graph
from support.toys import toy_files, toy_manifest

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.golden import Golden, Refused
from seatrial_contracts.manifest import Manifest, Variant


class Kind(st.Answer):
    kind: Annotated[str, st.Label("low", "high")]


def put(folder: Path, version: str, factor: float, most: float = 10.0) -> Path:
    """A model that calls what is above 5 / factor high."""

    class In(st.Row):
        x: Annotated[float, st.Number(ge=0, le=most)]

    node = helper.make_node
    data = graph(
        [("x", TensorProto.FLOAT, [])],
        node("Mul", ["x", "factor"], ["s"]),
        node("Sub", ["ten", "s"], ["low"]),
        node("Unsqueeze", ["low", "axis"], ["a"]),
        node("Unsqueeze", ["s", "axis"], ["b"]),
        node("Concat", ["a", "b"], ["kind"], axis=1),
        output=("kind", ["classes"]),
        factor=np.float32(factor),
        ten=np.float32(10),
        axis=np.array([1]),
    )
    rows = tuple({"x": x} for x in (1.0, 4.0, 6.0, 9.0) if x <= most)
    answers = tuple(
        {"kind": np.array([10 - row["x"] * factor, row["x"] * factor], np.float32)} for row in rows
    )
    truth = tuple({"kind": "high" if row["x"] > 3 else "low"} for row in rows)
    slices = tuple(("small",) if row["x"] < 5 else ("large",) for row in rows)
    golden = Golden(rows, answers, (Refused({"x": most + 1}, "E_RANGE"),), truth, slices)
    files = {
        CONTRACT: st.contract_from_rows(In, Kind).to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": data,
        **golden.to_files(),
    }
    variant = Variant(name="fp32", graph="graphs/model.onnx")
    return write_bundle(
        folder,
        Manifest(
            schema=1,
            name="m",
            version=version,
            batchable=True,
            variants=(variant,),
            files={},
        ),
        files,
    ).path


def diff(*arguments: Any) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["diff", *map(str, arguments)])


def test_flips_and_moves_are_named_and_notes_are_written(tmp_path: Path) -> None:
    old, new = put(tmp_path, "1.0.0", 1.0), put(tmp_path, "1.1.0", 1.5)
    shown = diff(old, new, "--notes", tmp_path / "N.md")
    assert shown.exit_code == 0, shown.output
    assert "the contracts are equal" in shown.output
    assert "Row 1: 'kind' was low, is high." in shown.output
    assert "Largest move: 4.5 at row 3, output 'kind'." in shown.output
    assert (tmp_path / "N.md").read_text().splitlines() == [
        "# m 1.1.0",
        "",
        "Compared with 1.0.0.",
        "",
        "## Breaking changes",
        "",
        "None: what a client sent and read stays right.",
        "",
        "## Other changes of the contract",
        "",
        "None.",
        "",
        "## Answers",
        "",
        "- 4 golden rows are answered by both.",
        "- Largest move: 4.5 at row 3, output 'kind'.",
        "- 1 label flipped.",
        "- Row 1: 'kind' was low, is high.",
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--most-flips", "1", "--most-move", "4.5"], ""),
        (["--most-flips", "25%"], ""),
        (["--most-flips", "0"], "got 1 of 4 rows with another label, want at most 0"),
        (["--most-flips", "24.9%"], "got 1 of 4 rows with another label, want at most 0.249"),
        (["--most-move", "4.4"], "got 4.5 at row 3, output 'kind', want at most 4.4"),
    ],
)
def test_answers_that_move_further_than_allowed_fail(
    tmp_path: Path, flags: list[str], said: str
) -> None:
    found = diff(put(tmp_path, "1.0.0", 1.0), put(tmp_path, "1.1.0", 1.5), *flags)
    assert found.exit_code == (1 if said else 0), found.output
    assert said in found.stderr
    assert bool(found.stderr) is bool(said)


@pytest.mark.parametrize("share", ["few", "-1", "101%", "1%%"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    found = diff("a", "b", f"--most-flips={share}")
    assert found.exit_code == 2
    assert "want a number of rows such as 3, or a share: 2%" in found.output


@pytest.mark.parametrize(("version", "code"), [("1.1.0", 1), ("2.0.0", 0)])
def test_a_breaking_change_fails_unless_the_major_version_rises(
    tmp_path: Path, version: str, code: int
) -> None:
    shown = diff(put(tmp_path, "1.0.0", 1.0), put(tmp_path, version, 1.0, most=5.0))
    assert shown.exit_code == code
    assert "breaking" in shown.output
    assert "le 10.0 -> 5.0" in shown.output
    assert "Row 2 is refused now: E_RANGE." in shown.output
    assert ("mend: call it 2.0.0" in shown.output) == bool(code)


def test_both_versions_are_held_against_the_truth_for_all_rows_and_each_slice(
    tmp_path: Path,
) -> None:
    old, new = put(tmp_path, "1.0.0", 1.0), put(tmp_path, "1.1.0", 1.5)
    measures = json.loads(diff(old, new, "--json").output)["measures"]
    assert {name: [one["accuracy"] for one in both] for name, both in measures.items()} == {
        "all rows": [0.75, 1.0], "large": [1.0, 1.0], "small": [0.5, 1.0],
    }  # fmt: skip
    assert "0.5 -> 1" in diff(old, new).output


def test_two_models_are_not_versions_of_one(tmp_path: Path) -> None:
    other = write_bundle(tmp_path, toy_manifest(), toy_files()).path
    shown = diff(put(tmp_path, "1.0.0", 1.0), other)
    assert shown.exit_code != 0
    assert isinstance(shown.exception, st.DeclarationError)


def test_a_wider_range_takes_rows_that_were_refused(tmp_path: Path) -> None:
    shown = diff(put(tmp_path, "1.0.0", 1.0, most=5.0), put(tmp_path, "1.0.1", 1.0), "--json")
    assert shown.exit_code == 0
    found = json.loads(shown.output)
    assert [item["breaking"] for item in found["differences"]] == [False]
    assert {code for _, code in found["moved"]["newly_taken"]} == {"E_RANGE"}
    assert found["moved"]["flips"] == []
