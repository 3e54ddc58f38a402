"""Element types: their names to numpy, the Open Inference Protocol, onnxruntime and TensorFlow."""

from __future__ import annotations

V2_DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
"""numpy's name of an element type -> its name in the Open Inference Protocol."""
DECLARED_DATATYPES = V2_DATATYPES | {"bfloat16": "BF16"}
"""The same of all element types that a contract can declare.

numpy has no bfloat16: float32 arrays, and float32 tensors of the graph, hold such numbers.
"""
ARRAY_DTYPES = {datatype: dtype for dtype, datatype in V2_DATATYPES.items()}
"""The Open Inference Protocol's name of an element type that numpy has -> numpy's."""
DTYPES = ARRAY_DTYPES | {"BF16": "float32"}
"""The Open Inference Protocol's name of an element type -> numpy's of what holds its elements."""
FLOATS = frozenset({"BF16", "FP16", "FP32", "FP64"})
"""The Open Inference Protocol's element types of numbers with a fraction, which have a NaN."""
NOT_IN_JSON = frozenset({"BF16", "FP16"})
"""Those whose numbers travel in binary alone: the protocol has no other form for them."""
TENSORFLOW_TYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "BF16": "DT_BFLOAT16",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}
"""The Open Inference Protocol's name of an element type -> TensorFlow's."""
ONNXRUNTIME_TYPES = {"float": "float32", "double": "float64"}
"""onnxruntime's name of an element type -> numpy's, where they differ."""
PYTHON_TYPES: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
"""numpy's kind of an element type -> what may stand for one of its values in JSON."""
