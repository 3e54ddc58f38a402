"""`torch.export` with every varying size open.

`torch.export` raises where code branches on a size, which `torch.onnx.export` would bake in
silently.
"""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.nn.utils.rnn import PackedSequence

from seatrial_contracts.errors import GateError
from seatrial_export.gate.candidate import BATCH
from seatrial_export.gate.lengths import open_lengths, open_paths
from seatrial_export.gate.recurrent import check_recurrent, open_time
from seatrial_export.gate.replaced import Replaced
from seatrial_export.gate.scalar_first import cast_scalar_first
from seatrial_export.gate.torch_candidate import Graph, TorchCandidate
from seatrial_export.graphs.exporter_messages import first_lines, quiet, user_line, user_source
from seatrial_export.programs.modules import fixed_sizes

Sizes = tuple[dict[int, Any], ...]
MEND_BRANCH = (
    "sizes that vary (the batch, text and image lengths) must not decide the path: "
    "replace `if x.shape[0] > n` and `for i in range(x.shape[0])` by tensor operations; "
    "if the model exports rightly all the same, say waive={'torch.export': 'why'}"
)
MEND_BOUNDS = (
    "where a size decides the path (`if x.shape[1] > n`), replace that by tensor operations; "
    "where the model cannot take smaller sizes, "
    "say so in the row: st.Tensor[np.float32, 3, 16:, 16:512], st.Image(min_side_px=16), "
    "st.Audio(min_seconds=0.1)"
)

BY_CAUSE: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"data-dependent"),
        "a value of the rows decides the path or a size (`if x.sum() > 0`, `int(x[0])`, `x[mask]`)",
        "choose by torch.where, gather or a mask that keeps the size",
    ),
    (
        re.compile(r"\.numpy\(\) is not supported"),
        "forward leaves torch for numpy, which is not traced",
        "use torch's own operation there",
    ),
)
"""What torch says -> the cause in our words, and its mend."""
NUMPY = re.compile(r"\b(?:np|numpy)\.(\w+)\(")
PACKING = frozenset({"pack_padded_sequence", "pack_sequence"})
MEND_PACKING = (
    "give the layer the rows as they are, filled up behind, and take each row's last step: "
    "out, _ = self.gru(x); last = out.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, "
    "out.shape[2]))[:, 0]; a layer of both ways reads from the back what fills up: give it rows "
    "of one length (a side without pad=)"
)


def check_arguments(candidate: TorchCandidate) -> None:
    """`model.forward` takes the contract's tensors, at the sizes that the contract leaves open."""
    pipeline = candidate.pipeline
    fixed = fixed_sizes(pipeline.model)
    specs = {spec.name: spec for spec in pipeline.specs}
    for name, sizes in zip(pipeline.arguments, fixed.values(), strict=False):
        wanted = (None, *(None if isinstance(dim, str) else dim for dim in specs[name].dims))
        for axis, (size, want) in enumerate(zip(sizes, wanted, strict=False)):
            if size is not None and size != want:
                what = "the batch" if axis == 0 else f"side {axis}"
                raise GateError(
                    "arguments",
                    f"the program takes '{name}' of {size} alone for {what}, and the contract "
                    f"{'any number' if want is None else want}",
                    "export the program with open sizes, at arguments of two rows or more: "
                    "torch.export.export(model, arguments, "
                    f"dynamic_shapes=({{{axis}: torch.export.Dim.DYNAMIC}},))",
                )


def check_torch_export(candidate: TorchCandidate) -> None:
    """Raise `GateError` where the path depends on a size that varies.

    Named sizes are proven by torch's own solver. The solver cannot reason about every expression
    (`(height - 224) // 2` for one); where it gives up, the conditions under which the traced path
    holds are tried on sizes all over the contract's range instead.
    """
    for graph in candidate.traced:
        check_recurrent(graph)
        try:
            graph.program = traced(graph)
        except Exception as error:  # torch raises many kinds, of several modules
            if "Constraints violated" not in str(error):
                raise untraceable(error) from error
            graph.program, graph.proven = traced_by_trial(graph), False


def untraceable(error: Exception) -> GateError:
    """Why torch does not trace the model, with the mend that fits."""
    if packs(error):
        cause = f"a packed sequence, which is not traced (at {user_line(error)})"
        return GateError("torch.export", cause, MEND_PACKING)
    for words, cause, mend in BY_CAUSE:
        if words.search(str(error)):
            place = user_line(error)
            told = cause + (f" (at {place})" if place else "")
            return GateError("torch.export", told, torch_of_numpy(error) or mend)
    return GateError("torch.export", first_lines(error), MEND_BRANCH)


def torch_of_numpy(error: Exception) -> str:
    """The mend of a line that calls numpy: torch's functions of the same names."""
    names = dict.fromkeys(NUMPY.findall(user_source(error)))
    pairs = [f"torch.{name}(x) for np.{name}(x.numpy())" for name in names if hasattr(torch, name)]
    return f"use torch's own operation there: {', '.join(pairs)}" if pairs else ""


