"""Requests of numbers of 16 bits, as tritonclient writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from tritonclient import http as over_http

from support.running import Running


def body_of(
    datatype: str, dtype: Any, wide: Sequence[float], outputs: Sequence[Any], **parameters: Any
) -> tuple[bytes, dict[str, str]]:
    """A row of a number `x`, 0.1, and of a tensor `wide`; body and headers."""
    values = {"x": np.array([[0.1]], dtype), "wide": np.array([wide], dtype)}
    inputs = []
    for name, value in values.items():
        inputs.append(over_http.InferInput(name, list(value.shape), datatype))
        inputs[-1].set_data_from_numpy(value)
    made, size = over_http.InferenceServerClient.generate_request_body(
        inputs, outputs=outputs or None, **parameters
    )
    return made, {"Inference-Header-Content-Length": str(size)}


async def infer(served: Running, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """The answer of the model called `made`."""
    return await served.client.post("/v2/models/made/infer", content=content, headers=headers)
