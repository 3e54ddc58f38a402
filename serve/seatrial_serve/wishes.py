"""What an operator wants of a model, in small JSON files beside its versions: `labels.json` and `variants.json`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import VERSION

LABELS, VARIANTS, DEFAULT = "labels.json", "variants.json", "default"
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
VARIANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
DEFAULT_OR_VERSION = re.compile(rf"{DEFAULT}|{VERSION.pattern}")


def read_labels(folder: Path) -> dict[str, str]:
    """Label -> version: {"stable": "1.2.0", "canary": "1.3.0"}. Raises `DeclarationError`."""
    return _read(folder, LABELS, LABEL, VERSION, 'an object of labels and versions: {"stable": "1.2.0"}')


def wanted_variant(folder: Path, version: str) -> str | None:
    """The variant that a version is to be served as: its own entry, else that of "default", else None, which is its first. Raises `DeclarationError`.

    {"default": "int8", "1.0.0": "fp32"}: all versions as int8, 1.0.0 aside. A version without the variant named is not ready.
    """
    want = 'an object of versions and variants: {"default": "int8", "1.0.0": "fp32"}'
    wanted = _read(folder, VARIANTS, DEFAULT_OR_VERSION, VARIANT, want)
    return wanted.get(version, wanted.get(DEFAULT))


def _read(folder: Path, file: str, keys: re.Pattern[str], values: re.Pattern[str], want: str) -> dict[str, str]:
    """An object of strings; empty where there is no such file."""
    try:
        found = json.loads((folder / file).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(
        keys.fullmatch(key) and isinstance(value, str) and values.fullmatch(value) for key, value in found.items()
    ):
        raise DeclarationError(f"{file.removesuffix('.json')} of '{folder.name}'", "something else", want)
    return found
