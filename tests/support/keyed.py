"""Files of keys for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seatrial_serve.access.caller import Scope
from seatrial_serve.access.keys_file import new_entry


def key_of(file: Path, name: str, *scopes: str, models: Iterable[str] = (), **more: object) -> str:
    """Add a key to a file and return it."""
    return new_entry(file, name, scopes, tuple(models), **more)[1]  # type: ignore[arg-type]


def key_of_each_scope(file: Path) -> dict[str, str]:
    """Scope -> a key that has it alone."""
    return {str(scope): key_of(file, f"only {scope}", scope) for scope in Scope}


def bearer(key: str) -> dict[str, str]:
    """The header that names a key."""
    return {"Authorization": f"Bearer {key}"}
