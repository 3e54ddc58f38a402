"""What a first load imports is there before it, where models are loaded on demand."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, sys
from seatrial_serve.models.preload import preload

preload()
print(json.dumps(sorted(sys.modules)))
"""


def test_runtimes_kinds_and_their_libraries_are_imported() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )
    assert {
        "onnxruntime", "tokenizers", "seatrial_serve.runtimes.onnx",
        "seatrial_contracts.kinds.picture",
    } <= set(json.loads(said.stdout))  # fmt: skip
