"""Files of the user's, imported by path: `path/to/file.py:name`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic.errors import PydanticUserError

from seatrial_contracts.errors import DeclarationError, SeatrialError


class UserFiles:
    """The user's files, each imported once, run as with `import`.

    Raises `DeclarationError` for files that cannot be used.
    """

    def __init__(self) -> None:
        self._modules: dict[Path, ModuleType] = {}

    def value(self, target: str, noun: str, want: str) -> Any:
        """The value at `file.py:name`.

        `noun` is its name in messages, `want` a description of the wanted value.
        """
        file, _, name = target.rpartition(":")
        path = Path(file)
        if not file or not name or path.suffix != ".py":
            raise DeclarationError(f"{noun} '{target}'", "no file and name", "path/to/file.py:name")
        if not path.is_file():
            raise DeclarationError(f"{noun} '{target}'", f"no file '{file}'", "an existing file")
        value = getattr(self.module(path, noun), name, None)
        if value is None:
            raise DeclarationError(f"{noun} '{target}'", f"no '{name}' in the file", want)
        return value

    def module(self, path: Path, noun: str) -> ModuleType:
        """The file as a module."""
        place = path.resolve()
        if place not in self._modules:
            self._modules[place] = _import(path, noun)
        return self._modules[place]


def call(function: Callable[..., Any], path: Path, noun: str, *arguments: Any) -> Any:
    """Call a user's function.

    Raises `DeclarationError` that names the line where the function raised.
    """
    try:
        return function(*arguments)
    except SeatrialError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise _raised(error, path, noun) from error


def _import(path: Path, noun: str) -> ModuleType:
    """Import a file by its path.

    The file's folder is importable from meanwhile, as with `python file.py`.
    """
    name = f"seatrial_user_{path.resolve().parent.name}_{path.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{noun} file '{path}'", "no Python module", "a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Pydantic and dataclasses look a class's module up by its name
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except SeatrialError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise _raised(error, path, noun) from error
    finally:
        sys.path.remove(folder)
    return module


def _raised(error: Exception, path: Path, noun: str) -> DeclarationError:
    """What a user's file raised, with the line of that file it came from."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"{noun} file '{path}'" + (f", line {line}" if line else "")
    # A row class that is none: without the address of Pydantic's page.
    if isinstance(error, PydanticUserError):
        return DeclarationError(where, error.message, "fields as they stand in a class: x: float")
    return DeclarationError(
        where, f"{type(error).__name__}: {error}", "a file that runs", "--debug shows the traceback"
    )
