"""The options of onnxruntime's providers, and the execution receipt.

The receipt holds what onnxruntime really made of the options.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime as ort

from seatrial_contracts.errors import ModelError, OutOfMemory
from seatrial_serve.runtimes.onnx.errors import our_error
from seatrial_serve.runtimes.runtime import RuntimeOptions

log = logging.getLogger("seatrial.runtime")
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
PRECISE = {"use_tf32": "0"}
"""By itself CUDA's provider multiplies float32 with ten bits of the mantissa.

None of the examples passes its load gate so (errors of 1e-4).
"""
SWIFT = {"cudnn_conv_algo_search": "HEURISTIC"}
"""By itself CUDA's provider tries every kernel out if a batch has another size.

That takes 2 to 6 times as long as cuDNN's heuristic, for kernels no faster (H200).
"""
OPTION = re.compile(r"\boption\b", re.IGNORECASE)
HEAVY = re.compile(r"Conv|MatMul|Gemm|Attention|LSTM|GRU|RNN")
"""Operators that a device is there for.

Others, lookups of words and arithmetic on shapes, onnxruntime itself leaves on the CPU.
"""


def check_known(options: RuntimeOptions) -> None:
    """Raise `ModelError` if this onnxruntime has no such provider.

    onnxruntime would leave the provider out with a warning and take the next.
    """
    for name in options.providers:
        if name not in ort.get_all_providers():
            known = ", ".join(each for each in (CPU, CUDA, TENSORRT))
            raise ModelError(
                "E_PROVIDER",
                f"asked for '{name}', which onnxruntime does not know; want one such as {known}",
            )
        if name not in ort.get_available_providers():
            text = f"asked for {name}, which this onnxruntime was built without"
            raise ModelError(
                "E_PROVIDER",
                f"{text}; mend: install the extra gpu, in an environment without onnxruntime",
            )


def model_path(
    options: RuntimeOptions,
    device: int = 0,
    profile: Mapping[str, str] | None = None,
    engines: str | None = None,
) -> list[tuple[str, dict[str, str]]]:
    """The providers in order, each with its options for one device.

    `profile` are TensorRT's sizes; `engines` is the folder in which it keeps what it compiled. What
    the operator gave is for the first provider, and wins.
    """
    asked = []
    for place, name in enumerate(options.providers):
        chosen = {"device_id": str(device)} if name in (CUDA, TENSORRT) else {}
        if name == CUDA:
            chosen |= _cuda(options)
        if name == TENSORRT:
            chosen |= _tensorrt(options, engines) | dict(profile or {})
        asked.append((name, chosen | (dict(options.provider_options) if not place else {})))
    return asked


def _cuda(options: RuntimeOptions) -> dict[str, str]:
    chosen = dict(PRECISE | SWIFT)
    if options.device_memory_bytes is not None:
        # grown by what is asked for: doubling would meet the limit with half of it unused
        chosen |= {
            "gpu_mem_limit": str(options.device_memory_bytes),
            "arena_extend_strategy": "kSameAsRequested",
        }
    if options.cuda_graphs:
        chosen["enable_cuda_graph"] = "1"
    return chosen


def _tensorrt(options: RuntimeOptions, engines: str | None) -> dict[str, str]:
    chosen: dict[str, str] = {}
    if options.device_memory_bytes is not None:
        chosen["trt_max_workspace_size"] = str(options.device_memory_bytes)
    if engines is not None:
        chosen |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": engines}
        chosen |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": engines}
    return chosen


def tensorrt_profile(inputs: Mapping[str, Sequence[Any]], most_rows: int) -> dict[str, str]:
    """Return TensorRT's options for the sizes that it compiles for.

    These are 1 to `most_rows` rows of these shapes, whose other sizes are fixed.

    Without the options TensorRT compiles anew, for seconds or minutes, whenever a batch of a new
    size comes. An input whose rows are fixed too needs none.
    """
    open_ = {name: shape for name, shape in inputs.items() if not isinstance(shape[0], int)}
    rows = {"min": 1, "opt": max(1, most_rows // 2), "max": most_rows}
    return {
        f"trt_profile_{which}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, [count, *shape[1:]]))}" for name, shape in open_.items()
        )
        for which, count in rows.items()
        if open_
    }


def check_sizes_known(options: RuntimeOptions, fixed: bool) -> None:
    """Raise `ModelError` where TensorRT would have to compile in the middle of traffic."""
    given = {name for name, _ in options.provider_options}
    if not fixed and not any(name.startswith("trt_profile_") for name in given):
        raise ModelError(
            "E_PROVIDER",
            f"{TENSORRT} must know every size beforehand, and an input of this graph is a word or "
            "differs in size from row to row; "
            f"mend: take {CUDA}, or give trt_profile_min_shapes, "
            "trt_profile_opt_shapes and trt_profile_max_shapes as provider options",
        )


def not_loaded(error: Exception, wanted: str, device: int) -> ModelError:
    """Why a graph that is good does not load on a device; onnxruntime's own words go to the log."""
    said = str(error)
    if isinstance(our_error(error), OutOfMemory):
        why = "it does not fit into the memory there is"
    elif OPTION.search(said):
        why = "it does not take these provider options"
    else:
        why = (
            "the device is not there, or does not work; mend: its driver and libraries, "
            "or choose another (--devices)"
        )
    return ModelError("E_PROVIDER", f"asked for device {device} of {wanted}: {why}")


