"""Hugging Face's client against a real server, as docs/how-to/client-routes.md has it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from huggingface_hub import InferenceClient, close_session, set_client_factory
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from huggingface_hub.utils._http import default_client_factory
from refusals.sealed import picture, seal
from support.embedded import vector_of
from support.pages import page

pytestmark = pytest.mark.slow
PAGE, URL = page("how-to/client-routes.md"), "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def online() -> Iterator[None]:
    """The client's own session asks nobody where the environment says that it is offline."""
    set_client_factory(httpx2.Client)
    yield
    close_session()
    set_client_factory(default_client_factory)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> str:
    folder: Path = tmp_path_factory.mktemp("hugging_face")
    seal(folder)
    server = serve(folder, "--default-model", "sentences")
    assert server.wait_until_loaded()[0] == 200
    return str(server.url)


def test_the_lines_of_the_page_work(url: str) -> None:
    [line] = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    command = shlex.split(line.replace(URL, url))
    ran = subprocess.run(command, capture_output=True, check=True, timeout=60, env=dict(os.environ))
    assert b'"object":"list"' in ran.stdout
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {}
    exec(block.replace(URL, url), found)
    ship, boat = vector_of("a ship"), vector_of("a boat")
    assert np.allclose(found["vectors"], [ship, boat], atol=1e-6)
    assert found["cosines"][0] == pytest.approx(float(ship @ boat), abs=1e-6)


@pytest.mark.parametrize("path", ["/hf/sentences", "", "/embed"])
def test_texts_are_embedded_by_each_url_that_the_client_may_have(url: str, path: str) -> None:
    client = InferenceClient(base_url=url + path, token="none")
    assert np.allclose(client.feature_extraction("ship"), [vector_of("ship")], atol=1e-6)
    with pytest.raises(BadRequestError, match="option 'prompt': got another word"):
        client.feature_extraction("ship", prompt_name="title")


def test_sentences_are_compared_by_teis_route(url: str) -> None:
    client = InferenceClient(model=f"{url}/similarity", token="none")
    want = float(vector_of("ship") @ vector_of("keel"))
    assert client.sentence_similarity("ship", ["keel"]) == pytest.approx([want], abs=1e-6)


def test_a_picture_is_sent_as_its_bytes_and_with_parameters_in_base64(
    url: str, tmp_path: Path
) -> None:
    client = InferenceClient(model=f"{url}/hf/colours", token="none")
    file = tmp_path / "gray.png"
    file.write_bytes(picture())
    both = client.image_classification(picture())
    assert [(each.label, each.score) for each in both] == [
        ("dark", pytest.approx(1 - 40 / 255)), ("bright", pytest.approx(40 / 255)),
    ]  # fmt: skip
    assert client.image_classification(file) == both
    assert client.image_classification(file, top_k=1) == both[:1]
    with pytest.raises(HfHubHTTPError, match="image"):
        client.image_classification(b"no picture")


def test_labels_of_a_request_are_scored_by_a_model_of_pairs(url: str) -> None:
    client = InferenceClient(model=f"{url}/hf/pairs", token="none")
    found = client.zero_shot_classification("sea", ["trial", "sea"], hypothesis_template="{}")
    assert [each.label for each in found] == ["trial", "sea"]
    assert sum(each.score for each in found) == pytest.approx(1)
