"""Every stable code that an answer can carry, its HTTP status, and its cause. This is the one place that knows."""

from __future__ import annotations

from seatrial_contracts.errors import Refusal, SeatrialError, Unavailable

STATUS = {
    "E_NOT_FOUND": 404, "E_MODEL_NOT_FOUND": 404, "E_ANSWER_NOT_FOUND": 404, "E_UNSUPPORTED": 400, "E_METHOD": 405, "E_SLOW_BODY": 408, "E_BODY_BYTES": 413, "E_PIXELS": 413, "E_IMAGE_BYTES": 413,
    "E_CONTENT_TYPE": 415, "E_CONTENT_ENCODING": 415, "E_IMAGE_FORMAT": 415, "E_OVERLOADED": 503, "E_DRAINING": 503, "E_NOT_READY": 503, "E_DEADLINE": 504,
    "E_CROSS_SITE": 403, "E_SLOW_HEADERS": 408, "E_CHUNKS": 413, "E_URL": 414, "E_EXPECT": 417, "E_HOST": 421, "E_HEADERS": 431, "E_HTTP_VERSION": 505,
}  # fmt: skip
"""Code -> status, where it is not 400 for a `Refusal`, 503 for `Unavailable` or 500 for `ModelError`."""


CLOSED_CODES = frozenset(STATUS) | {
    "E_EMPTY", "E_JSON", "E_SCHEMA", "E_ENCODING", "E_BATCH", "E_EMPTY_BATCH", "E_TYPE", "E_RANGE", "E_NONFINITE", "E_CATEGORY", "E_MISSING",
    "E_UNKNOWN_FIELD", "E_TEXT_LIMIT", "E_TOKENS", "E_LIMIT", "E_SHAPE", "E_BASE64", "E_IMAGE", "E_IMAGE_SIZE", "E_IMAGE_FRAMES", "E_MODEL",
    "E_OUTPUT_CONTRACT", "E_INTERNAL", "E_MEMORY", "E_DTYPE", "E_OUTPUT", "E_PARAMETER", "E_HEADER", "E_MODEL_INPUT", "E_ANSWER_BYTES", "E_COMPRESSION", "E_QUARANTINED", "E_OOM",
    "E_RUNTIME_DOWN", "E_RUNTIME_SLOW", "E_RUNTIME_ANSWER", "E_HTTP", "E_MESSAGE", "E_CONNECTIONS",
}  # fmt: skip
"""Every code that an answer can carry: the closed set of the metrics' label."""


FAULTS = ("E_INTERNAL", "E_MODEL", "E_OUTPUT_CONTRACT", "E_RUNTIME_ANSWER", "E_RUNTIME_DOWN", "E_RUNTIME_SLOW")
"""Codes that are never a caller's doing."""


CAUSES = ("contract", "size", "overload", "deadline", "memory", "not_ready", "quarantine", "framing", "origin", "other")
"""Why a request was refused, in a few words: the closed set of a label."""


CAUSE = {
    **dict.fromkeys(("E_BODY_BYTES", "E_BATCH", "E_PIXELS", "E_IMAGE_BYTES", "E_TEXT_LIMIT", "E_TOKENS", "E_LIMIT", "E_ANSWER_BYTES"), "size"),
    **dict.fromkeys(("E_NOT_FOUND", "E_MODEL_NOT_FOUND", "E_METHOD", "E_CONTENT_TYPE", "E_CONTENT_ENCODING", "E_UNSUPPORTED", "E_PARAMETER", "E_HEADER", "E_SLOW_BODY", "E_COMPRESSION", "E_OUTPUT"), "other"),
    **dict.fromkeys(("E_NOT_READY", "E_DRAINING", "E_RUNTIME_DOWN"), "not_ready"),
    **dict.fromkeys(("E_HTTP", "E_HTTP_VERSION", "E_URL", "E_HEADERS", "E_CHUNKS", "E_EXPECT", "E_SLOW_HEADERS"), "framing"),
    "E_HOST": "origin", "E_CROSS_SITE": "origin", "E_OVERLOADED": "overload", "E_CONNECTIONS": "overload", "E_MEMORY": "memory", "E_OOM": "memory", "E_DEADLINE": "deadline", "E_QUARANTINED": "quarantine",
}  # fmt: skip
"""Code -> cause, where it is not "contract" for a `Refusal` and "other" for `Unavailable`."""


def cause_of(error: SeatrialError) -> str | None:
    """Why this refused a request; None where it did not refuse, but failed."""
    if not isinstance(error, (Refusal, Unavailable)):
        return None
    return CAUSE.get(error.code, "contract" if isinstance(error, Refusal) else "other")


def status_of(error: Exception) -> tuple[int, str]:
    """HTTP status and stable code of an error."""
    code: str = getattr(error, "code", "E_INTERNAL")
    default = 400 if isinstance(error, Refusal) else 503 if isinstance(error, Unavailable) else 500
    return STATUS.get(code, default), code
