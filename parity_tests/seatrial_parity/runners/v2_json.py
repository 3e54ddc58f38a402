"""Our server over HTTP, by V2's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from seatrial_contracts.element_types import DTYPES, NOT_IN_JSON
from seatrial_contracts.kinds.file_kind import FileKind
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.http_client import JSON_HEADERS, error_of, object_of, odd_answer
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.runners.tensor_runner import refusal_from
from seatrial_parity.runners.tensors import Tensors
from seatrial_parity.runners.v2_binary import V2BinaryRunner

NAME = "v2 json"


def runners(asked: TrialRequest) -> Iterator[V2JsonRunner]:
    """One, where there is a server and JSON has a form for all.

    JSON has none for files, FP16 and BF16.
    """
    contract = asked.bundle.contract
    files = any(isinstance(field.kind, FileKind) for field in contract.inputs)
    datatypes = {field.kind.datatype for field in contract.inputs}
    datatypes |= {tensor.datatype for tensor in contract.client_tensors.values()}
    if asked.url is not None and not files and datatypes.isdisjoint(NOT_IN_JSON):
        yield V2JsonRunner(asked.bundle, asked.url, asked.bundle.version, asked.key, asked.model)


class V2JsonRunner(V2BinaryRunner):
    """As a client without any library writes it."""

    name = NAME

    def ask(self, tensors: Tensors) -> dict[str, Array]:
        """See `TensorRunner.ask`."""
        inputs = [
            {
                "name": name,
                "datatype": datatype,
                "shape": array.shape,
                "data": [element(value) for value in array.ravel().tolist()],
            }
            for name, (datatype, array) in tensors.items()
        ]
        body = json.dumps({"inputs": inputs, "parameters": dict(self.options)})
        reply = self.client.post(f"{self.path}/infer", body.encode(), JSON_HEADERS)
        if reply.status_code != 200:
            code, text = error_of(reply)
            raise refusal_from(text, code)
        try:
            return {
                output["name"]: np.array(
                    output["data"],
                    object if output["datatype"] == "BYTES" else DTYPES[output["datatype"]],
                ).reshape(output["shape"])
                for output in object_of(reply)["outputs"]
            }
        except (LookupError, TypeError, ValueError):
            raise odd_answer("outputs that cannot be read", "the declared outputs") from None


def element(value: Any) -> Any:
    """NaN is null in JSON."""
    if isinstance(value, bytes):
        return value.decode()
    return None if isinstance(value, float) and np.isnan(value) else value
