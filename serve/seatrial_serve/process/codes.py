"""Every stable code that an answer can carry: whose fault, its HTTP status, and its cause.

No other place defines them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from seatrial_contracts.errors import Refusal, SeatrialError, Unavailable


class Cause(StrEnum):
    """Why a request was refused, in a few words: the closed set of a metric's label."""

    CONTRACT = "contract"
    SIZE = "size"
    OVERLOAD = "overload"
    DEADLINE = "deadline"
    MEMORY = "memory"
    NOT_READY = "not_ready"
    QUARANTINE = "quarantine"
    FRAMING = "framing"
    ORIGIN = "origin"
    ACCESS = "access"
    OTHER = "other"


class Kind(StrEnum):
    """Whose doing it is."""

    REFUSAL = "refusal"
    """The request's: it cannot be answered as it is."""
    UNAVAILABLE = "unavailable"
    """The server's, for now: another try may be answered."""
    FAULT = "fault"
    """The server's, its model's or its runtime's: an operator should look."""


class Code(StrEnum):
    """A code, with its `kind`, HTTP `status` and `cause`."""

    kind: Kind
    status: int
    cause: Cause

    def __new__(cls, value: str, kind: Kind, status: int, cause: Cause) -> Self:
        """A member, as it is written below."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.kind, code.status, code.cause = kind, status, cause
        return code

    # rows
    TYPE = "E_TYPE", Kind.REFUSAL, 400, Cause.CONTRACT
    RANGE = "E_RANGE", Kind.REFUSAL, 400, Cause.CONTRACT
    DATE = "E_DATE", Kind.REFUSAL, 400, Cause.CONTRACT
    NONFINITE = "E_NONFINITE", Kind.REFUSAL, 400, Cause.CONTRACT
    CATEGORY = "E_CATEGORY", Kind.REFUSAL, 400, Cause.CONTRACT
    MISSING = "E_MISSING", Kind.REFUSAL, 400, Cause.CONTRACT
    UNKNOWN_FIELD = "E_UNKNOWN_FIELD", Kind.REFUSAL, 400, Cause.CONTRACT
    SHAPE = "E_SHAPE", Kind.REFUSAL, 400, Cause.CONTRACT
    DTYPE = "E_DTYPE", Kind.REFUSAL, 400, Cause.CONTRACT
    BASE64 = "E_BASE64", Kind.REFUSAL, 400, Cause.CONTRACT
    IMAGE = "E_IMAGE", Kind.REFUSAL, 400, Cause.CONTRACT
    IMAGE_SIZE = "E_IMAGE_SIZE", Kind.REFUSAL, 400, Cause.CONTRACT
    IMAGE_FRAMES = "E_IMAGE_FRAMES", Kind.REFUSAL, 400, Cause.CONTRACT
    IMAGE_FORMAT = "E_IMAGE_FORMAT", Kind.REFUSAL, 415, Cause.CONTRACT
    IMAGE_BYTES = "E_IMAGE_BYTES", Kind.REFUSAL, 413, Cause.SIZE
    AUDIO = "E_AUDIO", Kind.REFUSAL, 400, Cause.CONTRACT
    AUDIO_SHORT = "E_AUDIO_SHORT", Kind.REFUSAL, 400, Cause.CONTRACT
    AUDIO_CHANNELS = "E_AUDIO_CHANNELS", Kind.REFUSAL, 400, Cause.CONTRACT
    AUDIO_RATE = "E_AUDIO_RATE", Kind.REFUSAL, 400, Cause.CONTRACT
    AUDIO_FORMAT = "E_AUDIO_FORMAT", Kind.REFUSAL, 415, Cause.CONTRACT
    AUDIO_BYTES = "E_AUDIO_BYTES", Kind.REFUSAL, 413, Cause.SIZE
    AUDIO_LENGTH = "E_AUDIO_LENGTH", Kind.REFUSAL, 413, Cause.SIZE
    PIXELS = "E_PIXELS", Kind.REFUSAL, 413, Cause.SIZE
    TEXT_LIMIT = "E_TEXT_LIMIT", Kind.REFUSAL, 400, Cause.SIZE
    TOKENS = "E_TOKENS", Kind.REFUSAL, 400, Cause.SIZE
    MODEL_INPUT = "E_MODEL_INPUT", Kind.REFUSAL, 400, Cause.CONTRACT
    QUARANTINED = "E_QUARANTINED", Kind.REFUSAL, 400, Cause.QUARANTINE
    # bodies and messages
    EMPTY = "E_EMPTY", Kind.REFUSAL, 400, Cause.CONTRACT
    JSON = "E_JSON", Kind.REFUSAL, 400, Cause.CONTRACT
    SCHEMA = "E_SCHEMA", Kind.REFUSAL, 400, Cause.CONTRACT
    ENCODING = "E_ENCODING", Kind.REFUSAL, 400, Cause.CONTRACT
    MESSAGE = "E_MESSAGE", Kind.REFUSAL, 400, Cause.CONTRACT
    EMPTY_BATCH = "E_EMPTY_BATCH", Kind.REFUSAL, 400, Cause.CONTRACT
    BATCH = "E_BATCH", Kind.REFUSAL, 400, Cause.SIZE
    LIMIT = "E_LIMIT", Kind.REFUSAL, 400, Cause.SIZE
    BODY_BYTES = "E_BODY_BYTES", Kind.REFUSAL, 413, Cause.SIZE
    ANSWER_BYTES = "E_ANSWER_BYTES", Kind.REFUSAL, 400, Cause.SIZE
    SLOW_BODY = "E_SLOW_BODY", Kind.REFUSAL, 408, Cause.OTHER
    CONTENT_TYPE = "E_CONTENT_TYPE", Kind.REFUSAL, 415, Cause.OTHER
    CONTENT_ENCODING = "E_CONTENT_ENCODING", Kind.REFUSAL, 415, Cause.OTHER
    COMPRESSION = "E_COMPRESSION", Kind.REFUSAL, 400, Cause.OTHER
    OPTION = "E_OPTION", Kind.REFUSAL, 400, Cause.CONTRACT
    PARAMETER = "E_PARAMETER", Kind.REFUSAL, 400, Cause.OTHER
    OUTPUT = "E_OUTPUT", Kind.REFUSAL, 400, Cause.OTHER
    HEADER = "E_HEADER", Kind.REFUSAL, 400, Cause.OTHER
    # what is asked for
    NOT_FOUND = "E_NOT_FOUND", Kind.REFUSAL, 404, Cause.OTHER
    MODEL_NOT_FOUND = "E_MODEL_NOT_FOUND", Kind.REFUSAL, 404, Cause.OTHER
    ANSWER_NOT_FOUND = "E_ANSWER_NOT_FOUND", Kind.REFUSAL, 404, Cause.CONTRACT
    LOADED = "E_LOADED", Kind.REFUSAL, 409, Cause.OTHER
    METHOD = "E_METHOD", Kind.REFUSAL, 405, Cause.OTHER
    UNSUPPORTED = "E_UNSUPPORTED", Kind.REFUSAL, 400, Cause.OTHER
    # connections
    HTTP = "E_HTTP", Kind.REFUSAL, 400, Cause.FRAMING
    HTTP_VERSION = "E_HTTP_VERSION", Kind.REFUSAL, 505, Cause.FRAMING
    URL = "E_URL", Kind.REFUSAL, 414, Cause.FRAMING
    HEADERS = "E_HEADERS", Kind.REFUSAL, 431, Cause.FRAMING
    CHUNKS = "E_CHUNKS", Kind.REFUSAL, 413, Cause.FRAMING
    EXPECT = "E_EXPECT", Kind.REFUSAL, 417, Cause.FRAMING
    SLOW_HEADERS = "E_SLOW_HEADERS", Kind.REFUSAL, 408, Cause.FRAMING
    HOST = "E_HOST", Kind.REFUSAL, 421, Cause.ORIGIN
    CROSS_SITE = "E_CROSS_SITE", Kind.REFUSAL, 403, Cause.ORIGIN
    # who asks
    KEY = "E_KEY", Kind.REFUSAL, 401, Cause.ACCESS
    SCOPE = "E_SCOPE", Kind.REFUSAL, 403, Cause.ACCESS
    RATE = "E_RATE", Kind.UNAVAILABLE, 429, Cause.OVERLOAD
    # the server's state
    OVERLOADED = "E_OVERLOADED", Kind.UNAVAILABLE, 503, Cause.OVERLOAD
    CONNECTIONS = "E_CONNECTIONS", Kind.UNAVAILABLE, 503, Cause.OVERLOAD
    MEMORY = "E_MEMORY", Kind.UNAVAILABLE, 503, Cause.MEMORY
    OOM = "E_OOM", Kind.UNAVAILABLE, 503, Cause.MEMORY
    DEADLINE = "E_DEADLINE", Kind.UNAVAILABLE, 504, Cause.DEADLINE
    DRAINING = "E_DRAINING", Kind.UNAVAILABLE, 503, Cause.NOT_READY
    NOT_READY = "E_NOT_READY", Kind.UNAVAILABLE, 503, Cause.NOT_READY
    # faults
    RUNTIME_DOWN = "E_RUNTIME_DOWN", Kind.FAULT, 503, Cause.NOT_READY
    RUNTIME_SLOW = "E_RUNTIME_SLOW", Kind.FAULT, 503, Cause.OTHER
    RUNTIME_ANSWER = "E_RUNTIME_ANSWER", Kind.FAULT, 503, Cause.OTHER
    MODEL = "E_MODEL", Kind.FAULT, 500, Cause.OTHER
    OUTPUT_CONTRACT = "E_OUTPUT_CONTRACT", Kind.FAULT, 500, Cause.OTHER
    OUTPUT_RANGE = "E_OUTPUT_RANGE", Kind.FAULT, 500, Cause.OTHER
    INTERNAL = "E_INTERNAL", Kind.FAULT, 500, Cause.OTHER


CODES = {str(code): code for code in Code}
"""The codes by name: the closed set of a metric's label."""
FAULTS = tuple(sorted(code for code in CODES if CODES[code].kind is Kind.FAULT))
"""Codes that are never a caller's doing: alerts ask for them."""
CAUSES = tuple(map(str, Cause))
"""The causes by name."""


def cause_of(error: SeatrialError) -> str | None:
    """Why this refused a request; None where it did not refuse, but failed."""
    if not isinstance(error, (Refusal, Unavailable)):
        return None
    known = CODES.get(error.code)
    return str(Cause.OTHER if known is None else known.cause)


def status_of(error: Exception) -> tuple[int, str]:
    """Return HTTP status and stable code of an error.

    The status is 500 for an error that no answer has, such as that of a bundle that was to be
    loaded.
    """
    code: str = getattr(error, "code", Code.INTERNAL)
    known = CODES.get(code)
    return known.status if known is not None else 500, str(code)
