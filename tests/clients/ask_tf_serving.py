"""Calls a server as TensorFlow Serving's REST clients do.

Its environment has its own protobuf messages and not ours.

Status and metadata are parsed into TensorFlow Serving's messages; requests are written from the
signature that they name.

python tests/clients/ask_tf_serving.py http://127.0.0.1:8000
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests
from google.protobuf.json_format import MessageToDict, ParseDict
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec

VALUES = {
    "DT_FLOAT": [1.5, 2.5],
    "DT_INT8": [3, 4],
    "DT_STRING": ["a", "b"],
    "DT_BOOL": [True, False],
}


def ask(url: str) -> dict[str, Any]:
    """Status, metadata, and a prediction in each form."""
    model = f"{url}/v1/models/tabular"
    status = requests.get(model, timeout=30).json()["model_version_status"]
    known = ParseDict({"model_version_status": without_versions(status)}, GetModelStatusResponse())
    metadata = requests.get(f"{model}/metadata", timeout=30).json()
    spec = ParseDict({"name": metadata["model_spec"]["name"]}, ModelSpec())
    signatures = ParseDict(metadata["metadata"]["signature_def"], SignatureDefMap()).signature_def
    ((signature_name, signature),) = signatures.items()
    dtypes = {
        name: types_pb2.DataType.Name(tensor.dtype) for name, tensor in signature.inputs.items()
    }
    columns = {name: VALUES[dtype] for name, dtype in dtypes.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    bodies = {"columns": {"inputs": columns}, "rows": {"instances": rows}}
    return {
        "states": [
            ModelVersionStatus.State.Name(each.state) for each in known.model_version_status
        ],
        "name": spec.name,
        "signature": signature_name,
        "dtypes": dtypes,
        "shapes": {
            name: [side.size for side in tensor.tensor_shape.dim]
            for name, tensor in (*signature.inputs.items(), *signature.outputs.items())
        },
        "method": MessageToDict(signature)["methodName"],
        "version": metadata["model_spec"]["version"],
        **{
            form: requests.post(
                f"{model}:predict",
                data=json.dumps({"signature_name": signature_name, **body}),
                timeout=30,
            ).json()
            for form, body in bodies.items()
        },
    }


def without_versions(status: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The states: a version is a whole number there, and a text here."""
    return [{name: value for name, value in each.items() if name != "version"} for each in status]


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1])))
