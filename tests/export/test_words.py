"""Whose fault an exception is, by the file of its innermost frame."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from seatrial_contracts.bins import between
from seatrial_export.graphs.exporter_messages import raised_by_us, user_line

BROKEN = "def forward():\n    raise ValueError('a fault of its own')\n"


@pytest.mark.parametrize(
    "folder", ["seatrial_contracts", "seatrial_export_of_mine", "seatrial_models", "models"]
)
def test_a_fault_in_a_users_folder_is_the_users_whatever_the_folder_is_called(
    tmp_path: Path, folder: str
) -> None:
    file = tmp_path / folder / "net.py"
    file.parent.mkdir()
    file.write_text(BROKEN)
    spec = importlib.util.spec_from_file_location("net", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match="of its own") as raised:
        module.forward()
    assert not raised_by_us(raised.value)
    assert user_line(raised.value) == "net.py:2"


def test_a_fault_in_seatrials_own_code_is_ours() -> None:
    with pytest.raises(TypeError) as raised:
        between("low", 1.0)  # type: ignore[arg-type]
    assert raised_by_us(raised.value)
