"""Each kind of input through Triton's models: the front alone, and the bundle as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.input_kinds import KINDS, files_of, score
from support.made import made_bundle
from support.triton_backend import InProcess, backend_module, config_of

from seatrial_contracts.host_stage import HostStage, collate
from seatrial_parity.runners.tensors import tensors_of, widened
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
