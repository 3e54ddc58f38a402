"""Tensors with holes, named sizes and elements of 4 bits: case 92."""

from __future__ import annotations

from typing import Any

from refusals.case import FRAMES, Case, v1, v2


def rows(**change: Any) -> bytes:
    return v1({"instances": [FRAMES | change]}, "frames")


def tensors(labels: list[int], **length: int) -> bytes:
    """An infer request of one row with 2 frames."""
    inputs: list[dict[str, Any]] = [
        {"name": "frames", "datatype": "FP32", "shape": [1, 2, 2], "data": [0.0] * 4},
        {"name": "labels", "datatype": "INT8", "shape": [1, len(labels)], "data": labels},
    ]
    inputs += [
        {"name": f"labels_{name}", "datatype": "INT64", "shape": [1], "data": [value]}
        for name, value in length.items()
    ]
    return v2({"inputs": inputs}, "frames")


CASES = [
    Case("92 a row with a hole", rows(), 200),
    Case("92 an empty row", rows(frames=[], labels=[]), 200),
    Case("92 a length beside what is filled up", tensors([1, 2, 0], length=2), 200),
    Case("92 two sizes of one name", rows(labels=[1, 2, 3]), 400, "E_SHAPE"),
    Case("92 one of them empty", rows(labels=[]), 400, "E_SHAPE"),
    Case("92 two sizes of one name, V2", tensors([1, 2, 3]), 400, "E_SHAPE"),
    Case("92 a length beyond the values", tensors([1, 2], length=3), 400, "E_SHAPE"),
    Case("92 a negative length", tensors([1, 2], length=-1), 400, "E_SHAPE"),
    Case("92 beyond the most", rows(frames=[[0, 0]] * 9, labels=[0] * 9), 400, "E_SHAPE"),
    Case("92 beyond 4 bits", rows(labels=[8, 0]), 400, "E_RANGE"),
    Case("92 null for a whole number", rows(labels=[None, 0]), 400, "E_TYPE"),
    Case("92 null for a row", rows(frames=[None, [0, 0]]), 400, "E_TYPE"),
    Case("92 a word for a hole", rows(frames=[["NaN", 0], [0, 0]]), 400, "E_TYPE"),
]
