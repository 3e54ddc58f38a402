"""One bad input and what it must get."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CANARY = "canary7f3a9c"
"""Stands in headers, names and values of the cases: none of it may come back or be kept."""


MOMENT = {
    "day": "1970-01-01",
    "at": "1970-01-01T00:00:00Z",
    "local": "1970-01-01T00:00:00",
    "took": "PT0S",
}
"""A row of the model of dates and times."""
FRAMES = {"frames": [[1.0, None], [2.0, 3.0]], "labels": [-1, 2]}
"""A row of the model of two tensors that share a size."""


Told = tuple[set[str], Any, Any]
"""The keys of an error, its text and its code."""


def of_openai(said: Any) -> Told:
    """OpenAI's clients read an object within one."""
    assert set(said) == {"error"}
    told = said["error"]
    return set(told), told["message"], told["code"]


def of_ours(said: Any) -> Told:
    """What is wrong with rows is listed too: the first of it is the error itself."""
    if "errors" in said:
        first, more = said["errors"][0], len(said["errors"]) + said.get("more_errors", 0)
        assert first["code"] == said["code"]
        assert said["error"].startswith(first["error"])
        assert (f"{more - 1} more to mend" in said["error"]) == (more > 1)
    return set(said) - {"errors", "more_errors"}, said["error"], said["code"]


SHAPES: Mapping[str, tuple[set[str], Callable[[Any], Told]]] = {
    "": ({"error", "code", "request_id"}, of_ours),
    "openai": ({"message", "type", "param", "code"}, of_openai),
    "cohere": ({"message", "id", "code"}, lambda said: (set(said), said["message"], said["code"])),
    "jina": ({"detail", "id", "code"}, lambda said: (set(said), said["detail"], said["code"])),
    "kserve": (
        {"message", "type", "param", "code"},
        lambda said: (set(said["error"]), said["error"]["message"], said["error"]["type"]),
    ),
    "tei": (
        {"error", "error_type", "code"},
        lambda said: (set(said), said["error"], said["code"]),
    ),
}
"""Protocol -> the keys of its errors, and how one is read. Ours has no name."""


@dataclass(frozen=True)
class Case:
    """One case of the matrix of refusals.

    `name` begins with the number of the case in the matrix; `data` goes out over a new connection.
    """

    name: str
    data: bytes
    status: int
    """0: the connection is closed without an answer."""
    code: str = ""
    closed: bool = False
    """Is the connection closed after the answer?"""
    within_s: float = 10.0
    """A bound against what is quadratic, generous for a slow machine."""
    grows_mb: int = 32
    """What the server's memory may grow by, its allocator's habits included."""
    shape: str = ""
    """Of the error, one of `SHAPES`."""


def request(
    path: str, body: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST"
) -> bytes:
    """A request with its length, and the canary in a header."""
    given = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "X-Tag": CANARY,
        "Content-Length": str(len(body)),
    }
    given |= headers or {}
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in given.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


def v1(body: Any, model: str = "tabular", **headers: str) -> bytes:
    """A predict request; `body` is bytes, or what becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(
        f"/v1/models/{model}:predict",
        data,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def rows(*rows: Any) -> bytes:
    """A predict request of rows for the tabular model."""
    return v1({"instances": list(rows)})


def v2(body: Any, model: str = "tabular", **headers: str) -> bytes:
    """An infer request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(
        f"/v2/models/{model}/infer",
        data,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


ROW = {"x": 1.5, "n": 3, "c": "a", "f": True}
INPUTS = {
    "x": {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]},
    "n": {"name": "n", "datatype": "INT8", "shape": [1], "data": [3]},
    "c": {"name": "c", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    "f": {"name": "f", "datatype": "BOOL", "shape": [1], "data": [True]},
}


def tensors(field: str = "x", drop: str = "", **change: Any) -> bytes:
    """An infer request for the tabular model with one input changed."""
    changed = {key: value for key, value in (INPUTS[field] | change).items() if key != drop}
    return v2({"inputs": list((INPUTS | {field: changed}).values())})


def infer(**more: Any) -> bytes:
    """A good infer request for the tabular model, but for what is given."""
    return v2({"inputs": list(INPUTS.values())} | more)
