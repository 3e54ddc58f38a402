"""Objects as files of YAML, each with the lines that say where its figures come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from seatrial_contracts.atomic_file import write_whole

WIDTH = 100


@dataclass(frozen=True)
class File:
    """Objects in one file, or a text that stands in for them, and what is said of it."""

    objects: tuple[Mapping[str, Any], ...]
    said: tuple[str, ...] = ()
    template: str = ""
    """What is written if there are no objects."""
    commented: bool = True
    """JSON has no comments."""

    @property
    def body(self) -> str:
        """What it holds."""
        return self.template or "---\n".join(
            yaml.dump(each, Dumper=Plain, sort_keys=False, width=1000, allow_unicode=True)
            for each in self.objects
        )

    def text(self, written_by: str) -> str:
        """The file's text."""
        lines = [
            line
            for each in (written_by, *self.said)
            for line in wrap(each, WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False)
        ]
        return "".join(f"# {line}\n" for line in lines if self.commented) + self.body


class Plain(yaml.SafeDumper):
    """Writes an object that stands in two places twice, without YAML's anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (yaml's signature)
        """No anchors."""
        return True


def write_files(out: Path, files: Mapping[str, File], written_by: str) -> list[Path]:
    """Write files by their names below `out`; each appears whole. Raises `OSError`."""
    written = []
    for name, file in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written.append(write_whole(path, file.text(written_by).encode()))
    return written
