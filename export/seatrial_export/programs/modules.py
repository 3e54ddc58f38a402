"""Programs that have no Python code left, as modules whose arguments have names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from seatrial_contracts.errors import DeclarationError
from seatrial_export.around import naming
from seatrial_export.graphs.exporter_messages import quiet
from seatrial_export.precision import raised, remember


class Program(nn.Module):
    """A module of torch.export's or of TorchScript, called with its arguments in order.

    It is in the mode in which it was made: what training would do otherwise is in its operators.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.training = False
        if isinstance(module, fx.GraphModule):
            for part in module.modules():
                part.training = False

    def forward(self, *arguments: Tensor) -> Any:
        """The program's own arguments and answer."""
        return self.module(*arguments)


def from_program(program: Any, where: str) -> Any:
    """The module of an exported program, or of a TorchScript module; anything else as it is.

    Raises `DeclarationError` for a program whose arguments have no names.
    """
    if isinstance(program, torch.export.ExportedProgram):
        program = program.module()
    if isinstance(program, torch.jit.ScriptModule):
        # The schema is the only place where TorchScript keeps the names.
        forward: Any = program.forward
        names = [each.name for each in forward.schema.arguments[1:]]
        high: Any = raised(program, where)
        made = named(frozen(high), names)
        if high is not program:
            remember(made, named(program, names))
        return made
    if isinstance(program, fx.GraphModule) and hasattr(program, "_guards_fn"):
        names = list(inspect.signature(program.forward).parameters)
        if not all(name.isidentifier() for name in names) or "args" in names:
            raise DeclarationError(
                where,
                "a program whose arguments have no names",
                "arguments with the names of the contract's fields",
                "export the module with the arguments of its forward by name",
            )
        return named(program, names)
    return program


def frozen(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """The module with its weights as constants: torch.export takes no weights of TorchScript's.

    A module in training mode is left as it is, for the gate to refuse.
    """
    if getattr(module, "training", True):
        return module
    freeze: Any = torch.jit.freeze
    with quiet():
        made: torch.jit.ScriptModule = freeze(module, optimize_numerics=False)
    return made


def named(module: nn.Module, arguments: Sequence[str]) -> Program:
    """The program with its arguments by name."""
    return naming(Program, arguments)(module)


def fixed_sizes(module: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Argument of an exported program -> its sizes, None where any will do; else nothing."""
    inner = module.module if isinstance(module, Program) else module
    if not isinstance(inner, fx.GraphModule):
        return {}
    shapes = {}
    for node in inner.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, Tensor):
            shapes[node.name] = tuple(
                size if isinstance(size, int) else None for size in value.shape
            )
    return shapes
