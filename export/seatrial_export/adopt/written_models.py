"""Models of scikit-learn's that are written into the graph here: skl2onnx writes them wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np

from seatrial_export.adopt.written_steps import Writer, WrittenStep


class Layers(WrittenStep):
    """MLPRegressor, layer by layer.

    skl2onnx 1.20 writes several answers of a row below each other, and no exponential.
    """

    def __init__(self, network: Any, dtype: str) -> None:
        self.layers = list(zip(network.coefs_, network.intercepts_, strict=True))
        self.hidden, self.last = (
            ACTIVATIONS[name] for name in (network.activation, network.out_activation_)
        )
        self.width, self.dtype = int(network.n_outputs_), dtype

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        value = writer.whole()
        for place, (weights, bias) in enumerate(self.layers):
            summed = writer.add("MatMul", value, writer.constant(weights))
            value = writer.add("Add", summed, writer.constant(bias[None]))
            operator = self.last if place == len(self.layers) - 1 else self.hidden
            value = writer.add(operator, value)
        return value


ACTIVATIONS = {
    "identity": "Identity",
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "exp": "Exp",
}
"""Of scikit-learn's networks: name -> operator."""


class Distances(WrittenStep):
    """The distances from the centres of clusters, which KMeans hands on to further steps.

    skl2onnx 1.20 hands on the number of the nearest.
    """

    def __init__(self, clusters: Any, dtype: str) -> None:
        self.centres = np.asarray(clusters.cluster_centers_, np.float64)
        self.width, self.dtype = len(self.centres), dtype

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        values, ones = writer.whole(), writer.constant(np.ones((self.centres.shape[1], 1)))
        apart = [writer.add("Sub", values, writer.constant(each[None])) for each in self.centres]
        squares = [writer.add("Mul", value, value) for value in apart]
        return writer.beside(
            [writer.add("Sqrt", writer.add("MatMul", value, ones)) for value in squares]
        )
