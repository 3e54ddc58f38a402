"""Triton's model configurations, as messages of its own protobuf, from a bundle's contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import MissingExtra
from seatrial_serve.inference.pace import Pace
from seatrial_serve.runtimes.onnx.providers import PRECISE, SWIFT
from seatrial_serve.runtimes.triton_naming import digest_key, front_name, graph_name, triton_version
from seatrial_serve.runtimes.triton_types import answered, wide

try:
    from tritonclient.grpc import model_config_pb2 as pb
except ImportError as error:
    raise MissingExtra("writing for Triton", "triton") from error

Config = Any
"""`inference.ModelConfig`; tritonclient has no types."""
Backend = Literal["onnxruntime", "python"]
TRT_WORKSPACE_BYTES = 2**30


@dataclass(frozen=True)
class Placing:
    """Where and how Triton is to run the graph."""

    backend: Backend = "onnxruntime"
    device: Literal["cpu", "gpu"] = "cpu"
    instances: int = 1
    accelerator: Literal["cuda", "tensorrt"] = "cuda"
    max_wait_s: float = 0.0


def whole_config(bundles: Mapping[int, Bundle], placing: Placing, pace: Pace) -> Config:
    """The model that opens the bundle and answers raw tensors by itself, on the Python backend."""
    bundle = newest(bundles)
    config = raw_config(bundle.name, bundles)
    config.backend = "python"
    place(config, placing)
    batch(config, bundle, pace, placing)
    return config


def ensemble_config(bundle: Bundle) -> Config:
    """Front and graph, one after the other, under the model's own name."""
    number = triton_version(bundle.version)
    config = raw_config(bundle.name, {number: bundle})
    config.platform = "ensemble"
    front, graph = config.ensemble_scheduling.step.add(), config.ensemble_scheduling.step.add()
    front.model_name, graph.model_name = front_name(bundle.name), graph_name(bundle.name)
    front.model_version = graph.model_version = number
    for raw in bundle.contract.raw_tensors:
        front.input_map[raw] = raw
    for spec in bundle.specs:
        front.output_map[spec.name] = graph.input_map[spec.name] = f"encoded.{spec.name}"
    for name in bundle.contract.graph_answers.values():
        graph.output_map[name] = name
    return config


def front_config(bundle: Bundle, placing: Placing) -> Config:
    """Raw tensors to what the graph takes, by the contract: on the Python backend, on the CPU."""
    config = raw_config(front_name(bundle.name), {triton_version(bundle.version): bundle})
    config.backend = "python"
    del config.output[:]
    add_tensors(
        config.output,
        ((f"{spec.name}", V2_DATATYPES[spec.dtype], spec.dims) for spec in bundle.specs),
    )
    place(config, Placing(instances=placing.instances))
    return config


def graph_config(bundles: Mapping[int, Bundle], placing: Placing, pace: Pace) -> Config:
    """Return the configuration of the graph alone.

    A single value for each row is `[rows, 1]` outside and `[rows]` for the graph.
    """
    bundle = newest(bundles)
    config = base_config(graph_name(bundle.name), bundles)
    config.backend = placing.backend
    config.default_model_filename = "model.onnx" if placing.backend == "onnxruntime" else "model.py"
    for spec in bundle.specs:
        add_tensors(config.input, [(spec.name, V2_DATATYPES[spec.dtype], spec.dims)], reshape=True)
    add_tensors(config.output, answers(bundle), reshape=True)
    place(config, placing)
    batch(config, bundle, pace, placing)
    if placing.backend == "onnxruntime" and placing.device == "gpu":
        accelerate(config, placing.accelerator)
    if placing.backend == "onnxruntime" and placing.device == "cpu":
        config.parameters["intra_op_thread_count"].string_value = "1"
    return config


def base_config(name: str, bundles: Mapping[int, Bundle]) -> Config:
    """Name, versions, rows, and the digest of each version."""
    bundle = newest(bundles)
    config = pb.ModelConfig(name=name)
    config.max_batch_size = bundle.contract.limits.max_rows if bundle.manifest.batchable else 1
    config.version_policy.specific.versions.extend(sorted(bundles))
    for number, each in bundles.items():
        config.parameters[digest_key(number)].string_value = each.digest
    return config


def raw_config(name: str, bundles: Mapping[int, Bundle]) -> Config:
    """Return a model that takes the contract's raw inputs, small whole numbers as INT64.

    Inputs that may be missing are optional.
    """
    bundle, config = newest(bundles), base_config(name, bundles)
    for raw in bundle.contract.raw_tensors.values():
        add_tensors(config.input, [(raw.name, wide(raw.datatype), raw.row_shape)])
        config.input[-1].optional = raw.optional
    add_tensors(config.output, answers(bundle))
    return config


def answers(bundle: Bundle) -> Iterable[tuple[str, str, Iterable[int | None]]]:
    """The graph's answers by name, Triton's V2 datatype and sizes of one row.

    An ensemble cannot call an input and an output alike, so the names are those of the graph.
    """
    names = bundle.contract.graph_answers
    for tensor in bundle.contract.answer_tensors:
        yield names[tensor.name], answered(tensor.datatype), tensor.shape


def add_tensors(
    tensors: Any,
    named: Iterable[tuple[str, str, Iterable[int | str | None]]],
    reshape: bool = False,
) -> None:
    """Add tensors by name, V2 datatype and sizes of one row.

    A size that varies is a name or None.
    """
    for name, datatype, sizes in named:
        dims = [size if isinstance(size, int) else -1 for size in sizes]
        tensor = tensors.add(name=name, data_type=data_type(datatype), dims=dims or [1])
        if reshape and not dims:
            tensor.reshape.SetInParent()


def data_type(datatype: str) -> int:
    """Triton's number for a V2 datatype."""
    return int(pb.DataType.Value("TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"))


def place(config: Config, placing: Placing) -> None:
    """Instances on the CPU or the GPU."""
    kind = (
        pb.ModelInstanceGroup.KIND_GPU
        if placing.device == "gpu"
        else pb.ModelInstanceGroup.KIND_CPU
    )
    config.instance_group.add(kind=kind, count=placing.instances)


def batch(config: Config, bundle: Bundle, pace: Pace, placing: Placing) -> None:
    """Set dynamic batches of the size that the load gate found to pay, if rows may run together."""
    if bundle.manifest.batchable:
        config.dynamic_batching.preferred_batch_size.append(
            min(pace.best_rows, config.max_batch_size)
        )
        config.dynamic_batching.max_queue_delay_microseconds = round(placing.max_wait_s * 1e6)


def accelerate(config: Config, name: str) -> None:
    """TensorRT with a cache of its engines, or CUDA's own provider: https://github.com/triton-inference-server/onnxruntime_backend."""
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(
        name=name
    )
    if name == "tensorrt":
        accelerator.parameters["precision_mode"] = "FP32"
        accelerator.parameters["max_workspace_size_bytes"] = str(TRT_WORKSPACE_BYTES)
        accelerator.parameters["trt_engine_cache_enable"] = "1"
        accelerator.parameters["trt_engine_cache_path"] = f"/tmp/{config.name}"  # noqa: S108  (a folder of the container's)
    else:
        for option, value in (PRECISE | SWIFT).items():
            accelerator.parameters[option] = value


def newest(bundles: Mapping[int, Bundle]) -> Bundle:
    """The bundle of the highest version."""
    return bundles[max(bundles)]
