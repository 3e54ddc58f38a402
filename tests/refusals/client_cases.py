"""Routes of other projects' clients: bad bodies, told in the shape of each protocol."""

from __future__ import annotations

import base64
import json
from typing import Any

from refusals.case import CANARY, Case, request
from refusals.sealed import picture

MOST_ROWS = 1024
MANY = ["sea"] * (MOST_ROWS + 1)
TEI = ("/embed", "/embed_all", "/embed_sparse", "/predict", "/similarity", "/tokenize", "/rerank")
OPENAI = "/v1/embeddings"
FORECAST = "/v1/timeseries/forecast"
SHAPES = {
    OPENAI: "openai", FORECAST: "kserve", "/v2/embed": "cohere", "/v2/rerank": "cohere",
    "/v1/rerank": "jina",
    **dict.fromkeys(TEI, "tei"),
}  # fmt: skip


def case(name: str, path: str, body: Any, code: str, status: int = 400, **headers: str) -> Case:
    """A POST whose answer has the shape of the path's protocol."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    shape = SHAPES.get(path, "")
    return Case(f"{path}: {name}", request(path, data, named), status, code, shape=shape)


def of_bodies(path: str) -> list[Case]:
    """What no route reads."""
    return [
        case("no object", path, [CANARY], "E_SCHEMA"),
        case("text/plain", path, b"sea", "E_CONTENT_TYPE", 415, Content_Type="text/plain"),
        case("an unknown encoding", path, b"x", "E_CONTENT_ENCODING", 415, Content_Encoding="br"),
        case("an unknown key", path, {"inputs": "a", CANARY: CANARY}, "E_SCHEMA"),
        Case(f"{path}: another method", request(path, method="GET"), 405, "E_METHOD",
             shape=SHAPES.get(path, "")),
    ]  # fmt: skip


SERIES = {
    "inputs": [{"type": "univariate_time_series", "name": "a", "series": [1.0], "frequency": "D"}],
    "options": {"horizon": 1},
}
PICTURE = base64.b64encode(picture()).decode()
COHERE_TEXTS = {"model": "sentences", "input_type": "clustering"}
RANKS = {"model": "pairs", "query": "sea", "documents": ["trial"]}
CASES = [
    *(case("no JSON", path, b'{"inputs": "canary7f3a9c"', "E_JSON") for path in SHAPES),
    *(each for path in (OPENAI, "/hf/sentences") for each in of_bodies(path)),
    case("an unknown model", OPENAI, {"input": "a", "model": CANARY}, "E_MODEL_NOT_FOUND", 404),
    case("a model of numbers", OPENAI, {"input": "a", "model": "tabular"}, "E_UNSUPPORTED"),
    case("a number for a text", OPENAI, {"input": 7, "model": "sentences"}, "E_SCHEMA"),
    case("no texts", OPENAI, {"input": [], "model": "sentences"}, "E_EMPTY_BATCH"),
    case("too many texts", OPENAI, {"input": ["a"] * 1025, "model": "sentences"}, "E_BATCH"),
    case("a size that is not there", OPENAI, {"input": "a", "dimensions": 7}, "E_OPTION"),
    case("ids of no text", OPENAI, {"input": [[2**40]], "model": "sentences"}, "E_TOKENS"),
    case("an id below 0", OPENAI, {"input": [-1], "model": "sentences"}, "E_TOKENS"),
    case("an id beyond 64 bits", OPENAI, b'{"input": [18446744073709551616]}', "E_SCHEMA"),
    case("a text too long", OPENAI, {"input": "a" * 41, "model": "sentences"}, "E_TEXT_LIMIT"),
    case("partial answers", OPENAI, {"input": "a"}, "E_UNSUPPORTED", X_Partial="1"),
    case("half a character", OPENAI, b'{"input": "\\ud800"}', "E_JSON"),
    *of_bodies(FORECAST),
    case("a model of numbers", FORECAST, SERIES | {"model": "tabular"}, "E_UNSUPPORTED"),
    case("an unknown model", FORECAST, SERIES | {"model": CANARY}, "E_MODEL_NOT_FOUND", 404),
    case("no options", FORECAST, {"model": "tabular", "inputs": []}, "E_SCHEMA"),
    case("no input type", "/v2/embed", {"texts": ["a"], "model": "sentences"}, "E_SCHEMA"),
    case("an unknown model", "/v2/embed", COHERE_TEXTS | {"model": CANARY, "texts": ["a"]},
         "E_MODEL_NOT_FOUND", 404),
    case("a type that is none", "/v2/embed", COHERE_TEXTS | {
        "texts": ["a"], "embedding_types": [CANARY]}, "E_SCHEMA"),
    case("a size that is not there", "/v2/embed", COHERE_TEXTS | {
        "texts": ["a"], "output_dimension": 7}, "E_OPTION"),
    case("too many texts", "/v2/embed", COHERE_TEXTS | {"texts": ["a"] * 1025}, "E_BATCH"),
    *(
        each
        for path in ("/v1/rerank", "/v2/rerank")
        for each in (
            case("an unknown model", path, RANKS | {"model": CANARY}, "E_MODEL_NOT_FOUND", 404),
            case("a model of texts", path, RANKS | {"model": "sentences"}, "E_UNSUPPORTED"),
            case("a number for a query", path, RANKS | {"query": 7}, "E_SCHEMA"),
            case("no documents", path, RANKS | {"documents": []}, "E_EMPTY_BATCH"),
            case("too many documents", path, RANKS | {"documents": MANY}, "E_BATCH"),
            case("the best 0", path, RANKS | {"top_n": 0}, "E_SCHEMA"),
            case("a document too long", path, RANKS | {"documents": ["a" * 201]}, "E_TEXT_LIMIT"),
        )
    ),
    case("too many texts", "/embed", {"inputs": ["a"] * 1025}, "E_BATCH"),
    case("a size that is not there", "/embed", {"inputs": "a", "dimensions": 7}, "E_OPTION"),
    case("a prompt that is not there", "/embed", {"inputs": "a", "prompt_name": CANARY},
         "E_OPTION"),
    case("not normalised", "/embed", {"inputs": "a", "normalize": False}, "E_OPTION"),
    case("no sentences", "/similarity", {"inputs": {"source_sentence": CANARY, "sentences": []}},
         "E_SCHEMA"),
    case("ranks of a model of texts", "/rerank", {"query": "a", "texts": ["a"]}, "E_UNSUPPORTED"),
    case("labels of a model of vectors", "/predict", {"inputs": "a"}, "E_UNSUPPORTED"),
    case("terms of a model of vectors", "/embed_sparse", {"inputs": "a"}, "E_UNSUPPORTED"),
    case("tokens of a model of texts", "/embed_all", {"inputs": "a"}, "E_UNSUPPORTED"),
    case("too many texts", "/tokenize", {"inputs": ["a"] * 1025}, "E_BATCH"),
    case("an unknown model", f"/hf/{CANARY}", {"inputs": "a"}, "E_MODEL_NOT_FOUND", 404),
    case("a model of no task", "/hf/tabular", {"inputs": "a"}, "E_UNSUPPORTED"),
    case("a picture for no task", "/hf/photo", b"\x89PNG", "E_UNSUPPORTED",
         Content_Type="image/png"),
    case("a picture for texts", "/hf/sentences", b"\x89PNG", "E_CONTENT_TYPE", 415,
         Content_Type="image/png"),
    case("no JSON", "/hf/sentences", b"canary7f3a9c", "E_JSON"),
    case("an unknown parameter", "/hf/pairs", {
        "inputs": "sea", "parameters": {"candidate_labels": ["a"], CANARY: 1}}, "E_SCHEMA"),
    case("a number for a text", "/hf/sentences", {"inputs": 7}, "E_SCHEMA"),
    case("too many texts", "/hf/sentences", {"inputs": ["a"] * 1025}, "E_BATCH"),
    case("too many labels", "/hf/pairs", {
        "inputs": "sea", "parameters": {"candidate_labels": MANY}}, "E_BATCH"),
    case("no labels", "/hf/pairs", {"inputs": "sea", "parameters": {"candidate_labels": []}},
         "E_EMPTY_BATCH"),
    case("a template without a place", "/hf/pairs", {
        "inputs": "sea",
        "parameters": {"candidate_labels": ["a"], "hypothesis_template": CANARY}}, "E_SCHEMA"),
    case("a size that is not there", "/hf/sentences", {"inputs": "a", "dimensions": 7},
         "E_OPTION"),
    case("no picture", "/hf/colours", b"sea", "E_IMAGE_FORMAT", 415, Content_Type="image/png"),
    case("no picture, no type", "/hf/colours", b"sea", "E_IMAGE_FORMAT", 415, Content_Type=""),
    case("no base64", "/hf/colours", {"inputs": f"{CANARY}!"}, "E_BASE64"),
    case("a text for a picture", "/hf/colours", {"inputs": base64.b64encode(b"sea").decode()},
         "E_IMAGE_FORMAT", 415),
    case("the best 3 of two", "/hf/colours", {"inputs": PICTURE, "parameters": {"top_k": 3}},
         "E_OPTION"),
    case("another function", "/hf/colours", {
        "inputs": PICTURE, "parameters": {"function_to_apply": "softmax"}}, "E_OPTION"),
    case("partial answers", "/hf/sentences", {"inputs": "a"}, "E_UNSUPPORTED", X_Partial="1"),
    case("no inputs", "/", {}, "E_SCHEMA"),
    *(
        Case(f"{path}: another method", request(path, method="GET"), 405, "E_METHOD",
             shape=SHAPES[path])
        for path in ("/v2/embed", "/v1/rerank", "/embed")
    ),
]  # fmt: skip
