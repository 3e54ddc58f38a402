"""The library's own pipeline behind plain FastAPI and uvicorn, as most people write it.

    python benchmarks/zoo/peer.py FOLDER TASK PORT

The pipeline is the one that judged the bundle (transformers' pipeline, SentenceTransformer,
CrossEncoder), in a thread, on one core. Files come as base64 in JSON, as they do to seatrial.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from seatrial_export.hub.folder import quiet
from seatrial_export.hub.from_pretrained import read_hub_model


class Asked(BaseModel):
    """The body of V1."""

    instances: list[dict[str, Any]]


def plain(value: Any) -> Any:
    """An answer as JSON has it."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def opened(value: Any, is_file: bool) -> Any:
    """A file's bytes, or the value as it is."""
    return base64.b64decode(value) if is_file else value


def main() -> None:
    """Serve until the end."""
    folder, task, port = sys.argv[1:]
    torch.set_num_threads(1)
    with quiet():
        reading = read_hub_model(folder, task=task).reading
    judge = reading.judge.value
    files = {name for name, field in reading.inputs.items() if field.annotation is bytes}
    app = FastAPI()

    @app.post("/predict")
    def predict(asked: Asked) -> dict[str, Any]:
        rows = [
            {name: opened(value, name in files) for name, value in row.items()}
            for row in asked.instances
        ]
        answers = judge(rows)
        return {
            "predictions": [
                {name: plain(value) for name, value in answer.items()} for answer in answers
            ]
        }

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main()
