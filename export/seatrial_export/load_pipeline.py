"""Loading a pipeline from a user's file: `path/to/file.py:attribute`."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from seatrial_contracts.errors import DeclarationError, SeatrialError

from seatrial_export.pipeline import Pipeline

WANT = "path/to/file.py:attribute, an st.Pipeline or a function that returns one"


def load_pipeline(target: str) -> Pipeline:
    """The pipeline at `path/to/file.py:attribute`: an `st.Pipeline`, or a function without arguments that returns one.

    The file runs as Python runs a script: what lies beside it can be imported. Raises `DeclarationError` where there is no
    such file or attribute, where it is something else, and where the file or the function raised.
    """
    path, name = split_target(target)
    found = vars(_run_file(path)).get(name)
    if found is None:
        raise DeclarationError(target, f"no '{name}' in {path.name}", WANT)
    if callable(found) and not isinstance(found, (Pipeline, type)):
        try:
            found = found()
        except SeatrialError:
            raise
        except Exception as error:
            raise _raised(error, path, f"{name}()") from error
    if not isinstance(found, Pipeline):
        raise DeclarationError(target, f"'{name}' is a {type(found).__name__}", WANT)
    return found


def split_target(target: str) -> tuple[Path, str]:
    """`path/to/file.py:attribute` -> the file and the attribute. Raises `DeclarationError`."""
    path, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        raise DeclarationError(f"'{target}'", "no attribute", WANT)
    file = Path(path)
    if not file.is_file():
        raise DeclarationError(f"'{target}'", "no such file", WANT)
    return file, name


def _run_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"'{path.name}'", "a file that is not Python", WANT)
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    # Classes look their module up by name (dataclasses, Pydantic), so it is known while it runs.
    before, sys.modules[path.stem] = sys.modules.get(path.stem), module
    try:
        spec.loader.exec_module(module)
    except SeatrialError:
        raise
    except Exception as error:
        raise _raised(error, path, path.name) from error
    finally:
        sys.path.remove(folder)
        if before is not None:
            sys.modules[path.stem] = before
    return module


def _raised(error: Exception, path: Path, what: str) -> DeclarationError:
    """The error with the innermost line of the user's file."""
    lines: list[Any] = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == path.name]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        place = f"{path.name}:{error.lineno}"
    else:
        place = f"{path.name}:{lines[-1].lineno}" if lines else path.name
    return DeclarationError(what, f"{type(error).__name__}: {error} at {place}"[:400], mend="run the file with Python to see all of it")
