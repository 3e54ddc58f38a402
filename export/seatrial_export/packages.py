"""Model packages of onnxruntime, `NAME.ortpackage`: written from bundles, and read.

onnxruntime's own library has the format (schema 1.0): a manifest, components, variants with one
execution provider each, and shared assets that are named by their content.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime as ort

from seatrial_contracts.bundle import MANIFEST, Bundle, open_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import ONNX

SUFFIX = ".ortpackage"
CPU = "CPUExecutionProvider"
NAMESPACE, MODEL_FILE, GRAPH = "ort", "model_file", "model.onnx"
SEALED = "seatrial_bundle"
"""In the manifest's further metadata: the shared asset that holds the rest of a bundle."""
MODEL, PREPARE = "model", "prepare"
"""Components of a bundle: its graph, and the graph of one row before it."""
OPENS = "onnxruntime>=1.32"
