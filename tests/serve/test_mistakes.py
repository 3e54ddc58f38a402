"""Usual mistakes of those who ask a server: each refusal says what is to be sent instead.

What it says is sent then, and answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from support.running import Running

PREDICT, INFER = "/v1/models/toy:predict", "/v2/models/toy/infer"
ROW: dict[str, Any] = {"x": 1.5, "word": "a"}
JSON = {"content-type": "application/json"}


class Ask(NamedTuple):
    """A request."""

    body: str
    path: str = PREDICT
    headers: Mapping[str, str] = JSON
    method: str = "POST"


class Mistake(NamedTuple):
    """What is asked wrongly, what is said of it, and what is asked then."""

    name: str
    wrong: Ask
    said: str
    mend: str
    right: Ask


def body(*rows: Any) -> str:
    return json.dumps({"instances": rows})


def tensors(x: dict[str, Any] | None = None, name: str = "x") -> str:
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [1], "data": [1.5]} | (x or {}),
        {"name": "word", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ]
    return json.dumps({"inputs": inputs})


GOOD, GOOD_V2 = Ask(body(ROW)), Ask(tensors(), INFER)
OBJECT = 'want an object: {"instances": [{...}]}; '
MISTAKES = [
    Mistake(
        "a bare list", Ask(json.dumps([ROW])),
        f"request body: got a list of 1 without 'instances', {OBJECT}",
        'send {"instances": ROWS}', Ask(f'{{"instances": {json.dumps([ROW])}}}'),
    ),
    Mistake(
        "a bare row", Ask(json.dumps(ROW)),
        f"request body: got a row without 'instances', {OBJECT}",
        'send {"instances": [ROW]}', Ask(f'{{"instances": [{json.dumps(ROW)}]}}'),
    ),
    Mistake(
        "a row for a list of rows", Ask(json.dumps({"instances": ROW})),
        f"request body: got an object in 'instances', {OBJECT}",
        'send {"instances": [ROW]}', GOOD,
    ),
    Mistake(
        "a form's content type", Ask(body(ROW), headers={"content-type": "text/plain"}),
        "header Content-Type: got another type, want application/json; ",
        "send 'Content-Type: application/json'", GOOD,
    ),
    Mistake(
        "GET for POST", Ask("", method="GET"), "method: got another, want POST; ",
        """curl's --json '{"instances": [ROW]}'""", GOOD,
    ),
    Mistake(
        "another model", Ask(body(ROW), "/v1/models/tay:predict"),
        "model: got an unknown name or version, want ", "one of GET /v1/models", GOOD,
    ),
    Mistake(
        "another version", Ask(body(ROW), "/v1/models/toy/versions/9.0.0:predict"),
        "model: got an unknown name or version, want ", "one of GET /v1/models",
        Ask(body(ROW), "/v1/models/toy/versions/1.0.0:predict"),
    ),
    Mistake(
        "an empty body", Ask(""), "request body: got nothing, want ", 'an object: {"instances": ',
        GOOD,
    ),
    Mistake(
        "single quotes", Ask("{'instances': []}"), "request body: got no valid JSON, want ",
        'an object in UTF-8: {"instances": [{...}]}', GOOD,
    ),
    Mistake(
        "NaN in JSON", Ask('{"instances": [{"x": NaN, "word": "a"}]}'),
        "input 'x', row 0: got nan, want ", "a number from -100 to 100", GOOD,
    ),
    Mistake(
        "a number as text", Ask(body(ROW | {"x": "1.5"})),
        "input 'x', row 0: got a string of 3 characters, want ", "a number from -100 to 100", GOOD,
    ),
    Mistake(
        "a word that is none", Ask(body(ROW | {"word": "A"})),
        "input 'word', row 0: got a string of 1 characters, want ", "one of 'a', 'b'", GOOD,
    ),
    Mistake(
        "a field too many", Ask(body(ROW | {"y": 1})),
        "row 0: got a field that the contract does not have, want ", "an object with x, word",
        GOOD,
    ),
    Mistake(
        "a field too few", Ask(body({"x": 1.5})), "input 'word', row 0: got nothing, want ",
        "one of 'a', 'b'", GOOD,
    ),
    Mistake(
        "no rows", Ask(body()), "request body: got a list of 0, want ",
        "'instances': a list of 1 to 1024 rows", GOOD,
    ),
    Mistake(
        "another datatype over V2", Ask(tensors({"datatype": "FP64"}), INFER),
        "input 'x': got FP64, want ", "FP32", GOOD_V2,
    ),
    Mistake(
        "another shape over V2", Ask(tensors({"shape": [1, 2], "data": [1.5, 2.5]}), INFER),
        "input 'x': got shape [1, 2], want ", "shape [rows, 1]", GOOD_V2,
    ),
    Mistake(
        "another name over V2", Ask(tensors(name="y"), INFER),
        "inputs: got one that the contract does not have, want ", "x, word", GOOD_V2,
    ),
    Mistake(
        "instances over V2", Ask(body(ROW), INFER),
        "inputs: got 'instances', want a list of objects with names; ",
        "send them to /v1/models/NAME:predict", GOOD,
    ),
]  # fmt: skip


async def asked(running: Running, ask: Ask) -> tuple[int, dict[str, Any]]:
    reply = await running.client.request(
        ask.method, ask.path, content=ask.body, headers=dict(ask.headers)
    )
    return reply.status_code, reply.json()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.name)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_mistake_of_a_client_is_named_with_what_is_answered_instead(
    mistake: Mistake, shared: Running
) -> None:
    status, said = await asked(shared, mistake.wrong)
    assert 400 <= status < 500
    assert said["error"].startswith(mistake.said)
    assert mistake.mend in said["error"][len(mistake.said) :]
    status, said = await asked(shared, mistake.right)
    assert status == 200, said
