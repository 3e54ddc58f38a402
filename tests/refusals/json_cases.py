"""JSON syntax and values, and the shapes and datatypes of tensors in JSON: cases 1 to 54."""

from __future__ import annotations

import json

from refusals.case import CANARY, INPUTS, ROW, Case, infer, rows, tensors, v1, v2

GOOD = json.dumps({"instances": [ROW]}).encode()
SYNTAX = [
    ("1 empty body", b"", "E_EMPTY"),
    ("2 null", b"null", "E_SCHEMA"),
    ("2 scalar", b"7", "E_SCHEMA"),
    ("2 array", b"[]", "E_SCHEMA"),
    ("3 truncated", GOOD[:-3], "E_JSON"),
    ("4 trailing comma", GOOD[:-1] + b",}", "E_JSON"),
    ("4 comment", b"/*" + CANARY.encode() + b"*/" + GOOD, "E_JSON"),
    ("4 single quotes", b"{'instances': []}", "E_JSON"),
    ("5 trailing garbage", GOOD + b" x", "E_JSON"),
    ("5 a second document", GOOD + GOOD, "E_JSON"),
    ("6 byte order mark", b"\xef\xbb\xbf" + GOOD, "E_JSON"),
    ("7 UTF-16", GOOD.decode().encode("utf-16"), "E_JSON"),
    ("7 UTF-32", GOOD.decode().encode("utf-32-le"), "E_JSON"),
    ("8 invalid UTF-8", GOOD.replace(b'"a"', b'"\xff"'), "E_JSON"),
    ("8 overlong UTF-8", GOOD.replace(b'"a"', b'"\xc0\xaf"'), "E_JSON"),
    ("8 CESU-8", GOOD.replace(b'"a"', b'"\xed\xa0\xbd\xed\xb8\x80"'), "E_JSON"),
]
ROWS = [
    ("12 NaN", {"x": float("nan")}, "E_NONFINITE"),
    ("12 Infinity", {"x": float("inf")}, "E_NONFINITE"),
    ("12 -Infinity", {"x": float("-inf")}, "E_NONFINITE"),
    ("15 beyond the dtype", {"n": 300}, "E_RANGE"),
    ("15 2^63", {"n": 2**63}, "E_RANGE"),
    ("16 float for int", {"n": 1.5}, "E_TYPE"),
    ("16 1.0 for int", {"n": 1.0}, "E_TYPE"),
    ("17 bool for int", {"n": True}, "E_TYPE"),
    ("17 bool for float", {"x": False}, "E_TYPE"),
    ("17 number for bool", {"f": 1}, "E_TYPE"),
    ("18 string for number", {"x": "1.5"}, "E_TYPE"),
    ("19 null where it may not be missing", {"n": None}, "E_MISSING"),
    ("22 unknown field", {CANARY: 1}, "E_UNKNOWN_FIELD"),
    ("29 __proto__", {"__proto__": {"x": 1}}, "E_UNKNOWN_FIELD"),
    ("29 __class__", {"__class__": CANARY}, "E_UNKNOWN_FIELD"),
    ("80 unknown category", {"c": CANARY}, "E_CATEGORY"),
    ("80 'inf' as text", {"x": "inf"}, "E_TYPE"),
    ("80 thousands separator", {"x": "1,000"}, "E_TYPE"),
    ("80 int in a text column", {"c": 7}, "E_TYPE"),
    ("80 out of range", {"x": 412.5}, "E_RANGE"),
    ("81 formula for a category", {"c": "=cmd()"}, "E_CATEGORY"),
]
TENSORS = [
    (
        "10 two inputs of one name",
        v2({"inputs": [INPUTS["x"], *INPUTS.values()]}),
        "E_UNKNOWN_FIELD",
    ),
    ("11 one output twice", infer(outputs=[{"name": "score"}, {"name": "score"}]), "E_OUTPUT"),
    ("15 300 for INT8", tensors("n", data=[300]), "E_RANGE"),
    ("16 1.0 for INT8", tensors("n", data=[1.0]), "E_TYPE"),
    ("17 true for INT8", tensors("n", data=[True]), "E_TYPE"),
    ("17 1 for BOOL", tensors("f", data=[1]), "E_TYPE"),
    ("18 text for FP32", tensors("x", data=["1.5"]), "E_TYPE"),
    ("19 null for INT8", tensors("n", data=[None]), "E_TYPE"),
    ("24 NUL in an id", infer(id="a\0b"), "E_SCHEMA"),
    ("25 name in another normal form", tensors("x", name="x\u0301"), "E_UNKNOWN_FIELD"),
    ("26 bidirectional override in an id", infer(id="a\u202eb"), "E_SCHEMA"),
    ("26 zero width space in an id", infer(id="a\u200bb"), "E_SCHEMA"),
    ("27 id of 1 MB", infer(id="i" * 10**6), "E_LIMIT"),
    ("28 100,000 parameters", infer(parameters={f"p{i}": 1 for i in range(100_000)}), "E_LIMIT"),
    ("28 10,000 inputs", v2({"inputs": [INPUTS["x"]] * 10_000}), "E_LIMIT"),
    ("28 10,000 outputs", infer(outputs=[{"name": "score"}] * 10_000), "E_LIMIT"),
    ("28 100,000 unknown keys", infer(**{f"k{i}": 1 for i in range(100_000)}), "E_LIMIT"),
    *(
        (f"32 no {key}", tensors("x", drop=key), code)
        for key, code in (
            ("name", "E_SCHEMA"),
            ("shape", "E_SHAPE"),
            ("datatype", "E_DTYPE"),
            ("data", "E_SCHEMA"),
        )
    ),
    ("33 FP33", tensors("x", datatype="FP33"), "E_DTYPE"),
    ("33 a datatype that is no text", tensors("x", datatype=32), "E_DTYPE"),
    ("34 FP16 in JSON", tensors("x", datatype="FP16"), "E_DTYPE"),
    ("34 BF16 in JSON", tensors("x", datatype="BF16"), "E_DTYPE"),
    ("35 another datatype", tensors("x", datatype="FP64"), "E_DTYPE"),
    ("36 another rank", tensors("x", shape=[1, 1, 1]), "E_SHAPE"),
    (
        "37 another fixed size",
        v2(
            {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 3], "data": [1, 2, 3]}]},
            "embedding",
        ),
        "E_SHAPE",
    ),
    ("38 more elements than the shape", tensors("x", data=[1, 2]), "E_SHAPE"),
    ("38 fewer elements than the shape", tensors("x", data=[]), "E_SHAPE"),
    ("39 negative size", tensors("x", shape=[-1]), "E_SHAPE"),
    ("40 product beyond 2^63", tensors("x", shape=[4, 2**60 + 2]), "E_SHAPE"),
    ("41 product times size beyond 2^63", tensors("x", shape=[2, 2**60 + 2]), "E_SHAPE"),
    ("42 size of 2^63", tensors("x", shape=[2**63]), "E_SHAPE"),
    ("43 float as size", tensors("x", shape=[1.0]), "E_SHAPE"),
    ("43 text as size", tensors("x", shape=["1"]), "E_SHAPE"),
    ("43 true as size", tensors("x", shape=[True]), "E_SHAPE"),
    ("44 rank 65", tensors("x", shape=[1] * 65), "E_LIMIT"),
    ("44 rank 10,000", tensors("x", shape=[1] * 10_000), "E_LIMIT"),
    (
        "45 no rows",
        v2({"inputs": [value | {"shape": [0], "data": []} for value in INPUTS.values()]}),
        "E_EMPTY_BATCH",
    ),
    (
        "46 too many rows",
        v2(
            {
                "inputs": [
                    value | {"shape": [65], "data": value["data"] * 65} for value in INPUTS.values()
                ]
            }
        ),
        "E_BATCH",
    ),
    (
        "47 ragged lists",
        v2(
            {
                "inputs": [
                    {"name": "ids", "datatype": "INT64", "shape": [2, 2], "data": [[1, 2], [3]]}
                ]
            },
            "embedding",
        ),
        "E_SHAPE",
    ),
    ("49 a missing input", v2({"inputs": [INPUTS["x"]]}), "E_MISSING"),
    (
        "50 one more input",
        v2({"inputs": [*INPUTS.values(), INPUTS["x"] | {"name": CANARY}]}),
        "E_UNKNOWN_FIELD",
    ),
    ("50 unknown input of no type", tensors("x", name=CANARY, datatype="?"), "E_UNKNOWN_FIELD"),
    ("50 unknown input of no shape", tensors("x", name=CANARY, shape=[-1]), "E_UNKNOWN_FIELD"),
    ("51 unknown output", infer(outputs=[{"name": CANARY}]), "E_OUTPUT"),
    (
        "51 unknown output of unknown parameters",
        infer(outputs=[{"name": CANARY, "parameters": {"x": 1}}]),
        "E_OUTPUT",
    ),
    ("52 unlike rows", tensors("x", shape=[2], data=[1, 2]), "E_SHAPE"),
    (
        "53 id out of vocabulary",
        v2(
            {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 2], "data": [1, 99]}]},
            "embedding",
        ),
        "E_MODEL_INPUT",
    ),
    (
        "53 id out of vocabulary, V1",
        v1({"instances": [{"ids": [-99, 1]}]}, "embedding"),
        "E_MODEL_INPUT",
    ),
    (
        "64 shared memory",
        tensors(
            "x",
            drop="data",
            parameters={"shared_memory_region": CANARY, "shared_memory_byte_size": 4},
        ),
        "E_UNSUPPORTED",
    ),
    (
        "65 unknown parameter of an output",
        infer(outputs=[{"name": "score", "parameters": {CANARY: 1}}]),
        "E_UNSUPPORTED",
    ),
    ("a sequence", infer(parameters={"sequence_id": 7}), "E_UNSUPPORTED"),
]
SIZES = [
    Case("22 an unknown key is ignored, V2", infer(**{CANARY: 1}), 200),
    Case("22 an unknown key of an input is ignored", tensors("x", **{CANARY: 1}), 200),
    Case(
        "22 an unknown key of an output is ignored",
        infer(outputs=[{"name": "score", CANARY: 1}]),
        200,
    ),
    Case("29 __proto__ is ignored, V2", infer(__proto__={}), 200),
    Case(
        "21 deep in an unknown key, V2",
        v2(
            json.dumps({"inputs": list(INPUTS.values())}).encode()[:-1]
            + b', "z": '
            + b'{"a":' * 50_000
            + b"1"
            + b"}" * 50_001
        ),
        400,
        "E_JSON",
        within_s=2,
    ),
    Case(
        "TF Serving's columns",
        v1(
            {
                "inputs": {name: [value] for name, value in ROW.items()},
                "signature_name": "serving_default",
            }
        ),
        200,
    ),
    Case(
        "rows and columns both",
        v1({"instances": [ROW], "inputs": {name: [value] for name, value in ROW.items()}}),
        400,
        "E_SCHEMA",
    ),
    Case("another signature", v1({"instances": [ROW], "signature_name": CANARY}), 400, "E_SCHEMA"),
    Case(
        "columns of unlike length",
        v1({"inputs": {name: [value] * (1 + (name == "n")) for name, value in ROW.items()}}),
        400,
        "E_SHAPE",
    ),
    Case(
        "a column too long",
        v1({"inputs": {name: [value] * 65 for name, value in ROW.items()}}),
        400,
        "E_BATCH",
    ),
    Case("no columns", v1({"inputs": {}}), 400, "E_MISSING"),
    Case(
        "a column that the contract does not have",
        v1({"inputs": {CANARY: [1], **{name: [value] for name, value in ROW.items()}}}),
        400,
        "E_UNKNOWN_FIELD",
    ),
    Case(
        "a column that is no list",
        v1({"inputs": {name: [value] if name != "n" else CANARY for name, value in ROW.items()}}),
        400,
        "E_TYPE",
    ),
    Case(
        "a bad value in a column",
        v1({"inputs": {name: [value] if name != "n" else [300] for name, value in ROW.items()}}),
        400,
        "E_RANGE",
    ),
    Case(
        "a partial answer",
        v1({"instances": [ROW, ROW | {"n": 300}, {CANARY: 1}]}, X_Partial="1"),
        200,
    ),
    Case("a partial answer, V2", v2({"inputs": list(INPUTS.values())}, X_Partial="1"), 200),
    Case("a partial answer of a body that is none", v1(b"{", X_Partial="1"), 400, "E_JSON"),
    Case(
        "a partial answer of too many rows",
        v1({"instances": [ROW] * 65}, X_Partial="1"),
        400,
        "E_BATCH",
    ),
    Case(
        "a partial answer of columns of which one is missing",
        v2({"inputs": [INPUTS["x"]]}, X_Partial="1"),
        400,
        "E_MISSING",
    ),
    *(
        Case(f"X-Partial: {value}", v1({"instances": [ROW]}, X_Partial=value), 400, "E_PARAMETER")
        for value in ("2", "true", "", CANARY)
    ),
    Case("13 1e999", v1(GOOD.replace(b"1.5", b"1e999")), 400, "E_NONFINITE"),
    Case("14 an int of 5,000 digits", v1(GOOD.replace(b": 3", b": " + b"3" * 5000)), 400),
    Case(
        "14 an int of 5,000 digits, V2",
        v2(
            json.dumps({"inputs": [INPUTS["n"]]})
            .encode()
            .replace(b"[3]", b"[" + b"3" * 5000 + b"]")
        ),
        400,
    ),
    *(
        Case(
            f"20 depth {depth:,}",
            v1(b'{"instances": ' + b"[" * depth + b"]" * depth + b"}"),
            400,
            within_s=2,
        )
        for depth in (101, 2000, 100_000, 1_000_000)
    ),
    *(
        Case(
            f"20 depth {depth:,}, V2",
            v2(b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}"),
            400,
            within_s=2,
        )
        for depth in (101, 2000, 100_000, 1_000_000)
    ),
    Case(
        "21 deep in an unknown key",
        v1(GOOD[:-1] + b', "z": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001),
        400,
        within_s=2,
    ),
    Case("23 lone surrogate", v1(GOOD.replace(b'"a"', rb'"\ud800"')), 400),
    Case(
        "23 lone surrogate, V2",
        v2(json.dumps({"inputs": list(INPUTS.values())}).encode().replace(b'"a"', rb'"\ud800"')),
        400,
    ),
    Case("30 4 MB of []", v1(b'{"instances": [' + b"[]," * 1_300_000 + b"[]]}"), 400, grows_mb=160),
    Case(
        "30 16 MB of []",
        v1(b'{"instances": [' + b"[]," * 5_300_000 + b"[]]}"),
        413,
        "E_BODY_BYTES",
        closed=True,
    ),
    Case(
        "30 4 MB of {}, V2", v2(b'{"inputs": [' + b"{}," * 1_300_000 + b"{}]}"), 400, grows_mb=160
    ),
    Case(
        "31 many distinct keys",
        v1(b'{"instances": [{' + b",".join(b'"k%d":1' % i for i in range(250_000)) + b"}]}"),
        400,
        grows_mb=160,
    ),
    Case("46 too many rows, V1", rows(*[ROW] * 65), 400, "E_BATCH"),
    Case("45 no rows, V1", rows(), 400, "E_EMPTY_BATCH"),
    Case(
        "48 nested is as good as flat",
        v2(
            {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 2], "data": [[1, 2]]}]},
            "embedding",
        ),
        200,
    ),
    Case(
        "48 flat is as good as nested",
        v2(
            {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}]},
            "embedding",
        ),
        200,
    ),
    Case(
        "80 a missing column",
        rows({name: value for name, value in ROW.items() if name != "c"}),
        400,
        "E_MISSING",
    ),
    Case("9 a key twice: the last one counts", v1(GOOD[:-3] + b', "f": false}]}'), 200),
    Case("9 a top-level key twice: the last one counts", v1(b'{"instances": [], ' + GOOD[1:]), 200),
]
CASES = [
    *(Case(name, v1(body), 400, code) for name, body, code in SYNTAX),
    *(
        Case(f"{name}, V2", v2(body), 400, code)
        for name, body, code in SYNTAX
        if "array" not in name
    ),
    *(Case(name, rows(ROW | change), 400, code) for name, change, code in ROWS),
    *(Case(name, data, 400, code) for name, data, code in TENSORS),
    *SIZES,
]
