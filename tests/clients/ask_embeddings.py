"""Calls a server by clients that embed texts, in their own environment.

It writes what each call gave as one object of JSON.

python tests/clients/ask_embeddings.py http://127.0.0.1:8000 127.0.0.1:8001
"""

from __future__ import annotations

import json
import sys
from typing import Any

import cohere
import openai
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

MODEL, TEXTS = "sentences", ["ship", "keel"]
IDS = [[2, 22, 11, 12, 19, 3], [14, 8, 8, 15]]
"""Of the texts, with the special tokens and without them."""


def by_openai(url: str) -> dict[str, Any]:
    """OpenAI's own client."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    create = client.embeddings.create

    def vectors(given: Any, **options: Any) -> Any:
        return [each.embedding for each in create(model=MODEL, input=given, **options).data]

    usage = create(model=MODEL, input=TEXTS, user="somebody").usage
    errors = {}
    for name, options in (
        ("model", {"model": "other", "input": "a"}),
        ("tokens", {"model": MODEL, "input": "x" * 11}),
        ("dimensions", {"model": MODEL, "input": "a", "dimensions": 7}),
    ):
        try:
            create(**options)
        except openai.APIStatusError as error:
            errors[name] = [type(error).__name__, error.code, error.type]
    return {
        "text": vectors("ship"),
        "texts": vectors(TEXTS),
        "ids": vectors(IDS[0]),
        "lists of ids": vectors(IDS),
        "floats": vectors(TEXTS, encoding_format="float"),
        "cut": vectors(TEXTS, dimensions=8),
        "usage": [usage.prompt_tokens, usage.total_tokens],
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve(MODEL).id,
        "errors": errors,
    }


def by_cohere(url: str) -> dict[str, Any]:
    """Cohere's own client."""
    client = cohere.ClientV2(api_key="none", base_url=url)
    types = ["float", "int8", "ubinary"]
    found = client.embed(
        model=MODEL, texts=TEXTS, input_type="search_query", embedding_types=types
    ).embeddings
    errors = {}
    try:
        client.embed(model=MODEL, texts=["x" * 40], input_type="search_query")
    except cohere.core.ApiError as error:
        errors["tokens"] = [type(error).__name__, error.status_code]
    return {
        "float": found.float_, "int8": found.int8, "ubinary": found.ubinary, "errors": errors,
    }  # fmt: skip


def by_langchain(url: str) -> Any:
    """LangChain's client of OpenAI's route.

    It sends ids of OpenAI's own tokenizer unless it is told to send texts.
    """
    client = OpenAIEmbeddings(
        model=MODEL, base_url=f"{url}/v1", api_key="none", check_embedding_ctx_length=False
    )
    return [*client.embed_documents(TEXTS), client.embed_query("ship")]


def by_llama_index(url: str) -> Any:
    """LlamaIndex's client of OpenAI's route."""
    client = OpenAIEmbedding(model_name=MODEL, api_base=f"{url}/v1", api_key="none")
    return [*client.get_text_embedding_batch(TEXTS), client.get_query_embedding("ship")]


def by_tei(url: str) -> Any:
    """LlamaIndex's client of text-embeddings-inference."""
    client = TextEmbeddingsInference(model_name=MODEL, base_url=url, truncate_text=False)
    return [*client.get_text_embedding_batch(TEXTS), client.get_text_embedding("ship")]


def main(url: str) -> None:
    said = {
        "openai": by_openai(url),
        "cohere": by_cohere(url),
        "langchain": by_langchain(url),
        "llama_index": by_llama_index(url),
        "tei": by_tei(url),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