def nodes_by_provider(session: Any) -> dict[str, Counter[str]]:
    """Return provider -> operators that it runs, and how many of each.

    The session must have been told to keep the list.
    """
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return found


def convolves(session: Any) -> bool:
    """Are there convolutions in the graph? The session must have been told to keep what it runs."""
    return any("Conv" in op for ops in nodes_by_provider(session).values() for op in ops)


def check_registered(session: Any, options: RuntimeOptions) -> None:
    """Raise `ModelError` if the session is not of the first provider.

    If a provider does not come up, onnxruntime takes the next without a word.
    """
    wanted, real = options.providers[0], session.get_providers()[0]
    if wanted != real:
        raise ModelError(
            "E_PROVIDER",
            (
                f"asked for {wanted}, but onnxruntime runs it on {real}; mend: "
                "driver and libraries of the card, or allow the fallback"
            ),
        )


def check_real(session: Any, options: RuntimeOptions, device: int) -> dict[str, int]:
    """Return provider -> nodes that it runs.

    Raises `ModelError` if the provider or the device is not the one that was asked for, or not
    really.

    A provider that came up may still take none of a graph's nodes, and leaves those that it has no
    kernel for to the next one.
    """
    check_registered(session, options)
    wanted = options.providers[0]
    real = str(session.get_provider_options()[wanted].get("device_id"))
    if real != str(device):
        raise ModelError(
            "E_PROVIDER",
            f"asked for device {device} of {wanted}, but onnxruntime took device {real}",
        )
    nodes = nodes_by_provider(session)
    if not nodes.get(wanted):
        others = ", ".join(sorted(nodes))
        raise ModelError(
            "E_PROVIDER",
            f"{wanted} came up but takes none of the graph's nodes; they run on {others}",
        )
    left = nodes.get(CPU, Counter())
    heavy = sorted(op for op in left if HEAVY.search(op))
    if heavy:
        text = (
            f"{wanted} has no kernel for {', '.join(heavy[:4])}, so onnxruntime runs it on the CPU"
        )
        raise ModelError(
            "E_PROVIDER", f"{text}; mend: serve another variant, or allow the fallback"
        )
    if left:
        log.info("%s leaves on the CPU: %s", wanted, dict(left))
    return {name: sum(counts.values()) for name, counts in sorted(nodes.items())}
