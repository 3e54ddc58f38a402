"""A key in a file: on a command line every user of the machine could read it."""

from __future__ import annotations

from pathlib import Path

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

MOST_BYTES = 64 * 1024


def read_key(path: Path | None) -> str | None:
    """The first line of a file; None without one. Raises `DeclarationError`."""
    if path is None:
        return None
    where, want = f"--key-file '{path}'", "a file whose first line is a key"
    try:
        key = read_plain_file(path, MOST_BYTES, follow_links=True).decode("ascii")
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), want) from None
    except OSError as error:
        raise DeclarationError(where, error.strerror or "an error", want) from None
    except UnicodeDecodeError:
        raise DeclarationError(where, "other characters", want) from None
    key = key.partition("\n")[0].strip()
    if not key:
        raise DeclarationError(where, "an empty line", want)
    return key
