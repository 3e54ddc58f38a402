"""One question asked in every way over HTTP: V1, V2 in JSON, and V2 in binary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tritonclient import http as triton
from tritonclient.utils import triton_to_np_dtype

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import DTYPES
from seatrial_parity.runners.tensors import Tensors, batches, tensors_of
from seatrial_parity.runners.v2_json import element
from support.running import Running

Rows = Sequence[Mapping[str, Any]]
Asked = list[dict[str, list[Any]]]
"""Of each batch that may be asked as one, each output as nested lists, rows first."""


async def asked_by_v1(
    served: Running, contract: Contract, rows: Rows, model: str = "made"
) -> Asked:
    """By rows, as JSON."""
    found = []
    for places in batches(contract, rows, len(rows)):
        body = {"instances": [rows[place] for place in places]}
        reply = await served.client.post(f"/v1/models/{model}:predict", json=body)
        assert reply.status_code == 200, reply.text
        predictions = reply.json()["predictions"]
        found.append({
            name: shaped(typed([row[name] for row in predictions], tensor.datatype))
            for name, tensor in contract.client_tensors.items()
        })  # fmt: skip
    return found


async def asked_by_v2_json(
    served: Running, contract: Contract, rows: Rows, model: str = "made"
) -> Asked:
    """By tensors, as JSON."""
    found = []
    for tensors in tensors_in(contract, rows):
        inputs = [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "data": [element(value) for value in array.ravel().tolist()],
            }
            for name, (datatype, array) in tensors.items()
        ]
        reply = await served.client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
        assert reply.status_code == 200, reply.text
        found.append({
            each["name"]: shaped(typed(each["data"], each["datatype"]).reshape(each["shape"]))
            for each in reply.json()["outputs"]
        })  # fmt: skip
    return found


async def asked_by_v2_binary(
    served: Running, contract: Contract, rows: Rows, model: str = "made"
) -> Asked:
    """By tensors, as tritonclient writes and reads them over HTTP."""
    found = []
    kit = triton.InferenceServerClient
    for tensors in tensors_in(contract, rows):
        body, head = kit.generate_request_body(inputs_of(tensors))
        headers = {} if head is None else {"Inference-Header-Content-Length": str(head)}
        reply = await served.client.post(f"/v2/models/{model}/infer", content=body, headers=headers)
        assert reply.status_code == 200, reply.text
        told = reply.headers.get("Inference-Header-Content-Length")
        result = kit.parse_response_body(reply.content, header_length=told and int(told))
        found.append(outputs_of(result, contract))
    return found


def typed(values: Any, datatype: str) -> Any:
    """JSON's numbers in the type that they have in the graph."""
    return np.array(values, DTYPES[datatype])


def tensors_in(contract: Contract, rows: Rows) -> list[Tensors]:
    """The raw tensors of each batch that may be asked as one."""
    return [
        tensors_of(contract, [rows[place] for place in places])
        for places in batches(contract, rows, len(rows))
    ]


def inputs_of(tensors: Tensors) -> list[Any]:
    """As tritonclient has them."""
    made = []
    for name, (datatype, array) in tensors.items():
        given = triton.InferInput(name, list(array.shape), datatype)
        given.set_data_from_numpy(array.astype(triton_to_np_dtype(datatype)))
        made.append(given)
    return made


def outputs_of(result: Any, contract: Contract) -> dict[str, list[Any]]:
    """Each output of an answer as nested lists."""
    found = {name: result.as_numpy(name) for name in contract.client_tensors}
    return {
        name: shaped(array.astype(np.float32) if array.dtype.name == "bfloat16" else array)
        for name, array in found.items()
    }


def shaped(array: Any) -> list[Any]:
    """Nested lists, a single number for each row by itself, as V1 answers it."""
    whole = array.reshape(len(array)) if array.shape[1:] == (1,) else array
    found: list[Any] = whole.tolist()
    return found
