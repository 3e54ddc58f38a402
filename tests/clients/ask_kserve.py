"""Calls a server by KServe's own client, in that client's own environment.

It writes what each call gave as one object of JSON.

python tests/clients/ask_kserve.py http://127.0.0.1:8000 127.0.0.1:8001
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import InferResponse, RequestedOutput

MODEL = "tabular"
ROW = {"x": 1.5, "n": 3, "c": "a", "f": True}
BAD = ROW | {"n": 7, "c": "z"}
PARTIAL = {"X-Partial": "1"}


def request(rows: list[dict[str, Any]], *, binary: bool) -> InferRequest:
    """The rows as KServe's client sends them: from numpy, in binary or in JSON."""
    columns = {
        "x": np.array([row["x"] for row in rows], np.float32),
        "n": np.array([row["n"] for row in rows], np.int8),
        "c": np.array([row["c"] for row in rows], np.object_),
        "f": np.array([row["f"] for row in rows], np.bool_),
    }
    datatypes = {"x": "FP32", "n": "INT8", "c": "BYTES", "f": "BOOL"}
    inputs = [InferInput(name, [len(rows)], datatypes[name]) for name in columns]
    for tensor, column in zip(inputs, columns.values(), strict=True):
        tensor.set_data_from_numpy(column, binary_data=binary)
    return InferRequest(
        model_name=MODEL,
        infer_inputs=inputs,
        request_id="seven",
        request_outputs=[RequestedOutput("score", {"binary_data": binary})],
    )


def shown(response: InferResponse) -> dict[str, Any]:
    """What came, as JSON holds it."""
    (output,) = response.outputs
    parameters = {
        name: getattr(value, "string_param", value)
        for name, value in (response.parameters or {}).items()
    }
    return {
        "model": response.model_name,
        "id": response.id,
        "score": output.as_numpy().ravel().tolist(),
        "errors": json.loads(parameters["errors"]) if "errors" in parameters else None,
    }


async def tried(call: Callable[[], Awaitable[Any]]) -> Any:
    """What a call gives, or what it raises."""
    try:
        return await call()
    except Exception as error:  # whatever the client makes of an answer
        return {"raised": type(error).__name__, "says": str(error)}


async def ask(url: str, grpc_url: str) -> dict[str, Any]:
    """Every call of the three clients."""
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    grpc = InferenceGRPCClient(grpc_url)
    said: dict[str, Any] = {}
    async with v1, v2, grpc:
        instances = {"instances": [ROW, ROW | {"n": 4}]}
        said["v1 ready"] = await tried(lambda: v1.is_model_ready(url, MODEL))
        said["v1 infer"] = await tried(lambda: v1.infer(url, instances, model_name=MODEL))
        said["v1 explain"] = await tried(lambda: v1.explain(url, MODEL, instances))
        said["v1 partial"] = await tried(
            lambda: v1.infer(url, {"instances": [ROW, BAD]}, model_name=MODEL, headers=PARTIAL)
        )
        said["v2 live"] = await tried(lambda: v2.is_server_live(url))
        said["v2 ready"] = await tried(lambda: v2.is_server_ready(url))
        said["v2 model ready"] = await tried(lambda: v2.is_model_ready(url, MODEL))
        said["grpc live"] = await tried(grpc.is_server_live)
        said["grpc ready"] = await tried(grpc.is_server_ready)
        said["grpc model ready"] = await tried(lambda: grpc.is_model_ready(MODEL))
        for form, binary in (("json", False), ("binary", True)):
            for kind, rows, headers in (
                ("infer", [ROW, ROW | {"n": 4}], None),
                ("bad", [ROW, BAD], None),
                ("partial", [ROW, BAD], PARTIAL),
            ):

                async def over_http(
                    rows: Any = rows, binary: bool = binary, headers: Any = headers
                ) -> Any:
                    own = dict(headers) if headers else None
                    return shown(
                        await v2.infer(
                            url, request(rows, binary=binary), model_name=MODEL, headers=own
                        )
                    )

                async def over_grpc(
                    rows: Any = rows, binary: bool = binary, headers: Any = headers
                ) -> Any:
                    own = [(name.lower(), value) for name, value in (headers or {}).items()]
                    return shown(await grpc.infer(request(rows, binary=binary), headers=own))

                said[f"v2 {kind} {form}"] = await tried(over_http)
                said[f"grpc {kind} {form}"] = await tried(over_grpc)
    return said


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(asyncio.run(ask(*sys.argv[1:]))))
