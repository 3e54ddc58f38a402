"""Sends rows by KServe's own clients, in those clients' own environment, a line of JSON each.

Lines in: `{"way": "v1", "instances": [...]}`, or `{"way": "v2 json", "inputs": [...]}` with name,
datatype, shape and data of each tensor; lines out: what came, or `{"says": ...}` of an error.

python tests/deploy/ask_kserve_rows.py URL HOST:PORT MODEL
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import InferResponse
from kserve.utils.numpy_codec import to_np_dtype


def request(model: str, inputs: list[dict[str, Any]], *, binary: bool) -> InferRequest:
    """The tensors as KServe's client sends them."""
    tensors = []
    for each in inputs:
        array = np.array(each["data"], to_np_dtype(each["datatype"])).reshape(each["shape"])
        tensor = InferInput(each["name"], each["shape"], each["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary)
        tensors.append(tensor)
    return InferRequest(model_name=model, infer_inputs=tensors)


def shown(response: InferResponse) -> dict[str, Any]:
    """The outputs, as JSON holds them."""

    def plain(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else value

    return {
        each.name: {
            "datatype": each.datatype,
            "shape": each.shape,
            "data": [plain(value) for value in each.as_numpy().ravel().tolist()],
        }
        for each in response.outputs
    }


async def ask(url: str, grpc_url: str, model: str) -> None:
    """Answer each line."""
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    grpc = InferenceGRPCClient(grpc_url)
    async with v1, v2, grpc:
        for line in sys.stdin:
            asked = json.loads(line)
            said: Any
            try:
                if asked["way"] == "v1":
                    body = {"instances": asked["instances"]}
                    said = await v1.infer(url, body, model_name=model)
                elif asked["way"] == "ready":
                    said = [await v2.is_model_ready(url, model), await grpc.is_model_ready(model)]
                else:
                    tensors = request(model, asked["inputs"], binary=asked["way"] != "v2 json")
                    over_grpc = asked["way"] == "grpc"
                    answer = grpc.infer(tensors) if over_grpc else v2.infer(
                        url, tensors, model_name=model
                    )  # fmt: skip
                    said = shown(await answer)
            except Exception as error:  # whatever the client makes of an answer
                body = getattr(getattr(error, "response", None), "text", "")
                call = next((each for each in (error, error.__cause__, error.__context__)
                             if hasattr(each, "trailing_metadata")), None)  # fmt: skip
                trailing = dict(call.trailing_metadata()) if call is not None else {}
                said = {"says": f"{error} {body}", "code": trailing.get("seatrial-code")}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(ask(*sys.argv[1:]))
