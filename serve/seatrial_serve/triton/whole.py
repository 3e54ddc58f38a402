"""A whole bundle on Triton's Python backend: contract, host stage, prepare and graph.

It runs by the engine that our server runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.errors import ModelError, Refusal
from seatrial_contracts.host_stage import EncodedRow, in_batches
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.inference.load_gate import LoadGate
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.triton.exchange import opened, read_rows, write_error, write_outputs


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, arguments: Mapping[str, str]) -> None:
        """Open, load, and replay the golden rows.

        Raises `ModelError` if one is answered wrongly: Triton does not serve it then.
        """
        self.engine = load_engine(opened(arguments), RuntimeOptions())
        for trial in LoadGate(self.engine).replay():
            if not trial.passed:
                raise ModelError("E_LOAD_GATE", trial.finding)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response for each request.

        The rows of all run together, and what is refused fails its own request alone.
        """
        encoded: list[list[EncodedRow] | Exception] = [
            self._encode(request) for request in requests
        ]
        try:
            answers = iter(
                run_rows(
                    self.engine, [row for rows in encoded if isinstance(rows, list) for row in rows]
                )
            )
        except Exception as error:  # becomes the answer of the requests that it is about
            if len(requests) > 1:
                return [response for request in requests for response in self.execute([request])]
            return [write_error(error)]
        return [
            write_error(rows)
            if isinstance(rows, Exception)
            else self._answer([next(answers) for _ in rows], request.requested_output_names())
            for rows, request in zip(encoded, requests, strict=True)
        ]

    def _encode(self, request: Any) -> list[EncodedRow] | Exception:
        try:
            rows = read_rows(request, self.engine.contract)
            return [self.engine.encode(row, place) for place, row in enumerate(rows)]
        except Exception as error:  # becomes the answer of this request
            return error

    def _answer(self, answers: Sequence[Mapping[str, Array]], wanted: Sequence[str]) -> Any:
        if len({tuple(array.shape for array in answer.values()) for answer in answers}) > 1:
            return write_error(
                Refusal(
                    "E_SHAPE",
                    "outputs",
                    "answers of unlike shape",
                    "rows of like shape in one request",
                )
            )
        names = self.engine.contract.graph_answers
        columns = {
            graphs: np.stack([answer[name] for answer in answers]) for name, graphs in names.items()
        }
        return write_outputs(columns, wanted)


def run_rows(engine: Engine, rows: Sequence[EncodedRow]) -> list[dict[str, Array]]:
    """Encoded rows to one answer each; those of like shape run together where that is allowed."""
    if not engine.bundle.manifest.batchable:
        return engine.answer_encoded(rows, ([place] for place in range(len(rows))))
    keys = (engine.batch_key(row)[0] for row in rows)
    return engine.answer_encoded(rows, in_batches(keys, len(rows)))
