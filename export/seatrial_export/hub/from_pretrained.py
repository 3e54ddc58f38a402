"""From a folder on disk to a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import create_model

from seatrial_contracts.golden import wire_row
from seatrial_contracts.row import Answer, Row
from seatrial_contracts.sample import RawRow
from seatrial_export.gate.gate import FRESH, SURROUNDINGS
from seatrial_export.hub.folder import Folder, read_folder
from seatrial_export.hub.sentences import OURS
from seatrial_export.hub.task import Field, Reading, Task, chosen_task
from seatrial_export.hub.tasks import tasks
from seatrial_export.hub.written import write_pipeline
from seatrial_export.judge import name_of
from seatrial_export.pipeline import Pipeline

UNTRAINED = "weights and code are files of a folder and of packages: nothing was trained here"
NOBODYS = "the code is that of packages: none of it is the user's"
MOST_GOLDEN = 64
"""Every server replays golden rows when it loads a bundle; a user's further rows are held out."""


@dataclass(frozen=True)
class HubModel:
    """A folder, the task it was read for, and what was read."""

    folder: Folder
    task: Task
    reading: Reading
    held_out: Sequence[RawRow]
    ours: bool
    """Are the golden rows our own?"""
    name: str
    version: str

    def pipeline(self) -> Pipeline:
        """The pipeline, to export or to change (`dataclasses.replace`)."""
        return Pipeline(
            name=self.name,
            version=self.version,
            inputs=create_model("Row", __base__=Row, **fields_of(self.reading.inputs)),
            outputs=create_model("Answer", __base__=Answer, **fields_of(self.reading.outputs)),
            model=self.reading.model.eval(),
            golden=self.reading.rows,
            held_out=self.held_out,
            judge=self.reading.judge.value,
            batchable=self.reading.batchable,
            waive={FRESH: UNTRAINED, SURROUNDINGS: NOBODYS},
        )

    def written(self, file: Path) -> str:
        """The same as the text of a pipeline file."""
        return write_pipeline(
            self.reading, self.folder.path, name=self.name, version=self.version,
            task=self.task.name, file=file,
        )  # fmt: skip

    @property
    def judge_name(self) -> str:
        """Who says what the model must answer."""
        return name_of(self.reading.judge.value)

    @property
    def notes(self) -> list[str]:
        """What its user has to know."""
        raised = self.folder.precision
        half = [] if raised == "float32" else [f"weights of {raised} were raised to float32"]
        return [*([OURS] if self.ours else []), *half, *self.reading.notes]


def read_hub_model(
    folder: Path | str, *, task: str | None = None, rows: Sequence[RawRow] = (),
    name: str | None = None, version: str = "1.0.0",
) -> HubModel:  # fmt: skip
    """Read a folder for a task, by default the one that its files say.

    `rows` are raw rows as clients send them: up to 64 become golden, the others held out. Without
    them they are rows of our own. Raises `DeclarationError`.
    """
    found = read_folder(Path(folder))
    chosen = chosen_task(tasks(), found, task)
    reading = chosen.read(found, list(rows[:MOST_GOLDEN]))
    held_out, own = list(rows[MOST_GOLDEN:]), name or found.name
    model = HubModel(found, chosen, reading, held_out, not rows, own, version)
    return model if rows else replace(model, reading=replace(reading, rows=taken(model)))


def taken(model: HubModel) -> list[RawRow]:
    """Of rows of our own those that the contract takes: a model may take few tokens."""
    front = model.pipeline().front
    return [row for row in model.reading.rows if front.refusal_code(wire_row(row)) is None]


def from_pretrained(
    folder: Path | str, *, task: str | None = None, rows: Sequence[RawRow] = (),
    name: str | None = None, version: str = "1.0.0",
) -> Pipeline:  # fmt: skip
    """The pipeline of a folder as `save_pretrained` writes it; nothing is fetched.

    Weights are safetensors, code is transformers' own. `dataclasses.replace` changes the pipeline.
    The arguments are those of `read_hub_model`. Raises `DeclarationError`.
    """
    return read_hub_model(folder, task=task, rows=rows, name=name, version=version).pipeline()


def fields_of(fields: Mapping[str, Field]) -> dict[str, Any]:
    """Fields as Pydantic's `create_model` takes them."""
    return {name: (Annotated[field.annotation, field.kind], ...) for name, field in fields.items()}
