"""A module around the user's own that changes tensors on their way in and out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)


class Around(nn.Module):
    """The user's model, with its own arguments, and its answer in the form in which it gives it."""

    def __init__(self, model: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.training = False
        self._outputs = list(outputs)

    def taken(self, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        """What the model takes for these arguments."""
        return arguments

    def called(self, arguments: Sequence[Tensor]) -> Any:
        """The model's answer to what it takes."""
        return self.model(*arguments)

    def given(self, name: str, tensor: Tensor) -> Tensor:
        """What becomes of this output of the model. Subclasses have it."""
        raise NotImplementedError(f"output '{name}': this is a bug in seatrial")

    def forward(self, *arguments: Tensor) -> Any:
        """The model's own arguments, and its answer."""
        answer = self.called(self.taken(arguments))
        if isinstance(answer, Tensor):
            return self.given(self._outputs[0], answer)
        if isinstance(answer, dict):
            return {name: self._given(name, value) for name, value in answer.items()}
        if isinstance(answer, (tuple, list)) and len(answer) == len(self._outputs):
            return tuple(map(self._given, self._outputs, answer))
        return answer

    def _given(self, name: str, value: Any) -> Any:
        """A value that is no tensor is for others to refuse."""
        return self.given(name, value) if isinstance(value, Tensor) else value


class ByName(nn.Module):
    """A model that takes its tensors by name, `forward(self, **fields)`, as one of arguments."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.training = False
        self._names = tuple(names)

    def forward(self, *arguments: Tensor) -> Any:
        """The model's answer to the arguments, in the order of their names."""
        return self.model(**dict(zip(self._names, arguments, strict=True)))


def naming(cls: type[T], arguments: Sequence[str]) -> type[T]:
    """A class whose `forward` shows its arguments by name.

    torch.export matches sizes to names, and takes no `*arguments`.
    """

    def forward(self: T, *given: Tensor) -> Any:
        return cls.forward(self, *given)

    names = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ("self", *arguments)
    ]
    forward.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    named: type[T] = type(cls.__name__, (cls,), {"forward": forward})
    return named
