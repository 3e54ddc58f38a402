"""Plain files alone are read, and never more of them than was allowed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe that nobody writes to": (os.mkfifo, "no plain file"),
    "a folder": (Path.mkdir, "no plain file"),
    "a link to a plain file": (lambda path: path.symlink_to(__file__), "a link"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "a link"),
    "a file of one byte too many": (
        lambda path: path.write_bytes(b"12345"),
        "5 bytes, more than the 4",
    ),
    "a file that claims a terabyte": (
        lambda path: os.truncate(path, 2**40) if path.touch() is None else 0,
        "more than the 4",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_no_plain_file_of_the_wanted_size_is_refused_without_waiting(
    case: str, tmp_path: Path
) -> None:
    make, text = ODD[case]
    make(tmp_path / "file")
    with pytest.raises(NotPlainFile, match=text) as refused:
        read_plain_file(tmp_path / "file", 4)
    assert str(tmp_path) not in str(refused.value)


def test_a_plain_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    assert read_plain_file(tmp_path / "file", 4) == b"1234"
    with pytest.raises(FileNotFoundError):
        read_plain_file(tmp_path / "none", 4)


def test_a_link_is_followed_where_links_are_wanted_and_what_it_leads_to_is_judged(
    tmp_path: Path,
) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "file").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("..data/file")  # as a ConfigMap is mounted
    assert read_plain_file(tmp_path / "link", 4, follow_links=True) == b"1234"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    with pytest.raises(NotPlainFile, match="no plain file"):
        read_plain_file(tmp_path / "to_pipe", 4, follow_links=True)
