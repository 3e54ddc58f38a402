"""An input that is an encoded file, in base64 or as it is, and how large it may be."""

from __future__ import annotations

import binascii
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import SHORT_BYTES, Column, JsonSchema, Kind, refuse


class FileKind(Kind):
    """The base of kinds whose values are files that the host stage decodes.

    Subclasses add their formats and `media_types`.
    """

    staged: ClassVar[bool] = True
    too_large: ClassVar[str]
    """The code of a file of more than `max_bytes`, or of none."""
    max_bytes: Annotated[int, Field(ge=1, le=2**30)] = 10 * 2**20

    @property
    @abstractmethod
    def media_types(self) -> tuple[str, ...]:
        """Content types of a raw request body."""

    @abstractmethod
    def told(self, data: bytes) -> str | None:
        """What a file holds, in a line for people; None where it cannot be read."""

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation is not bytes:
            raise DeclarationError(f"st.{type(self).__name__}", str(annotation), "bytes")
        return self.completed(nullable=nullable)

    def encodes_inline(self, value: Any) -> bool:
        return False

    @property
    def most_bytes(self) -> int:
        return self.max_bytes * 4 // 3 + SHORT_BYTES

    def annotation(self) -> Any:
        return Annotated[Any, PlainValidator(self._file)]

    def _file(self, value: Any) -> bytes:
        """Take encoded bytes from bytes, or from strict base64.

        The size is checked before anything is decoded.
        """
        if isinstance(value, str):
            if len(value) // 4 * 3 > self.max_bytes + 2:
                refuse(
                    self.too_large,
                    f"a file of about {len(value) // 4 * 3} bytes",
                    f"at most {self.max_bytes} bytes",
                )
            try:
                if value.endswith("==="):  # which Python's strict mode lets pass
                    raise ValueError
                value = binascii.a2b_base64(value, strict_mode=True)
            except (binascii.Error, ValueError):
                refuse(
                    "E_BASE64",
                    "text that is not plain base64",
                    "a file in base64 (RFC 4648, with padding, no line breaks)",
                )
        if not isinstance(value, bytes):
            refuse("E_TYPE", "neither a string nor a file", self.want())
        if not 0 < len(value) <= self.max_bytes:
            refuse(self.too_large, f"a file of {len(value)} bytes", f"1 to {self.max_bytes} bytes")
        return value

    @property
    def datatype(self) -> str:
        return "BYTES"

    def column(self, values: Column) -> Column:
        return [self._file_at(value, place) for place, value in enumerate(values)]

    def _file_at(self, value: Any, place: int) -> bytes:
        try:
            return self._file(value)
        except PydanticCustomError as error:
            found: dict[str, str] = dict(error.context or {})
            raise Refusal(found["code"], f"row {place}", found["got"], found["want"]) from None

    def wire(self, value: Any) -> Any:
        """A file's bytes, from base64 or as they are."""
        return binascii.a2b_base64(value, strict_mode=True) if isinstance(value, str) else value

    def json_schema(self) -> JsonSchema:
        return {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": self.media_types[0],
            "x-media-types": list(self.media_types),
            "maxLength": (self.max_bytes + 2) // 3 * 4,
        }


def base64_text(data: bytes) -> str:
    """Standard base64 as JSON carries it."""
    return binascii.b2a_base64(data, newline=False).decode()
