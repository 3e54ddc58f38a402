"""A bundle's graph alone on Triton's Python backend, for a front before it.

The front is an ensemble's, or our server's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seatrial_serve.inference.engine import load_graph
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.triton.exchange import opened, write_error, write_outputs


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, arguments: Mapping[str, str]) -> None:
        """Open the bundle and load its graph."""
        bundle = opened(arguments)
        variant = bundle.manifest.variants[0]
        self.specs, self.answers = bundle.specs, bundle.contract.graph_answers
        load = runtimes()[variant.format]
        self.runtime = load_graph(bundle, variant.graph, RuntimeOptions(), load)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request; shapes may differ between them, so each runs alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            feeds = {
                spec.name: words(given[spec.name]) if spec.dtype == "string" else given[spec.name]
                for spec in self.specs
            }
            made = self.runtime.run(feeds)
            outputs = {self.answers.get(name, name): array for name, array in made.items()}
            return write_outputs(outputs, request.requested_output_names())
        except Exception as error:  # becomes the answer of this request
            return write_error(error)


def words(array: Any) -> Any:
    """Bytes to strings, as onnxruntime takes them."""
    return np.array([word.decode() for word in array.ravel().tolist()], object).reshape(array.shape)
