"""A time zone by name, with its rules: what a contract seals, so that every server reads alike."""

from __future__ import annotations

import base64
import io
import zoneinfo
from datetime import datetime, timedelta
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import DeclarationError


class TimeZone(BaseModel):
    """A zone of the IANA time zone database, and its rules as the exporting machine has them.

    `rules` is the zone's TZif file (RFC 9636) in base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    name: Annotated[str, Field(max_length=64)]
    rules: Annotated[str, Field(max_length=2**16)]

    @field_validator("rules")
    @classmethod
    def _readable(cls, rules: str) -> str:
        try:
            zoneinfo.ZoneInfo.from_file(io.BytesIO(base64.b64decode(rules, validate=True)))
        except Exception:  # a reader of files raises all sorts: the bytes are at fault
            raise ValueError("the rules of a time zone: a TZif file in base64") from None
        return rules

    @classmethod
    def named(cls, name: str) -> Self:
        """The zone of this name. Raises `DeclarationError` where this machine has none such."""
        try:
            zoneinfo.ZoneInfo(name)
            return cls(name=name, rules=base64.b64encode(_rules(name)).decode())
        except (LookupError, ValueError, OSError):
            raise DeclarationError(
                "st.DateTime",
                f"zone={name!r}"[:80],
                "a name of the IANA time zone database, as Europe/Berlin",
                "if this machine has no database: pip install tzdata",
            ) from None

    @cached_property
    def info(self) -> zoneinfo.ZoneInfo:
        """The zone for Python's own datetimes."""
        return zoneinfo.ZoneInfo.from_file(io.BytesIO(base64.b64decode(self.rules)), key=self.name)

    def offsets(self, local: datetime) -> tuple[timedelta, timedelta]:
        """The offset of a local time before and after a change of clocks at it (PEP 495).

        Both are equal where there is no change. The first is larger where the local time stands
        twice, the second where no clock shows it.
        """
        before, after = (
            local.replace(tzinfo=self.info, fold=fold).utcoffset() or timedelta() for fold in (0, 1)
        )
        return before, after

    def __str__(self) -> str:
        return f"{self.name} (rules {sha256(self.rules.encode())[:8]})"


def zone_of(value: Any) -> Any:
    """A zone from its name, or from its JSON."""
    if isinstance(value, str):
        return TimeZone.named(value)
    return TimeZone.model_validate(value) if isinstance(value, dict) else value


def _rules(name: str) -> bytes:
    """The zone's file, from where `zoneinfo` looks: the system first, then the package tzdata."""
    for folder in zoneinfo.TZPATH:
        file = Path(folder, name)
        if file.is_file():
            return file.read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
