"""`import seatrial as st`: what it loads, and what `help(st)` shows."""

from __future__ import annotations

import importlib
import json
import pydoc
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

import seatrial as st
from seatrial import HOMES

HEAVY = ("torch", "onnxruntime", "pandas", "polars", "numpy", "pydantic", "httpx", "fastapi")
WITHOUT = """
import importlib.util, pydoc, sys
gone = sys.argv[1].split(",")
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in gone else find(name, *rest)
for name in gone:
    sys.modules[name] = None
import seatrial as st
print(pydoc.plain(pydoc.render_doc(st)))
"""


def in_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_nothing_heavy() -> None:
    code = "import json, sys, seatrial; print(json.dumps([*sys.modules]))"
    assert not {*HEAVY} & {*json.loads(in_python(code))}


def test_every_name_has_one_home_and_is_listed() -> None:
    named = [name for names in HOMES.values() for name in names]
    assert sorted(named) == st.__all__ == sorted({*named})
    assert {*re.findall(r"\w+", st.__doc__ or "")} >= {*named}
    for home, names in HOMES.items():
        for name in names:
            assert getattr(st, name) is getattr(importlib.import_module(home), name)


@pytest.mark.slow
def test_help_lists_every_name_with_its_docstring() -> None:
    shown = pydoc.plain(pydoc.render_doc(st))
    for name in st.__all__:
        assert re.search(rf"^    (?:class )?{name}\b", shown, re.MULTILINE), name
        assert (getattr(st, name).__doc__ or "").strip(), name


@pytest.mark.slow
def test_help_works_where_extras_are_missing_and_names_what_they_would_bring() -> None:
    shown = in_python(WITHOUT, "torch,onnx,onnxruntime,httpx,fastapi,transformers")
    assert "class Row" in shown
    assert "class Pipeline" not in shown
    assert "Seal: export" in shown


def test_the_version_is_that_of_the_distribution() -> None:
    assert st.__version__ == version("seatrial")
    with pytest.raises(AttributeError, match="seatrial has no 'nosuch'"):
        _ = st.nosuch
