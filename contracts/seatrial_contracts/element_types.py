"""The names of element types: numpy's, the Open Inference Protocol's and onnxruntime's."""

from __future__ import annotations

V2_DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
"""numpy's name of an element type -> its name in the Open Inference Protocol."""


DTYPES = {datatype: dtype for dtype, datatype in V2_DATATYPES.items()}
"""The Open Inference Protocol's name of an element type -> numpy's."""
