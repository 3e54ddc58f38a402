"""Rows of every kind of input through Triton's models: the front alone, and a bundle as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as over_http
from support.declared import row_of
from support.input_kinds import KINDS, Score, score
from support.made import made_bundle
from support.real_triton import RealTriton, needs_triton
from support.triton_backend import InProcess, backend_module, config_of

import seatrial as st
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.runners.tensors import Tensors, tensors_of, widened, words
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository

ROWS = 6
FIELDS = {f"x{place}": kind for place, kind in enumerate(KINDS.values())}
DRAWN = {name: kind.rows(ROWS, 6) for name, kind in FIELDS.items()}
GOLDEN = [{name: rows[place]["x"] for name, rows in DRAWN.items()} for place in range(ROWS)]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that has a field of each kind."""
    row = row_of(**{name: kind.annotation for name, kind in FIELDS.items()})
    contract = st.contract_from_rows(row, Score)
    files: dict[str, bytes] = {}
    for field in contract.inputs:
        files |= field.kind.front_files(field.name)
    return made_bundle(tmp_path / "made", monkeypatch, contract, score, GOLDEN, files)


def asked(bundle: Bundle) -> Iterator[tuple[Tensors, dict[str, Array]]]:
    """Of each golden row, what a client of Triton sends, and what the graph sees by our server."""
    host = HostStage(bundle.contract, bundle.files)
    for row in GOLDEN:
        encoded = host.encode_row(bundle.contract.validate_row(row))
        yield widened(tensors_of(bundle.contract, [row])), collate(host.specs, [encoded])


def unlike(made: Mapping[str, Any], want: Mapping[str, Array]) -> list[str]:
    """The tensors that are not what the graph sees by our server."""
    return [
        name
        for name, array in want.items()
        if not np.array_equal(
            words(made[name]).reshape(array.shape), array, equal_nan=array.dtype.kind == "f"
        )
    ]


def test_both_models_take_every_kind_as_the_configuration_has_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_module(monkeypatch)
    write_repository([bundle], tmp_path / "ensemble", Placing())
    write_repository([bundle], tmp_path / "whole", Placing(backend="python"))
    front = InProcess(tmp_path / "ensemble", "made_front", "front")
    whole = InProcess(tmp_path / "whole", "made", "whole")
    said = config_of(tmp_path / "whole", "made")
    assert {each.name for each in said.input} == set(bundle.contract.raw_tensors)
    missing = 0
    for tensors, want in asked(bundle):
        given = {name: array for name, (_, array) in tensors.items()}
        assert unlike(front(given), want) == []
        assert whole(given)["score"].ravel() == score(want)["score"]
        missing += len(set(bundle.contract.raw_tensors) - set(given))
    assert missing, "an input that may be missing is left out"


@needs_triton
@pytest.mark.slow
def test_rows_of_every_kind_pass_the_front_in_real_triton(bundle: Bundle, tmp_path: Path) -> None:
    write_repository([bundle], tmp_path / "all", Placing())
    (tmp_path / "front").mkdir()
    (tmp_path / "all" / "made_front").rename(tmp_path / "front" / "made_front")
    with RealTriton(tmp_path / "front", tmp_path / "triton.log") as running:
        client = over_http.InferenceServerClient(running.url.removeprefix("http://"))
        for tensors, want in asked(bundle):
            inputs = []
            for name, (datatype, array) in tensors.items():
                inputs.append(over_http.InferInput(name, array.shape, datatype))
                inputs[-1].set_data_from_numpy(array)
            found = client.infer("made_front", inputs)
            assert unlike({name: found.as_numpy(name) for name in want}, want) == []
        client.close()
