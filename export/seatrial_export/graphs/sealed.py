"""The graphs of a sealed bundle, as the export side works on them."""

from __future__ import annotations

from pathlib import Path

import onnx

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.manifest import data_name
from seatrial_export.graphs.weights import outside_of, place_of, put_outside


def read_graph(bundle: Bundle, name: str) -> onnx.ModelProto:
    """A graph of a bundle, which may be one that is not written yet.

    Weights in a data file stay there. Raises `BundleError` where a file is not as it was sealed.
    """
    model: onnx.ModelProto = onnx.load_from_string(bundle.files[name])
    outside = outside_of(model)
    path = bundle.data[data_name(name)].resolve() if outside else Path()
    for tensor in outside:
        put_outside(tensor, place_of(tensor)._replace(path=path))
    return model
