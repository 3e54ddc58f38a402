"""What to do about an exception in a user's own module.

It is the exception's cause where that is known, else no more than where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from seatrial_export.gate.candidate import Candidate

if TYPE_CHECKING:
    from torch import nn

OTHER_DTYPE = re.compile(
    r"same dtype|expected scalar type|expected m1 and m2|should be the same|dtype of .* doesn't "
    r"match",
    re.IGNORECASE,
)
OTHER_DEVICE = re.compile(
    r"on the same device|Expected .* device|found at least two devices", re.IGNORECASE
)
MOST_NAMED = 2


def mend_of(candidate: Candidate, error: Exception) -> str:
    """The mend that fits the exception."""
    said, modules = str(error), modules_of(candidate)
    if OTHER_DTYPE.search(said):
        wide = [each.name for each in candidate.declared.prepared_specs if each.dtype == "float64"]
        if wide:
            return (
                f"prepare makes '{wide[0]}' of float64, and the model has float32: return "
                f"{wide[0]}.float() in prepare"
            )
        odd = named_unlike(
            modules,
            lambda tensor: tensor.is_floating_point() and tensor.dtype.itemsize != 4,
            lambda tensor: str(tensor.dtype).removeprefix("torch."),
        )
        if odd:
            cast = ", or cast the inputs in forward" if "float64" in odd else ""
            return f"{odd}; the contract gives float32: call model.float() before the export{cast}"
    if OTHER_DEVICE.search(said):
        odd = named_unlike(
            modules, lambda tensor: tensor.device.type != "cpu", lambda tensor: str(tensor.device)
        )
        if odd:
            return f"{odd}; the gate runs on the processor: call model.cpu() before the export"
    alone = "; where the graph takes one row at a time, --rows-alone" if not modules else ""
    return f"the model's own code raised it; --debug shows the traceback{alone}"


def modules_of(candidate: Candidate) -> Mapping[str, nn.Module]:
    """The user's modules by the name that the user gave them.

    There are none where the candidate is a graph.
    """
    declared: Any = candidate.declared
    named = {name: getattr(declared, name, None) for name in ("model", "prepare")}
    return {
        name: module
        for name, module in named.items()
        if module is not None and hasattr(module, "named_parameters")
    }


def named_unlike(
    modules: Mapping[str, nn.Module], odd: Callable[[Any], bool], what: Callable[[Any], str]
) -> str:
    """The first tensors that are odd, as text; empty where none is.

    For example "model.0.weight is bfloat16, and 3 tensors more".
    """
    found = [f"{name} is {what(tensor)}" for name, tensor in _tensors(modules) if odd(tensor)]
    more = f" and {len(found) - MOST_NAMED} tensors more" if len(found) > MOST_NAMED else ""
    return f"{', '.join(found[:MOST_NAMED])}{more}" if found else ""


def _tensors(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, Any]]:
    for name, module in modules.items():
        yield from (
            (f"{name}.{path}", tensor)
            for path, tensor in (*module.named_parameters(), *module.named_buffers())
        )
