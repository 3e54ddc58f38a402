"""Graphs through files, for libraries that read and write nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx


def through_files(model: onnx.ModelProto, work: Callable[[Path, Path], None]) -> onnx.ModelProto:
    """What `work` writes to its second path when the model lies at the first."""
    with tempfile.TemporaryDirectory(prefix="seatrial.") as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "made.onnx")
        onnx.save(model, source)
        work(source, target)
        return onnx.load(target)
