"""What an operator selects of a model, in small JSON files beside its versions.

The files are `labels.json` and `variants.json`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import VERSION
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

LABELS, VARIANTS, DEFAULT = "labels.json", "variants.json", "default"
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
VARIANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
DEFAULT_OR_VERSION = re.compile(rf"{DEFAULT}|{VERSION.pattern}")
WANTED = {
    LABELS: 'an object of labels and versions: {"stable": "1.2.0"}',
    VARIANTS: 'an object of versions and variants: {"default": "int8", "1.0.0": "fp32"}',
}
MAX_BYTES = 64 * 1024
"""Some thousand entries: far more than a model has versions that anybody keeps."""


@dataclass(frozen=True)
class Selection:
    """The labels of a model's versions, and the variant that each version is served as."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Label -> version."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Version, or "default" -> variant."""

    def variant(self, version: str) -> str | None:
        """Return the version's own entry, else that of "default", else None.

        None is the version's first variant.
        """
        return self.variants.get(version, self.variants.get(DEFAULT))


def read_selection(folder: Path) -> Selection:
    """Read both files beside a model's versions; a file that is missing selects nothing.

    `labels.json`: {"stable": "1.2.0", "canary": "1.3.0"}. `variants.json`: {"default": "int8",
    "1.0.0": "fp32"}, all versions as int8, 1.0.0 aside; a version without the variant named is not
    ready. Links are followed, since Kubernetes mounts ConfigMaps as links. Raises
    `DeclarationError` where one is no plain file, a link to nothing, larger than 64 KiB, or holds
    something else.
    """
    read = {file: _read(folder, file) for file in (LABELS, VARIANTS)}
    return parse_selection(
        folder.name, {file: data for file, data in read.items() if data is not None}
    )


def parse_selection(model: str, files: Mapping[str, bytes]) -> Selection:
    """The selection of a model from the bytes of its files, of those that are there.

    Raises `DeclarationError` where one holds something else.
    """
    labels = _parsed(model, LABELS, files, LABEL, VERSION)
    return Selection(labels, _parsed(model, VARIANTS, files, DEFAULT_OR_VERSION, VARIANT))


def _read(folder: Path, file: str) -> bytes | None:
    """The bytes of a file; None where there is no such file."""
    where, want = f"{file} of '{folder.name}'", WANTED[file]
    try:
        return read_plain_file(folder / file, MAX_BYTES, follow_links=True)
    except FileNotFoundError:
        if os.path.lexists(folder / file):
            raise DeclarationError(where, "a link to nothing", want) from None
        return None
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), want) from None
    except OSError as error:
        raise DeclarationError(where, error.strerror or "an unreadable file", want) from None


def _parsed(
    model: str,
    file: str,
    files: Mapping[str, bytes],
    keys: re.Pattern[str],
    values: re.Pattern[str],
) -> dict[str, str]:
    """An object of strings; empty where there is no such file."""
    if file not in files:
        return {}
    where, want = f"{file} of '{model}'", WANTED[file]
    try:
        found = json.loads(files[file])
    except (ValueError, RecursionError):
        raise DeclarationError(where, "no JSON, or half of it", want) from None
    if not isinstance(found, dict) or not all(
        keys.fullmatch(key) and isinstance(value, str) and values.fullmatch(value)
        for key, value in found.items()
    ):
        raise DeclarationError(where, "something else", want)
    return found
