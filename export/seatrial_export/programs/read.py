"""Reading a program from a file: `.pt2` of torch.export, TorchScript; no pickle of either is run.

A `.pt2` is an archive of JSON and raw weights. What torch reads by unpickling there is refused, and
so are expressions of sizes that are more than arithmetic: torch reads them by sympy, which would
run them.
"""

from __future__ import annotations

import ast
import json
import os
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from seatrial_contracts.errors import DeclarationError
from seatrial_export.graphs.exporter_messages import first_lines, quiet
from seatrial_export.programs.modules import Program, from_program

WEIGHTS = ".safetensors"
"""The suffix of files of weights alone."""
MEND_WEIGHTS = (
    "write a pipeline file that makes the module and loads them: "
    "model.load_state_dict(torch.load(PATH, weights_only=True)), or safetensors' load_file"
)
MEND_MODULE = (
    "if you trust the file, write a pipeline file beside the code of the module's class, with "
    "model=torch.load(PATH, weights_only=False)"
)
MEND_PLAIN = "export the program with plain tensors as its weights and constants"
OF_WEIGHTS = frozenset(
    {
        "collections.OrderedDict", "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter", "torch._tensor._rebuild_from_type_v2",
    }
)  # fmt: skip
"""The classes and makers that weights of torch.save begin with."""
OBJECTS = ("custom_obj_", "opaque_obj_")
"""What constants are called that are no tensors, and are read by unpickling."""
ARITHMETIC = frozenset({
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs",
    "floor", "ceiling", "FloorDiv", "ModularIndexing", "PythonMod", "CleanDiv", "CeilDiv",
    "CeilToInt", "FloorToInt", "TruncToInt", "RoundToInt", "IntTrueDiv", "FloatTrueDiv",
    "PowByNatural", "FloatPow", "ToFloat", "TruncToFloat", "Where", "Identity", "Equality",
    "Unequality", "StrictGreaterThan", "GreaterThan", "StrictLessThan", "LessThan", "And", "Or",
    "Not",
})  # fmt: skip
"""What the expressions of sizes are made of."""
PARTS = (ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.Load, ast.UnaryOp,
         ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Tuple)  # fmt: skip


def read_program(path: Path) -> Program:
    """The program in a file, as a module.

    Raises `DeclarationError` for a file that holds no program, or one that unpickling would read.
    """
    where = f"model '{path}'"
    if path.suffix == WEIGHTS:
        raise DeclarationError(where, "weights without a model", "a model", MEND_WEIGHTS)
    if not path.is_file():
        raise DeclarationError(where, "no file", "an existing file")
    try:
        with zipfile.ZipFile(path) as archive:
            kind = kind_of(archive)
            if kind == "program":
                check_program(archive, where)
    except (zipfile.BadZipFile, OSError, ValueError):
        kind = "" if path.suffix == ".pt2" else "checkpoint"
    if kind == "module":
        got = "a whole module of torch.save, in a pickle, which is a program"
        raise DeclarationError(where, got, "a .pt2 or TorchScript file", MEND_MODULE)
    if kind == "checkpoint":
        got = "a checkpoint: weights without a model, in a pickle"
        raise DeclarationError(where, got, "a model", MEND_WEIGHTS)
    if not kind:
        raise DeclarationError(where, "a file that torch did not save", "a whole .pt2 file")
    load: Any = torch.export.load if kind == "program" else torch.jit.load
    options: dict[str, Any] = {} if kind == "program" else {"map_location": "cpu"}
    try:
        # torch falls back to unpickling else.
        with quiet(), mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
            made: Program = from_program(load(path, **options), where)
    except DeclarationError:
        raise
    except Exception as error:  # torch raises many kinds
        got = f"a file that torch {torch.__version__} does not load: {first_lines(error, 1)}"
        raise DeclarationError(where, got, "a file that this torch saved") from error
    return made


def kind_of(archive: zipfile.ZipFile) -> str:
    """`program`, `torchscript`, `module`, `checkpoint`, or nothing."""
    names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return "program"
    if any(name.startswith("code/") for name in inner) and "data.pkl" in inner:
        return "torchscript"
    pickled = next((name for name in names if name.partition("/")[2] == "data.pkl"), None)
    if pickled is None:
        return ""
    return "module" if is_module(archive.read(pickled)) else "checkpoint"


def is_module(pickled: bytes) -> bool:
    """Is the outermost object of a pickle of a class that is no container of weights?

    The pickle is read, not run. An object begins with its class.
    """
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "GLOBAL":
                return str(argument).replace(" ", ".") not in OF_WEIGHTS
            if operation.name != "PROTO":
                return False
    except (ValueError, IndexError):
        pass
    return False


def check_program(archive: zipfile.ZipFile, where: str) -> None:
    """Raise `DeclarationError` for what would be unpickled or run. Raises `ValueError`."""
    names = archive.namelist()
    odd = [name for name in names if Path(name).name.startswith(OBJECTS)]
    if odd:
        got = f"constants that are no tensors ({Path(odd[0]).name}), which a pickle holds"
        raise DeclarationError(where, got, "tensors alone", MEND_PLAIN)
    if any("/data/aotinductor/" in name for name in names):
        got = "a compiled library of AOTInductor's"
        raise DeclarationError(where, got, "a program that torch.export.save wrote")
    for name in names:
        if not name.endswith(".json"):
            continue
        for key, value in entries(json.loads(archive.read(name))):
            if key == "use_pickle" and value:
                got = "weights of a class of their own, which a pickle holds"
                raise DeclarationError(where, got, "plain tensors", MEND_PLAIN)
            if key == "expr_str" and not is_arithmetic(str(value)):
                raise DeclarationError(where, f"the size {value!r}"[:200], "arithmetic of sizes")


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every entry of the objects in a JSON value."""
    open_values = [value]
    while open_values:
        each = open_values.pop()
        if isinstance(each, dict):
            yield from each.items()
            open_values += each.values()
        elif isinstance(each, list):
            open_values += each


def is_arithmetic(text: str) -> bool:
    """Is an expression made of numbers, names and arithmetic alone?"""
    try:
        parts = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
    return all(
        isinstance(part, PARTS)
        and not (isinstance(part, ast.Call) and not isinstance(part.func, ast.Name))
        and not (isinstance(part, ast.Name) and id(part) in called and part.id not in ARITHMETIC)
        and not (isinstance(part, ast.Name) and "__" in part.id)
        and not (
            isinstance(part, ast.Constant)
            and isinstance(part.value, (str, bytes))
            and not (isinstance(part.value, str) and part.value.isidentifier())
        )
        for part in parts
    )
