"""The output of the commands that seal.

It shows the gate's steps while they run, and the bundle once it is there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from seatrial.budget import EXAMPLES, promised
from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.gate_steps import PROVES, WAIVED

if TYPE_CHECKING:
    from seatrial_contracts.promise import Promise

FIRST_VERSION = "1.0.0"
FORCE = "Replace a version that is there, where the new one differs."
OPTIONS = (
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("bundles"),
        show_default=True,
        help="Folder of bundles; the new one becomes OUT/NAME/VERSION.",
    ),
    click.option(
        "--since",
        type=click.Path(path_type=Path),
        metavar="BUNDLE",
        help="The version before: what changed since is sealed as RELEASE_NOTES.md, "
        "and breaking changes need a higher major version.",
    ),
    click.option(
        "--version",
        metavar="X.Y.Z|next",
        help="The bundle's version; next: the patch after the highest in --out.  "
        f"[default: the declared one, {FIRST_VERSION} where nothing declares it]",
    ),
    click.option("--force", is_flag=True, help=FORCE),
    click.option(
        "--allow-breaking",
        is_flag=True,
        help="Seal breaking changes under the same major version all the same.",
    ),
    click.option(
        "--fastest",
        metavar="BUDGET",
        help="Make variants, time each on this machine, and let the fastest that keeps this be the "
        f"default: {EXAMPLES}; commas part several.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON object for machines: path, digest, size, batchable, warnings, "
        "fastest.",
    ),
)
COUNTED = re.compile(r", \d+ of \d+$")
"""How far a step has come, behind its name."""


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """What the options of a command that seals say, as text."""

    out: Path
    since: Path | None
    allow_breaking: bool
    version: str | None
    force: bool
    fastest: str | None
    as_json: bool

    @cached_property
    def budget(self) -> Promise | None:
        """What the fastest variant has to keep. Raises `DeclarationError`."""
        return None if self.fastest is None else promised(self.fastest)

    @property
    def declared_version(self) -> str:
        """What a model that declares no version gets."""
        return FIRST_VERSION if self.version in (None, "next") else self.version

    def arguments(self) -> dict[str, Any]:
        """Those of `adopt_model` and `export_pipeline`.

        Raises `DeclarationError` and `BundleError`.
        """
        return {
            "since": None if self.since is None else open_bundle(self.since),
            "allow_breaking": self.allow_breaking,
            "fastest": self.budget,
            "version": self.version,
            "force": self.force,
        }


def sealing_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that seals, which gets them as one value: `sealing`."""

    @wraps(command)
    def with_sealing(**given: Any) -> None:
        sealing = Sealing(**{field.name: given.pop(field.name) for field in fields(Sealing)})
        command(**given, sealing=sealing)

    for option in reversed(OPTIONS):
        with_sealing = option(with_sealing)
    return with_sealing


def refuse_options(asked: Mapping[str, Any], own: Sequence[str], got: str, mend: str) -> None:
    """Raise `DeclarationError` for an option of other models: `got` is what this one is."""
    odd = next((name for name, value in asked.items() if value and name not in own), None)
    if odd is not None:
        option = f"--{odd.replace('_', '-')}"
        raise DeclarationError(option, got, "an ONNX file or estimator", mend)


@contextmanager
def gate_progress(title: str) -> Iterator[Callable[[str], None]]:
    """The steps that ended, with time and proof, and a line with the one that runs.

    Gives what is told the next one.
    """
    console = Console(stderr=True)
    steps = Steps(console)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(title)

        def tell(step: str) -> None:
            steps.begin(step)
            progress.update(task, description=f"gate: {step}")

        try:
            yield tell
        except BaseException:  # whatever ends it, the step that it ended in is said
            steps.end("stopped")
            raise
        steps.end()


class Steps:
    """Prints each step once it has ended: how long it took, and what it proved."""

    def __init__(self, console: Console) -> None:
        self._console, self._step, self._begun_s = console, "", 0.0

    def begin(self, step: str) -> None:
        """A step begins, or is waived. How far one has come is no step of its own."""
        name = COUNTED.sub("", step)
        if name.startswith(WAIVED):
            self.end()
            self._say("waived", name.removeprefix(WAIVED))
        elif name != self._step:
            self.end()
            self._step, self._begun_s = name, time.perf_counter()

    def end(self, how: str = "passed") -> None:
        """The step has ended."""
        if self._step:
            took_s = time.perf_counter() - self._begun_s
            proved = PROVES.get(self._step, "") if how == "passed" else ""
            self._say(how, self._step, f"{took_s:6.1f} s  {proved}")
        self._step = ""

    def _say(self, how: str, step: str, more: str = "") -> None:
        said = f"  {how:<7}  {step:<20} {more}".rstrip()
        self._console.print(said, highlight=False, markup=False, soft_wrap=True)


def show_sealed(bundle: Bundle, out: Path, *, as_json: bool) -> None:
    """Path, digest, size, and what the gate warns of."""
    receipts = bundle.receipts()
    warnings = [trial.finding for receipt in receipts for trial in receipt.trials if trial.finding]
    choices = [receipt.choice.told for receipt in receipts if receipt.choice is not None]
    fastest = choices[-1] if choices else None
    if as_json:
        click.echo(
            json.dumps(
                {
                    "path": str(bundle.path),
                    "digest": bundle.digest,
                    "size_bytes": bundle.size_bytes,
                    "batchable": bundle.manifest.batchable,
                    "warnings": list(dict.fromkeys(warnings)),
                    "fastest": fastest,
                }
            )
        )
        return
    click.echo(f"sealed {bundle.path}  {bundle.size_bytes / 1e6:.2f} MB  sha256:{bundle.digest}")
    click.echo(f"proven on {rows_proven(bundle)}")
    if fastest is not None:
        click.echo(f"fastest: {fastest}")
    for warning in dict.fromkeys(warnings):
        click.echo(f"warning: {warning}")
    click.echo(f"next: seatrial parity {bundle.path}   then: seatrial serve {out}")


def rows_proven(bundle: Bundle) -> str:
    """How many rows of each sort the newest receipt is about.

    An example is `52 golden, 450 held-out and 121 drawn rows`.
    """
    trials = [
        trial
        for receipt in bundle.receipts()
        for trial in receipt.trials
        if trial.runner == "onnxruntime"
    ]
    rows = {trial.row_set: trial.rows for trial in trials if trial.variant == "fp32" and trial.rows}
    counts = [f"{number} {name}" for name, number in rows.items()]
    return (
        f"{' and '.join(filter(None, (', '.join(counts[:-1]), counts[-1])))} rows"
        if counts
        else "no rows"
    )
