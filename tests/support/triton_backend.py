"""Triton's `triton_python_backend_utils`, as far as our Python-backend models use it.

An answer is checked against the model's configuration, as Triton checks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import np_to_triton_dtype

Array = np.ndarray[Any, Any]


class Tensor:
    def __init__(self, name: str, array: Array) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array


class TritonError(Exception):
    INVALID_ARG, INTERNAL, UNAVAILABLE = "invalid", "internal", "unavailable"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        super().__init__(message)
        self.code = code


class InferenceResponse:
    def __init__(self, tensors: Sequence[Tensor], error: TritonError | None = None) -> None:
        self.tensors, self.error = tensors, error


class Logger:
    @staticmethod
    def log_error(message: str) -> None:
        raise AssertionError(message)


class Request:
    def __init__(self, tensors: Mapping[str, Array], wanted: Sequence[str]) -> None:
        self._tensors = [Tensor(name, array) for name, array in tensors.items()]
        self._wanted = wanted

    def inputs(self) -> list[Tensor]:
        return self._tensors

    def requested_output_names(self) -> Sequence[str]:
        return self._wanted


def backend_module(patch: pytest.MonkeyPatch) -> None:
    """Let the module be imported, as inside Triton."""
    module = ModuleType("triton_python_backend_utils")
    for each in (Tensor, TritonError, InferenceResponse, Logger):
        setattr(module, each.__name__, each)
    patch.setitem(__import__("sys").modules, module.__name__, module)


def config_of(repository: Path, name: str) -> Any:
    """A model's configuration, read by Triton's own protobuf."""
    text = (repository / name / "config.pbtxt").read_text("utf-8")
    return text_format.Parse(text, pb.ModelConfig())


class InProcess:
    """A Python-backend model of a repository, in this process."""

    def __init__(self, repository: Path, name: str, what: str) -> None:
        self.config = config_of(repository, name)
        version = max(path.name for path in (repository / name).iterdir() if path.name.isdigit())
        self.model = import_module(f"seatrial_serve.triton.{what}").TritonPythonModel()
        self.model.initialize(
            {"model_repository": str(repository / name), "model_version": version}
        )

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors to tensors, rows first, both as the configuration has them."""
        check(self.config.input, given)
        wanted = [each.name for each in self.config.output]
        [response] = self.model.execute([Request(given, wanted)])
        if response.error is not None:
            raise response.error
        found = {tensor.name(): tensor.as_numpy() for tensor in response.tensors}
        check(self.config.output, found)
        return found


def check(declared: Any, tensors: Mapping[str, Array]) -> None:
    """Name, type and sizes are the configuration's; a size of -1 is any."""
    assert set(tensors) <= {each.name for each in declared}
    for each in declared:
        if each.name not in tensors:
            assert each.optional, each.name
            continue
        array = tensors[each.name]
        kind = np_to_triton_dtype(array.dtype).replace("BYTES", "STRING")
        assert pb.DataType.Name(each.data_type) == f"TYPE_{kind}", each.name
        sizes = list(each.dims)
        assert len(sizes) == array.ndim - 1, each.name
        assert all(want in (-1, got) for want, got in zip(sizes, array.shape[1:], strict=True))
