"""The binary tensor extension: cases 55 to 66."""

from __future__ import annotations

import json
import struct
from typing import Any

from refusals.case import CANARY, INPUTS, Case, v2

X = struct.pack("<f", 1.5)
WORD = struct.pack("<I", 1) + b"a"


def binary(
    name: str = "x",
    blob: bytes = X,
    size: Any = None,
    rest: bytes = b"",
    header: str | None = None,
    **change: Any,
) -> bytes:
    """An infer request with one input in binary."""
    value = {key: part for key, part in INPUTS[name].items() if key != "data"} | change
    value["parameters"] = {"binary_data_size": len(blob) if size is None else size}
    head = json.dumps(
        {"inputs": [*(part for key, part in INPUTS.items() if key != name), value]}
    ).encode()
    length = str(len(head)) if header is None else header
    return v2(
        head + blob + rest,
        Inference_Header_Content_Length=length,
        Content_Type="application/octet-stream",
    )


CASES = [
    Case("55 a good one", binary(), 200),
    *(
        Case(f"55 header length {value!r}", binary(header=value), 400, "E_HEADER")
        for value in (
            "-1",
            "+5",
            "99999999999",
            "0x10",
            "1e3",
            "",
            "٣".encode().decode("latin-1"),
            "9" * 30,
        )
    ),
    Case("55 header length 0 with JSON", binary(header="0"), 400, "E_UNSUPPORTED"),
    Case(
        "55 no header length with binary data",
        binary().replace(b"Inference-Header-Content-Length", b"X-Nothing"),
        400,
        "E_JSON",
    ),
    Case("56 sizes below the bytes", binary(rest=b"abcd"), 400, "E_SHAPE"),
    Case("56 sizes beyond the bytes", binary(size=400), 400, "E_SHAPE"),
    *(
        Case(f"56 size {value!r}", binary(size=value), 400, "E_SHAPE")
        for value in (-1, True, 4.0, "4", 2**70)
    ),
    Case("57 no multiple of the element", binary(blob=X[:3]), 400, "E_SHAPE"),
    Case("58 another size than the shape's", binary(blob=X * 2), 400, "E_SHAPE"),
    Case("59 data and binary data", binary(data=[1.5]), 400, "E_SCHEMA"),
    Case("60 a length past the end", binary("c", struct.pack("<I", 9) + b"a"), 400, "E_SHAPE"),
    Case("60 a length of 2^32 - 1", binary("c", b"\xff\xff\xff\xff" + b"a"), 400, "E_SHAPE"),
    Case("60 more words than the shape", binary("c", WORD * 2), 400, "E_SHAPE"),
    Case("60 fewer words than the shape", binary("c", b""), 400, "E_SHAPE"),
    Case("60 a cut length", binary("c", b"\x01\0"), 400, "E_SHAPE"),
    Case(
        "60 a word that is no UTF-8", binary("c", struct.pack("<I", 1) + b"\xff"), 400, "E_ENCODING"
    ),
    Case("61 bytes behind the last word", binary("c", WORD + b"x"), 400, "E_SHAPE"),
    Case("62 a byte that is no boolean", binary("f", b"\x02"), 400, "E_TYPE"),
    Case(
        "63 NaN is the missing value where it may be missing",
        binary(blob=struct.pack("<f", float("nan"))),
        200,
    ),
    Case("63 an infinity", binary(blob=struct.pack("<f", float("inf"))), 400, "E_NONFINITE"),
    Case(
        "64 shared memory",
        v2(
            {
                "inputs": [
                    {
                        "name": "x",
                        "datatype": "FP32",
                        "shape": [1],
                        "parameters": {"shared_memory_region": CANARY},
                    }
                ]
            }
        ),
        400,
        "E_UNSUPPORTED",
    ),
    Case("66 misaligned numbers", binary("x"), 200),
    Case("40 a product beyond all memory", binary(shape=[2**20, 2**20]), 400, "E_SHAPE"),
]
