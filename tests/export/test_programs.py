"""Files that torch saves: programs are adopted through the gate, pickles and half files refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.foreign import answers
from torch import Tensor, nn

import seatrial as st
from seatrial.main import cli
from seatrial_export.programs.read import is_arithmetic, read_program

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ROWS = """
import numpy as np
import seatrial as st


class Pair(st.Row):
    x: st.Tensor[np.float32, 4]
    y: st.Tensor[np.float32, 4]


class Out(st.Answer):
    z: st.Tensor[np.float32, 4]
"""


class Mixed(nn.Module):
    """Two inputs, which are no mirror of each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)
        self.eval()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.left(x).tanh() + self.right(y).relu() * 2


class Sized(nn.Module):
    """Reads a size in Python, which TorchScript keeps and tracing fixes."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for place in range(x.shape[0]):
            total = total + y * float(place)
        return total


def pairs() -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    return [{name: draw.standard_normal(4).tolist() for name in "xy"} for _ in range(5)]


def exported(model: nn.Module, batch: int | None = None) -> torch.export.ExportedProgram:
    arguments = (torch.zeros(batch or 3, 4), torch.zeros(batch or 3, 4))
    sizes = None if batch else ({0: torch.export.Dim.DYNAMIC},) * 2
    return torch.export.export(model, arguments, dynamic_shapes=sizes)


def asked(folder: Path, *arguments: str) -> Any:
    """The command in a folder with contract and golden rows."""
    (folder / "rows.py").write_text(ROWS)
    (folder / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(cli, ["adopt", *arguments])


GIVEN = ("--contract", "rows.py:Pair", "--golden", "golden.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "save"),
    [
        ("model.pt2", lambda model, path: torch.export.save(exported(model), path)),
        ("model.ts", lambda model, path: torch.jit.script(model).save(path)),
        (
            "model.pt",
            lambda model, path: torch.jit.trace(model, (torch.ones(2, 4),) * 2).save(path),
        ),
    ],
)
def test_a_program_is_adopted_and_answers_as_its_module(
    file: str, save: Callable[[nn.Module, str], None], tmp_path: Path
) -> None:
    save(Mixed(), str(tmp_path / file))
    done = asked(tmp_path, file, *GIVEN)
    assert done.exit_code == 0, done.output + str(done.exception)
    assert "proven on 5 golden" in done.output
    bundle = st.open_bundle(tmp_path / "bundles" / "model" / "1.0.0")
    assert bundle.manifest.batchable
    assert str(bundle.manifest.origin).endswith("reference: PyTorch")
    want = Mixed()(*(torch.tensor([row[name] for row in pairs()]) for name in "xy"))
    got = np.stack([answer["z"] for answer in answers(bundle, pairs(), 3)])
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-5, atol=1e-6)


class Trap:
    """Runs something when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> None:
    """The archive with each entry changed, left out where that is None, and with more of them."""
    with zipfile.ZipFile(path) as old:
        entries = {name: change(name, old.read(name)) for name in old.namelist()}
    root = next(iter(entries)).partition("/")[0]
    entries |= {f"{root}/{name}": data for name, data in more.items()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in entries.items():
            if data is not None:
                new.writestr(name, data)


def saved(folder: Path) -> Path:
    path = folder / "model.pt2"
    torch.export.save(exported(Mixed()), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(st.DeclarationError) as said:
        read_program(path)
    return str(said.value)


def same(_: str, data: bytes) -> bytes:
    return data


def test_no_pickle_of_a_program_is_run(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "ran")
    path = saved(tmp_path)
    rewritten(path, same, **{"data/constants/opaque_obj_0": pickle.dumps(trap)})
    assert "constants that are no tensors (opaque_obj_0)" in refusal(path)
    sink = io.BytesIO()
    torch.save({"w": trap}, sink)
    path = saved(tmp_path)
    rewritten(path, lambda name, data: sink.getvalue() if "sample_inputs" in name else data)
    assert "does not load" in refusal(path)
    path = saved(tmp_path)
    rewritten(
        path,
        lambda name, data: (
            data.replace(b'"use_pickle": false', b'"use_pickle": true')
            if name.endswith("weights_config.json")
            else data
        ),
    )
    assert "weights of a class of their own" in refusal(path)
    assert not (tmp_path / "ran").exists()


def test_the_sizes_of_a_program_are_arithmetic(tmp_path: Path) -> None:
    path = saved(tmp_path)
    inner = f"__import__('os').mkdir({str(tmp_path / 'ran')!r})"
    rewritten(
        path,
        lambda name, data: (
            data.replace(b'"expr_str": "', f'"expr_str": "{inner} or '.encode())
            if "models/" in name
            else data
        ),
    )
    assert "want arithmetic of sizes" in refusal(path)
    assert not (tmp_path / "ran").exists()
    for text in ("Symbol('s0', integer=True) + 1", "Max(2, s3)", "FloorDiv(s0, 2)*3 - Integer(1)"):
        assert is_arithmetic(text), text
    for text in (
        "eval('1')", "Symbol('__x')()", "().__class__", "[x for x in y]", "open('f')",
        "sympify('a b')", "(lambda: 0)()", "s0 if s1 else s2", "Symbol('a-b')", "1 +", "f'{x}'",
    ):  # fmt: skip
        assert not is_arithmetic(text), text


def test_what_is_no_program_is_refused_with_the_mend(tmp_path: Path) -> None:
    model = Mixed()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    torch.save(model.state_dict(), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    (tmp_path / "a.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for name in ("weights.pth", "old.ckpt", "a.safetensors"):
        said = refusal(tmp_path / name)
        assert "weights without a model" in said
        assert "model.load_state_dict(" in said
    whole = saved(tmp_path).read_bytes()
    for name, data in (("cut.pt2", whole[: len(whole) // 2]), ("text.pt2", b"hello" * 99)):
        (tmp_path / name).write_bytes(data)
        assert "a file that torch did not save" in refusal(tmp_path / name)
    assert "no file" in refusal(tmp_path / "none.pt2")
    rewritten(tmp_path / "model.pt2", lambda name, data: None if "weights" in name else data)
    assert "does not load" in refusal(tmp_path / "model.pt2")


@pytest.mark.slow
def test_a_program_of_one_batch_size_is_refused_with_the_call_that_mends_it(
    tmp_path: Path,
) -> None:
    torch.export.save(exported(Mixed(), batch=2), tmp_path / "model.pt2")
    done = asked(tmp_path, "model.pt2", *GIVEN)
    assert isinstance(done.exception, st.GateError)
    said = str(done.exception)
    assert "the program takes 'x' of 2 alone for the batch" in said
    assert "dynamic_shapes=" in said
    assert not (tmp_path / "bundles").exists()


@pytest.mark.slow
def test_a_script_that_reads_a_size_is_refused(tmp_path: Path) -> None:
    torch.jit.script(Sized()).save(str(tmp_path / "model.ts"))
    done = asked(tmp_path, "model.ts", *GIVEN)
    assert isinstance(done.exception, st.GateError), done.output
    assert not (tmp_path / "bundles").exists()


def test_options_of_other_models_and_missing_ones_are_told(tmp_path: Path) -> None:
    done = asked(tmp_path, "model.pt2", *GIVEN, "--rename", "a=x")
    assert "--rename: got a program of torch's" in str(done.exception)
    done = asked(tmp_path, "model.pt2", "--golden", "golden.jsonl")
    assert done.exit_code == 2
    assert "--contract FILE.py:ROWS is missing" in done.output
