"""What an address stood for the last time, in the user's cache: for when its store is down."""

from __future__ import annotations

import json
import logging
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from seatrial_contracts.canonical import readable_json, sha256
from seatrial_contracts.manifest import check_name, check_version
from seatrial_contracts.plain_file import NotPlainFile
from seatrial_serve.process.private_cache import (
    NotPrivate,
    cache_folder,
    read_private,
    write_private,
)

log = logging.getLogger("seatrial.stores")
FOLDER = "addresses"
MAX_BYTES = 8 * 2**20


class RememberedBundle(BaseModel):
    """A bundle that an address held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(check_name)]
    version: Annotated[str, AfterValidator(check_version)]
    key: str = Field(pattern=r"^[0-9a-f]{64}(-[0-9a-f]{16})?$")
    """See `Offer.key`."""


class Remembered(BaseModel):
    """What an address held, without credentials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    single: bool
    """Does the address name one bundle, and not a folder of them?"""
    mark: str | None
    """What the store gave for it: see `mark_of`."""
    bundles: Annotated[tuple[RememberedBundle, ...], Field(min_length=1)]
    selections: dict[str, dict[str, str]]
    """Model -> file -> its text."""


def remember(address: str, what: Remembered) -> None:
    """Keep it for the next start. Where it cannot be kept, the log says so."""
    data = readable_json(json.loads(what.model_dump_json()))
    if recall(address) == what:
        return
    try:
        write_private(cache_folder(FOLDER), file_of(address), data)
    except NotPrivate as error:
        log.warning("what %s holds is not remembered: %s", address, error)
    except OSError as error:
        log.warning("what %s holds is not remembered: %s", address, error.strerror)


def recall(address: str) -> Remembered | None:
    """What an address held the last time; None if nothing is remembered that can be trusted."""
    try:
        data = read_private(cache_folder(FOLDER), file_of(address), MAX_BYTES)
        found = Remembered.model_validate_json(data)
    except NotPrivate as error:
        log.warning("what the cache remembers of %s is not trusted: %s", address, error)
        return None
    except (OSError, NotPlainFile, ValidationError):
        return None
    return found if found.address == address else None


def file_of(address: str) -> str:
    """The file about an address."""
    return f"{sha256(address.encode())}.json"
