"""Finding a pipeline in a user's file: `path/to/file.py:name`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from seatrial_contracts.errors import DeclarationError, SeatrialError
from seatrial_export.pipeline import Pipeline

WANT = "a Pipeline, or a function without arguments that returns one"


def load_pipeline(target: str) -> Pipeline:
    """The `Pipeline` at `file.py:name`, or what a function of that name returns. The file runs as it would when imported.

    Raises `DeclarationError` where there is no such file or name, where it is no pipeline, and where the file itself raises.
    """
    file, _, name = target.rpartition(":")
    path = Path(file)
    if not file or not name or path.suffix != ".py":
        raise DeclarationError(f"pipeline '{target}'", "no file and name", "path/to/file.py:name")
    if not path.is_file():
        raise DeclarationError(f"pipeline '{target}'", f"no file '{file}'", "an existing file")
    value = getattr(_import(path), name, None)
    if value is None:
        raise DeclarationError(f"pipeline '{target}'", f"no '{name}' in the file", WANT)
    made = value if isinstance(value, Pipeline) else _call(value, path) if callable(value) else value
    if not isinstance(made, Pipeline):
        raise DeclarationError(f"pipeline '{target}'", f"a value of type {type(made).__name__}", WANT)
    return made


def _import(path: Path) -> ModuleType:
    """Import a file by its path; its folder is importable from meanwhile, as with `python file.py`."""
    name = f"seatrial_user_{path.resolve().parent.name}_{path.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"pipeline file '{path}'", "no Python module", "a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Pydantic and dataclasses look a class's module up by its name
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except SeatrialError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise _raised(error, path) from error
    finally:
        sys.path.remove(folder)
    return module


def _call(function: object, path: Path) -> object:
    try:
        return function()  # type: ignore[operator]
    except SeatrialError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise _raised(error, path) from error


def _raised(error: Exception, path: Path) -> DeclarationError:
    """What a user's file raised, with the line of that file it came from."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"pipeline file '{path}'" + (f", line {line}" if line else "")
    return DeclarationError(
        where, f"{type(error).__name__}: {error}", "a file that runs", "--debug shows the traceback"
    )
