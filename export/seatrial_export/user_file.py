"""Files of the user's, imported by path: `path/to/file.py:name`."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic.errors import PydanticUserError

from seatrial_contracts.errors import DeclarationError, SeatrialError
from seatrial_export.declaration import ModelDeclaration

UNEXPECTED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
LACKING = re.compile(r"__init__\(\) missing .* keyword-only argument[^:]*: '(\w+)'")


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
        where = f"{noun} '{target}'"
        if not file or not name or path.suffix != ".py":
            mend = f"{target}:{noun}" if Path(target).is_file() else None
            raise DeclarationError(where, "no file and name", "path/to/file.py:name", mend)
        if not path.is_file():
            names = [each.name for each in path.parent.glob("*.py")]
            near = get_close_matches(path.name, names, n=1)
            mend = f"did you mean {path.with_name(near[0])}:{name}?" if near else None
            raise DeclarationError(where, f"no file '{file}'", "an existing file", mend)
        module = self.module(path, noun)
        value = getattr(module, name, None)
        if value is None:
            found = [
                key for key, each in vars(module).items() if type(each).__name__.lower() == noun
            ]
            mend = f"{file}:{found[0]}" if found else None
            raise DeclarationError(where, f"no '{name}' in the file", want, mend)
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
    mend = mend_of_call(error) or "--debug shows the traceback"
    return DeclarationError(where, f"{type(error).__name__}: {error}", "a file that runs", mend)


def mend_of_call(error: Exception) -> str:
    """What mends a declaration that misspells an argument, or lacks one; empty for other errors."""
    odd = UNEXPECTED.search(str(error))
    if odd is not None:
        classes = {each.__name__: each for each in derived(ModelDeclaration)}
        known = inspect.signature(classes.get(odd[1], ModelDeclaration)).parameters
        near = get_close_matches(odd[2], known, n=1)
        return f"did you mean {near[0]}=?" if near else f"one of {', '.join(known)}"
    lacking = LACKING.search(str(error))
    return f"give it {lacking[1]}=..." if lacking is not None else ""


def derived(cls: type[Any]) -> Iterator[type[Any]]:
    """The classes that are derived from this one, at any remove."""
    below: list[type[Any]] = cls.__subclasses__()
    for each in below:
        yield each
        yield from derived(each)
