"""The casts between a graph's float32 tensors and a model that takes or answers bfloat16.

numpy has no bfloat16, and onnxruntime takes none from it: the tensors at the edges of the graph are
float32, with numbers that bfloat16 holds.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import torch
from torch import Tensor, nn

from seatrial_contracts.errors import DeclarationError
from seatrial_export.around import Around, naming


class Bfloat16Edges(Around):
    """The user's model, whose bfloat16 arguments and answers are float32 outside of it."""

    def __init__(
        self, model: nn.Module, outputs: Sequence[str], takes: Sequence[bool], gives: Set[str]
    ) -> None:
        super().__init__(model, outputs)
        self._takes, self._gives = tuple(takes), frozenset(gives)

    def taken(self, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        """The arguments, in bfloat16 where the model takes that."""
        return [
            argument.to(torch.bfloat16) if is_one else argument
            for argument, is_one in zip(arguments, self._takes, strict=True)
        ]

    def given(self, name: str, tensor: Tensor) -> Tensor:
        """The answer as float32.

        Raises `DeclarationError` where the model answers something else than the bfloat16 that the
        answer class declares.
        """
        if name not in self._gives:
            return tensor
        if tensor.dtype is not torch.bfloat16:
            raise DeclarationError(
                f"model.forward, output '{name}'",
                str(tensor.dtype).removeprefix("torch."),
                "bfloat16, as the answer class declares",
                f"return {name}.bfloat16()",
            )
        return tensor.float()


def edged(
    model: nn.Module, arguments: Sequence[str], outputs: Sequence[str], takes: Set[str],
    gives: Set[str],
) -> nn.Module:  # fmt: skip
    """The model itself, or with casts around it where it takes or gives bfloat16.

    `takes` and `gives` are the names of those tensors, of `arguments` and of `outputs`.
    """
    if not takes and not gives:
        return model
    named = naming(Bfloat16Edges, arguments)
    return named(model, outputs, [name in takes for name in arguments], gives)