def packs(error: Exception) -> bool:
    """Was the error raised where a sequence is packed, or where a packed one is read?"""
    return any(
        frame.f_code.co_name in PACKING
        or any(isinstance(value, PackedSequence) for value in frame.f_locals.values())
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def traced_anew(graph: Graph) -> ExportedProgram:
    """The program once more, in the way in which it was traced first."""
    return traced(graph) if graph.proven else traced_openly(graph)


def traced_openly(graph: Graph) -> ExportedProgram:
    """The module's program at sizes that torch need not prove, by the path that code has for all.

    Where torch proves the sizes, the code is traced as it runs.
    """
    with open_paths(graph.module):
        return traced(graph, trial_sizes(graph))


def traced(graph: Graph, sizes: Sizes | None = None) -> ExportedProgram:
    """The module's program at open sizes; they are the named ones unless others are given."""
    sizes = named_sizes(graph) if sizes is None else sizes
    with quiet(), torch.no_grad(), open_time(graph), open_lengths(graph.module), Replaced():
        program = torch.export.export(
            graph.module, graph.arguments, dynamic_shapes=sizes, strict=False
        )
    return cast_scalar_first(program)


def traced_by_trial(graph: Graph) -> ExportedProgram:
    """The program, where the conditions of its path hold at all sizes tried. Raises `GateError`."""
    try:
        program = traced_openly(graph)
        holds: Any = program.module()._guards_fn  # noqa: SLF001  (torch checks them on each call; this asks without running the model)
    except Exception as error:  # as above
        raise untraceable(error) from error
    for sizes in tried_sizes(graph):
        try:
            holds(
                *(
                    resized_meta(argument, graph.dim_names(spec), sizes)
                    for argument, spec in zip(graph.arguments, graph.specs, strict=True)
                )
            )
        except AssertionError as error:
            condition = str(error).removeprefix("Guard failed: ")
            where = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise GateError(
                "torch.export",
                f"the path depends on a size: it was traced where {condition}, "
                f"and the contract also takes {where}",
                MEND_BOUNDS,
            ) from error
    return program


def resized_meta(
    argument: torch.Tensor, names: Mapping[int, str], sizes: Mapping[str, int]
) -> torch.Tensor:
    """The argument at other sizes, without values."""
    shape = [
        sizes[names[axis]] if axis in names else size for axis, size in enumerate(argument.shape)
    ]
    return torch.empty(shape, dtype=argument.dtype, device="meta")


def bounds(graph: Graph) -> dict[str, tuple[int, int]]:
    """Least and most of every size that varies.

    The least is 2, but for the batch: torch takes a size of 1 for a constant.
    """
    names = {name for spec in graph.specs for name in graph.dim_names(spec).values()}
    return {
        name: (least if name == BATCH else max(2, least), most)
        for name in sorted(names)
        for least, most in [graph.bounds(name)]
    }


def placed(graph: Graph, dims: dict[str, Any]) -> Sizes:
    """Sizes of each argument by axis; one name is one size wherever it stands."""
    return tuple(
        {axis: dims[name] for axis, name in graph.dim_names(spec).items()} for spec in graph.specs
    )


def named_sizes(graph: Graph) -> Sizes:
    """Named, bounded sizes of every argument."""
    return placed(
        graph,
        {name: Dim(name, min=least, max=most) for name, (least, most) in bounds(graph).items()},
    )


def trial_sizes(graph: Graph) -> Sizes:
    """Bounded sizes of every argument that torch need not prove."""
    return placed(
        graph,
        {name: Dim.DYNAMIC(min=least, max=most) for name, (least, most) in bounds(graph).items()},
    )


def tried_sizes(graph: Graph) -> Iterator[dict[str, int]]:
    """Yield sizes to try conditions at.

    Each size runs through its smallest 500, then on in steps of a hundredth up to the largest; then
    all sizes are mixed at random.
    """
    limits = bounds(graph)
    scales = {name: scale(least, most) for name, (least, most) in limits.items()}
    traced_at = {
        name: int(graph.feeds[spec.name].shape[axis])
        for spec in graph.specs
        for axis, name in graph.dim_names(spec).items()
    }
    for name, values in scales.items():
        for value in values:
            yield {**traced_at, name: value}
    chance = random.Random(0)  # noqa: S311  (sizes to try, the same each time)
    for _ in range(1000):
        yield {name: chance.choice(values) for name, values in scales.items()}


def scale(least: int, most: int) -> list[int]:
    """From least to most."""
    values = list(range(least, min(most, least + 500) + 1))
    while values[-1] < most:
        values.append(min(most, values[-1] + values[-1] // 100 + 1))
    return values
