"""What the OpenAPI document says of a route, held against what the route takes and answers."""

from __future__ import annotations

from typing import Any

import jsonschema

from support.running import Running


async def ask_as_documented(running: Running, path: str, body: Any, status: int = 200) -> Any:
    """Post a body; the document must know it, and the answer. A refused body need not be known."""
    document = (await running.client.get("/openapi.json")).json()
    operation = document["paths"][path]["post"]
    known = {"components": document["components"]}
    if status == 200:
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(body, asked | known, cls=jsonschema.Draft202012Validator)
    reply = await running.client.post(path, json=body)
    assert reply.status_code == status, reply.text
    response = operation["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    told = response["content"]["application/json"]["schema"]
    jsonschema.validate(reply.json(), told | known, cls=jsonschema.Draft202012Validator)
    return reply.json()
