"""Each kind of input through Triton's models: the front alone, and the bundle as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as over_http
from support.declared import row_of
from support.input_kinds import KINDS, Score, files_of, score
from support.made import made_bundle
from support.real_triton import RealTriton, needs_triton
from support.triton_backend import InProcess, backend_module, config_of

import seatrial as st
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_parity.runners.tensors import tensors_of, widened, words
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository

ROWS = 5


@pytest.mark.parametrize("name", KINDS)
def test_both_models_take_the_kind_as_the_configuration_has_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_module(monkeypatch)
    kind = KINDS[name]
    contract, files = kind.contract, files_of(kind)
    rows = kind.rows(ROWS, 5)
    bundle = made_bundle(tmp_path / "made", monkeypatch, contract, score, rows, files)
    write_repository([bundle], tmp_path / "ensemble", Placing())
    write_repository([bundle], tmp_path / "whole", Placing(backend="python"))
    front = InProcess(tmp_path / "ensemble", "made_front", "front")
    whole = InProcess(tmp_path / "whole", "made", "whole")
    host = HostStage(contract, files)
    for row in rows:
        tensors = widened(tensors_of(contract, [row])) if row["x"] is not None else {}
        given = {name: array for name, (_, array) in tensors.items()}
        want = collate(host.specs, [host.encode_row(contract.validate_row(row))])
        if given:
            made = front(given)
            assert made.keys() == want.keys()
            for spec in host.specs:
                single = made[spec.name].reshape(want[spec.name].shape)
                assert np.array_equal(single, want[spec.name], equal_nan=spec.dtype == "float32")
            assert whole(given)["score"].ravel() == score(want)["score"]
    said = config_of(tmp_path / "whole", "made")
    assert {each.name for each in said.input} == set(contract.raw_tensors)


@needs_triton
@pytest.mark.slow
def test_a_row_of_every_kind_passes_the_front_in_real_triton(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {f"x{place}": kind for place, kind in enumerate(KINDS.values())}
    row = row_of(**{name: kind.annotation for name, kind in kinds.items()})
    contract = st.contract_from_rows(row, Score)
    files = {
        name: data
        for field in contract.inputs
        for name, data in field.kind.front_files(field.name).items()
    }
    drawn = {name: kind.rows(ROWS, 6) for name, kind in kinds.items()}
    rows = [{name: each[place]["x"] for name, each in drawn.items()} for place in range(ROWS)]
    bundle = made_bundle(tmp_path / "made", monkeypatch, contract, score, rows, files)
    write_repository([bundle], tmp_path / "all", Placing())
    (tmp_path / "front").mkdir()
    (tmp_path / "all" / "made_front").rename(tmp_path / "front" / "made_front")
    host = HostStage(contract, files)
    with RealTriton(tmp_path / "front", tmp_path / "triton.log") as running:
        client = over_http.InferenceServerClient(running.url.removeprefix("http://"))
        for each in rows:
            inputs = []
            for name, (datatype, array) in widened(tensors_of(contract, [each])).items():
                inputs.append(over_http.InferInput(name, array.shape, datatype))
                inputs[-1].set_data_from_numpy(array)
            found = client.infer("made_front", inputs)
            want = collate(host.specs, [host.encode_row(contract.validate_row(each))])
            for spec in host.specs:
                got = words(found.as_numpy(spec.name)).reshape(want[spec.name].shape)
                same = np.array_equal(got, want[spec.name], equal_nan=spec.dtype == "float32")
                assert same, spec.name
        client.close()
