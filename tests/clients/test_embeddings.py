"""What clients that embed texts send and read: of OpenAI, Cohere, LangChain, LlamaIndex and TEI.

They are in an environment of their own (`make clients`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.embedded import CONTRACT, vector_of

from seatrial_contracts.kinds.embedding import Embedding

pytestmark = pytest.mark.slow
SHIP, KEEL = vector_of("ship"), vector_of("keel")


@pytest.fixture(scope="module")
def said(asked_by: Any) -> dict[str, Any]:
    """What each call gave."""
    found: dict[str, Any] = asked_by("embeddings")
    return found


def test_openais_client_gets_vectors_of_texts_and_ids(said: dict[str, Any]) -> None:
    got = said["openai"]
    for name in ("text", "ids"):
        assert np.allclose(got[name], [SHIP], atol=1e-6), name
    for name in ("texts", "lists of ids", "floats"):
        assert np.allclose(got[name], [SHIP, KEEL], atol=1e-6), name
    cut = [each[:8] / np.linalg.norm(each[:8]) for each in (SHIP, KEEL)]
    assert np.allclose(got["cut"], cut, atol=1e-6)
    assert got["usage"] == [12, 12]


def test_openais_client_lists_models_and_raises_its_own_errors(said: dict[str, Any]) -> None:
    got = said["openai"]
    assert "sentences" in got["models"]
    assert got["model"] == "sentences"
    assert got["errors"] == {
        "model": ["NotFoundError", "E_MODEL_NOT_FOUND", "invalid_request_error"],
        "tokens": ["BadRequestError", "E_TOKENS", "invalid_request_error"],
        "dimensions": ["BadRequestError", "E_OPTION", "invalid_request_error"],
    }


def test_coheres_client_gets_the_types_that_it_names(said: dict[str, Any]) -> None:
    got, kind = said["cohere"], CONTRACT.outputs[0].kind
    assert isinstance(kind, Embedding)
    want = np.stack([vector_of("q: ship"), vector_of("q: keel")])
    assert np.allclose(got["float"], want, atol=1e-6)
    assert np.abs(np.array(got["int8"]) - kind.formed(want, 16, "int8")).max() <= 1
    assert got["ubinary"] == np.packbits(want > 0, axis=1).tolist()
    assert got["errors"] == {"tokens": ["BadRequestError", 400]}


@pytest.mark.parametrize("client", ["langchain", "llama_index", "tei"])
def test_clients_of_openais_route_and_of_teis_get_the_same(
    said: dict[str, Any], client: str
) -> None:
    assert np.allclose(said[client], [SHIP, KEEL, SHIP], atol=1e-6)
