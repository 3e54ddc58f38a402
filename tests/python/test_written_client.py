"""`seatrial client` writes a file that runs where there is httpx and nothing of ours."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from pydantic import TypeAdapter, ValidationError
from support.animals import ROWS

import seatrial as st
from seatrial.main import cli
from seatrial_client.described import Described
from seatrial_client.written import written_client

ASK = """
import asyncio, json, sys
import client

with client.Client(sys.argv[1], key="k") as asking:
    rows = json.loads(sys.argv[2])
    said = {"one": asking.predict(rows[0]), "many": asking.predict(rows * 5)}
    try:
        asking.predict({**rows[0], "island": "Atlantis"})
    except client.Refused as error:
        said["refused"] = [error.code, error.status, len(error.request_id)]

async def main():
    async with client.AsyncClient(sys.argv[1]) as asking:
        return await asking.predict(rows)

said["async"] = asyncio.run(main())
try:
    client.Client("http://127.0.0.1:9", timeout_s=0.3).predict(rows)
except client.Unavailable as error:
    said["gone"] = error.code
said["modules"] = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps(said))
"""


def needed_by(name: str) -> set[str]:
    """The distributions that one needs, and itself; extras aside."""
    wanted = {
        each.name
        for text in distribution(name).requires or ()
        for each in [Requirement(text)]
        if each.marker is None or each.marker.evaluate({"extra": ""})
    }
    return {name, *(each for one in wanted for each in needed_by(one))}


@pytest.fixture(scope="module")
def httpx_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has httpx, what httpx needs, and nothing else."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in needed_by("httpx"):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(distribution(name).locate_file(top).resolve())  # type: ignore[attr-defined]
    return home / "bin/python"


@pytest.fixture(scope="module")
def file(server: st.ThreadServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, as the command writes it."""
    out = tmp_path_factory.mktemp("written") / "deep" / "client.py"
    done = CliRunner().invoke(cli, ["client", server.url, "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


def test_the_file_asks_the_server_with_httpx_alone(
    file: Path, httpx_alone: Path, server: st.ThreadServer, animals: st.Bundle
) -> None:
    command = [str(httpx_alone), "-c", ASK, server.url, json.dumps(ROWS)]
    ran = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert not {"seatrial", "seatrial_client", "pydantic", "numpy", "orjson"} & {*said["modules"]}
    assert said["one"] == animals.predict(ROWS[0])
    assert said["many"] == animals.predict(ROWS) * 5
    assert said["async"] == animals.predict(ROWS)
    assert said["refused"] == ["E_CATEGORY", 400, 32]
    assert said["gone"] == "E_UNREACHABLE"


def imported(path: Path) -> ModuleType:
    """The file as a module, with the TypedDict that Pydantic reads before Python 3.12."""
    text = path.read_text("utf-8").replace(" TypedDict,", "")
    path = path.with_name("typed_client.py")
    path.write_text(
        text.replace("import httpx", "import httpx\nfrom typing_extensions import TypedDict", 1)
    )
    spec = importlib.util.spec_from_file_location("written_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["written_client"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def module(file: Path) -> Iterator[ModuleType]:
    yield imported(file)
    del sys.modules["written_client"]


def test_its_types_are_those_of_the_contract(module: ModuleType, animals: st.Bundle) -> None:
    row, answer = TypeAdapter(module.Row), TypeAdapter(module.Answer)
    for each in ROWS:
        assert row.validate_python(each, strict=True) == each
    for bad in ({"island": "Atlantis"}, {"year": "2001"}):
        with pytest.raises(ValidationError):
            row.validate_python({**ROWS[0], **bad}, strict=True)
    assert row.json_schema()["required"] == animals.contract.row_schema()["required"]
    found = animals.predict(ROWS[0])
    assert answer.validate_python(found, strict=True) == found


@pytest.mark.parametrize("place", [0, 3, 4, 14])
def test_a_refused_row_is_named_by_its_place_among_all(
    module: ModuleType, server: st.ThreadServer, place: int
) -> None:
    rows = [{**ROWS[0], "mass": 101} if n == place else ROWS[0] for n in range(15)]
    refused = pytest.raises(module.Refused, match=f"input 'mass', row {place}: got")
    with module.Client(server.url) as client, refused:
        client.predict(rows)


HARD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "class": {"type": "integer", "x-want": 'a "number"\nof\u202e two lines ' + "x" * 200},
        "pic": {"type": "string", "contentEncoding": "base64"},
        "words": {"type": "array", "items": {"type": "string", "enum": ['a"\\', "\u2028"]}},
        "deep": {"type": "object", "properties": {"a b": {"type": "number"}}, "required": []},
        "deeP": {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        "none": {"type": "object", "properties": {}, "required": []},
    },
    "required": ["class", "pic", "words", "deep", "deeP", "none"],
}


def test_names_that_python_does_not_have_and_words_of_any_kind_are_written(
    tmp_path: Path, server: st.ThreadServer
) -> None:
    with st.Client(server.url) as client:
        about: Described = client.describe()
    hard = replace(about, name='a"b', row_schema=HARD)
    (tmp_path / "client.py").write_text(written_client(hard), "utf-8")
    module = imported(tmp_path / "client.py")
    assert module.MODEL == 'a"b'
    row = {
        "class": 1, "pic": b"x", "words": ['a"\\', "\u2028"], "deep": {"a b": 1.5},
        "deeP": {"a": None}, "none": {},
    }  # fmt: skip
    assert TypeAdapter(module.Row).validate_python(row, strict=True) == row
    (body, first, count) = next(module._bodies([row]))
    assert (first, count) == (0, 1)
    assert json.loads(body)["instances"][0]["pic"] == "eA=="
    with pytest.raises(ValueError, match="JSON"):
        next(module._bodies([{**row, "deep": {"a b": float("nan")}}]))
