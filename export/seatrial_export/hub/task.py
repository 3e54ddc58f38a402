"""A task: what a folder of its sort is asked, what it answers, and who judges that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from torch import nn

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import GENERATORS, SEGMENTERS, Folder

UNKNOWN: Mapping[tuple[str, ...], str] = {
    GENERATORS: "engines made for open-ended generation are named in docs/how-to/engines.md; else ",
    SEGMENTERS: (
        "write a pipeline with st.Segments, whose model answers logits of classes and of masks, or "
        "with st.Detections(masks=(height, width)) for things that have boxes; else "
    ),
}
"""How architectures end that no task reads -> the mend."""


class Field(NamedTuple):
    """A field of a row or answer class: `name: Annotated[annotation, kind]`."""

    annotation: Any
    kind: Kind
    tokenizer: str = "TOKENIZER.to_str().encode()"
    """How a pipeline file makes the tokenizer of a kind that has one."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """An instance of a class of a task's file, and how a pipeline file makes it.

    The pipeline file calls the class with `first`, which is text, and with literals as options.
    """

    value: Any
    first: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, made: Callable[..., Any], given: Any, first: str, **options: Any) -> Self:
        """The class called with `given`, which a pipeline file writes as `first`."""
        return cls(value=made(given, **options), first=first, options=options)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a task makes of a folder: all that a pipeline needs but its name and version."""

    inputs: Mapping[str, Field]
    outputs: Mapping[str, Field]
    module: Part
    judge: Part
    rows: Sequence[RawRow]
    batchable: bool = True
    """May rows run together? Not where padding changes an answer."""
    notes: Sequence[str] = ()
    """What a user has to know of the folder: weights that were raised, rows that are our own."""
    functions: Sequence[Callable[..., Any]] = ()
    """What a pipeline file calls where its fields are declared."""

    @property
    def model(self) -> nn.Module:
        """The module that becomes the graph."""
        module: nn.Module = self.module.value
        return module


class Task(ABC):
    """One sort of folder. One file of `tasks/` holds one, with its module and its judge.

    Module and judge are classes at the top of that file, which a pipeline file carries in text
    together with what they use there. So they import nothing of seatrial's.
    """

    name: ClassVar[str]
    """As Hugging Face calls it."""

    @abstractmethod
    def fits(self, folder: Folder) -> bool:
        """Is the folder of this sort, as its files say?"""

    @abstractmethod
    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """Make of the folder what a pipeline needs; `rows` are the user's, or none.

        Raises `DeclarationError`.
        """


def chosen_task(tasks: Sequence[Task], folder: Folder, name: str | None) -> Task:
    """The task of this name, or the first that the folder fits. Raises `DeclarationError`."""
    known = ", ".join(task.name for task in tasks)
    if name is not None:
        found = next((task for task in tasks if task.name == name), None)
        if found is None:
            raise DeclarationError("--task", name[:60], f"one of {known}")
        return found
    found = next((task for task in tasks if task.fits(folder)), None)
    if found is None:
        mend = "".join(said for ends, said in UNKNOWN.items() if folder.architecture.endswith(ends))
        raise DeclarationError(
            f"folder '{folder.path.name}'", f"architecture {folder.architecture or 'unsaid'}",
            "one that a task is known for",
            f"{mend}--task NAME, one of {known}",
        )  # fmt: skip
    return found
