"""What the exporters say: hushed while they work, and cut to what tells where they fail."""

from __future__ import annotations

import contextlib
import functools
import io
import linecache
import logging
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import seatrial_contracts
import seatrial_export

OUR_FOLDERS = tuple(
    Path(package.__path__[0]).resolve() for package in (seatrial_contracts, seatrial_export)
)
"""Where seatrial's own code lies; the name of a folder says nothing, a user's may begin alike."""
STANDARD_LIBRARY = sysconfig.get_path("stdlib")
NOISY = (
    "torch.onnx",
    "torch.export",
    "torch._dynamo",
    "torch.fx",
    "onnxscript",
    "onnx_ir",
    "torch._export",
    "torch.utils._sympy",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' own progress, hints and deprecations.

    The lint finds the faults that matter in the graph.
    """
    levels = {name: logging.getLogger(name).level for name in NOISY}
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


ANSI = re.compile(r"\x1b\[[0-9;]*m")


def first_lines(error: BaseException, most: int = 4) -> str:
    """The telling lines of a library's message.

    The folders of this machine are cut off its file names.
    """
    said = ANSI.sub("", str(error))
    summary = said.rpartition("## Exception summary")[2]
    lines = [line.strip() for line in summary.splitlines() if line.strip()]
    lines = (
        [line for line in lines if "translating node" in line] + lines if summary != said else lines
    )
    place = user_line(error)
    text = " ".join(lines[:most])[:500] + (f" (at {place})" if place else "")
    return re.sub(r"(?:/[^\s\"':,]+)+/([^\s/\"':,]+)", r"\1", text) or type(error).__name__


def raised_by_us(error: BaseException) -> bool:
    """Whether the innermost frame lies in seatrial.

    If it does, the error is a bug of seatrial, and no finding about the model.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and is_ours(trace.tb_frame.f_code.co_filename)


def is_ours(file: str) -> bool:
    """Is this a source file of seatrial?"""
    return any(Path(file).resolve().is_relative_to(folder) for folder in OUR_FOLDERS)


@functools.cache
def is_users(file: str) -> bool:
    """Is this a source file outside seatrial, installed packages and Python's own library?"""
    if file.startswith("<") or {"site-packages", "dist-packages"} & set(Path(file).parts):
        return False
    return not Path(file).is_relative_to(STANDARD_LIBRARY) and not is_ours(file)


def user_line(error: BaseException) -> str | None:
    """File and line of the user's code, the innermost frame outside torch, without its folder."""
    found = _user_place(error)
    return f"{Path(found[0]).name}:{found[1]}" if found else None


def user_source(error: BaseException) -> str:
    """The text of that line; empty where it is not known."""
    found = _user_place(error)
    return linecache.getline(*found) if found else ""


def _user_place(error: BaseException) -> tuple[str, int] | None:
    found = None
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if is_users(name):
            found = name, trace.tb_lineno
        trace = trace.tb_next
    return found
