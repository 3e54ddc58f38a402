"""The front of an ensemble on Triton's Python backend: contract, host stage and prepare.

With it raw input works and bad input is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import collate, shape_key
from seatrial_serve.inference.engine import load_prepare
from seatrial_serve.inference.row_encoder import RowEncoder
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.triton.exchange import opened, read_rows, write_error, write_outputs


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, arguments: Mapping[str, str]) -> None:
        """Open the bundle and load its host stage; the model's graph is the next step's."""
        bundle = opened(arguments)
        prepare = load_prepare(bundle, RuntimeOptions())
        self.engine = RowEncoder(bundle, bundle.make_front(), prepare)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        engine = self.engine
        try:
            rows = [
                engine.encode(row, place)
                for place, row in enumerate(read_rows(request, engine.contract))
            ]
            if len({shape_key(engine.specs, row) for row in rows}) > 1:
                raise Refusal(
                    "E_SHAPE", "inputs", "rows of unlike shape", "rows of like shape in one request"
                )
            return write_outputs(collate(engine.specs, rows))
        except Exception as error:  # becomes the answer of this request
            return write_error(error)
