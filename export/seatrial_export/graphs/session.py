"""onnxruntime over graphs, from rows after the host stage, as a server will run them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import EncodedRow, collate, in_batches, shape_key
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.state import answer_names
from seatrial_export.graphs.weights import sealed_form

Outputs = dict[str, Array]
DATA_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where a graph that is given as bytes finds its data file."""
NO_PREPACKING = "session.disable_prepacking"


def options_for(folder: Path | None) -> ort.SessionOptions:
    """One CPU thread; weights outside of the graph lie in `folder`."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if folder is not None:
        options.add_session_config_entry(DATA_FOLDER, str(folder))
    return options


class Session:
    """One ONNX model in onnxruntime, on one CPU thread."""

    def __init__(self, model: onnx.ModelProto, *, in_place: bool = False) -> None:
        """Load the model. Raises `GateError` if onnxruntime does not.

        With `in_place` onnxruntime computes with weights outside of the graph as they are mapped.
        It is slower so, and holds no second copy of them in the order in which its kernels read.
        """
        graph, folder = sealed_form(model)
        options = options_for(folder)
        if in_place and folder is not None:
            options.add_session_config_entry(NO_PREPACKING, "1")
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises kinds of its own, all of which mean this
            raise GateError(
                "onnxruntime",
                f"it does not load the graph: {str(error)[:300]}",
                "use operations that onnxruntime has at this opset",
            ) from error
        self.outputs = [node.name for node in self._session.get_outputs()]
        takes = {node.name for node in self._session.get_inputs()}
        self.answers = answer_names(self.outputs, takes)
        """What the outputs of a bundle's graph are called where they are answers."""

    def run(self, feeds: Mapping[str, Array]) -> Outputs:
        """Arrays in, arrays out, by name; what onnxruntime raises passes."""
        return dict(zip(self.outputs, self._session.run(self.outputs, dict(feeds)), strict=True))

    def answer(self, feeds: Mapping[str, Array]) -> Outputs:
        """The same of a bundle's graph: its answers by their own names."""
        return dict(zip(self.answers, self._session.run(self.outputs, dict(feeds)), strict=True))


class Model:
    """A model graph over prepared rows."""

    def __init__(self, model: Session | onnx.ModelProto, specs: Sequence[TensorSpec]) -> None:
        self.session = model if isinstance(model, Session) else Session(model)
        self.specs = tuple(specs)

    def shape(self, row: EncodedRow) -> Any:
        """What prepared rows must share to run together."""
        return shape_key(self.specs, row)

    def run(self, rows: Sequence[EncodedRow]) -> list[Outputs]:
        """Prepared rows of like shape in one batch; one mapping for each row."""
        outputs = self.session.answer(collate(self.specs, rows))
        for name, array in outputs.items():
            if array.shape[:1] != (len(rows),):
                cause = f"output '{name}' has shape {list(array.shape)} for {len(rows)} rows"
                raise GateError("sizes", cause, "return one answer for each row, rows first")
        return [{name: array[i] for name, array in outputs.items()} for i in range(len(rows))]

    def run_in_batches(
        self, rows: Sequence[EncodedRow], size: int, most_values: int | None = None
    ) -> list[Outputs]:
        """Prepared rows in batches of `size` of like shape; answers in the rows' order.

        With `most_values` a batch has fewer rows where it would hold more numbers than that, with
        each row as long as the longest.
        """
        answers: list[Outputs] = [{}] * len(rows)
        for alike in in_batches(map(self.shape, rows), size):
            for places in bounded(rows, alike, most_values):
                batch = self.run([rows[place] for place in places])
                for place, answer in zip(places, batch, strict=True):
                    answers[place] = answer
        return answers


def bounded(
    rows: Sequence[EncodedRow], places: Sequence[int], most_values: int | None
) -> Iterator[list[int]]:
    """Yield places of rows whose batch holds at most so many numbers; a single row may hold more.

    Rows of like length stand together.
    """
    if most_values is None:
        yield list(places)
        return
    sizes = {place: sum(np.size(value) for value in rows[place]) for place in places}
    some: list[int] = []
    for place in sorted(places, key=sizes.__getitem__):
        if some and sizes[place] * (len(some) + 1) > most_values:
            yield some
            some = []
        some.append(place)
    if some:
        yield some


class PrepareStage:
    """The stage between host stage and model graph: it makes prepared rows, of one row each."""

    def __init__(
        self,
        tensors: Sequence[TensorSpec],
        specs: Sequence[TensorSpec],
        inputs: Sequence[str] = (),
        outputs: Sequence[TensorSpec] = (),
        graph: Session | onnx.ModelProto | None = None,
    ) -> None:
        """Take the shapes on both sides, and the graph between them.

        `tensors` are the host stage's outputs, `specs` the model's inputs; without a graph rows
        pass as they are.
        """
        self._tensors, self._specs, self._inputs, self._outputs = tensors, specs, inputs, outputs
        self._session = graph if graph is None or isinstance(graph, Session) else Session(graph)

    def __call__(self, row: EncodedRow) -> EncodedRow:
        """A row after the host stage to a row for the model graph."""
        values: dict[str, Any] = {
            spec.name: value for spec, value in zip(self._tensors, row, strict=True)
        }
        if self._session is not None:
            taken = {
                spec.name: np.asarray(values[spec.name], spec.array_dtype)
                for spec in self._tensors
                if spec.name in self._inputs
            }
            made = self._session.run(taken)
            values |= {
                spec.name: array for spec, array in zip(self._outputs, made.values(), strict=True)
            }
        return tuple(values[spec.name] for spec in self._specs)
