"""`seatrial adopt`: from a model that others made to a sealed bundle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seatrial.row_argument import read_rows
from seatrial.sealing import gate_progress, sealing_options, show_sealed
from seatrial_contracts.errors import DeclarationError, MissingExtra

if TYPE_CHECKING:
    from seatrial_export.adopt.adoption import Adoption
    from seatrial_export.user_file import UserFiles


@click.command("adopt")
@click.argument("model", metavar="MODEL")
@click.option(
    "--contract", required=True, metavar="FILE.py:ROWS", help="The st.Row class of the inputs."
)
@click.option(
    "--answers",
    metavar="FILE.py:ANSWERS",
    help="The st.Answer class of the outputs.  [default: the one in the contract's file]",
)
@click.option(
    "--golden",
    required=True,
    metavar="ROWS",
    help="Raw rows, at least two: a .jsonl or .json file.",
)
@click.option(
    "--training",
    metavar="ROWS",
    help="Raw rows like those of training, which drift is measured against.",
)
@click.option(
    "--reference",
    metavar="FILE.py:NAME",
    help="Who says what the model must answer: a function from a list of rows to arrays, "
    "rows first, or a fitted scikit-learn estimator. Without one the golden answers are "
    "those of the file as it was made.",
)
@click.option(
    "--prepare",
    metavar="STEP.onnx",
    type=click.Path(path_type=Path),
    help="A graph from one row, without a batch, to what the model takes of it: "
    "the resizing and scaling of an image, say.",
)
@click.option(
    "--rename",
    multiple=True,
    metavar="GRAPH=FIELD",
    help="The field that an input or output of the graph is, "
    "where names differ and nothing else tells (again for more).",
)
@click.option(
    "--activation",
    multiple=True,
    metavar="OUTPUT=softmax|sigmoid|none",
    help="What makes probabilities of the logits that the model answers; it is put into the graph. "
    "none: clients shall see the scores as they are (again for more).",
)
@click.option(
    "--rows-alone", is_flag=True, help="Never run rows together: this model must see each alone."
)
@click.option("--name", help="The bundle's name.  [default: the model's file or name]")
@click.option("--version", default="1.0.0", show_default=True, help="The bundle's version.")
@sealing_options
def command(
    model: str, out: Path, since: Path | None, allow_breaking: bool, as_json: bool, **asked: Any
) -> None:
    """Give a model that others made a contract, prove what it answers, and seal it as a bundle.

    MODEL is an ONNX file, or FILE.py:NAME for a fitted scikit-learn estimator (or a function
    without arguments that returns one). The graph must hold standard operators alone; its inputs
    and outputs are matched with the contract by name, by type and by shape, and what stands between
    the two (casts, columns to matrices, words to codes) is put into the graph.

    \b
      seatrial adopt model.onnx --contract rows.py:Rows --golden rows.jsonl \\
          --reference reference.py:answers
      seatrial adopt train.py:pipeline --contract rows.py:Rows --golden rows.jsonl
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_bundle

    try:
        from seatrial_export.adopt.gate import adopt_model
    except ImportError as error:
        raise MissingExtra("seatrial adopt", "adopt") from error
    with gate_progress(f"reading {model}") as progress:
        bundle = adopt_model(
            adoption_of(model, **asked),
            out,
            progress,
            source=Path(asked["contract"].rpartition(":")[0]),
            since=None if since is None else open_bundle(since),
            allow_breaking=allow_breaking,
        )
    show_sealed(bundle, out, as_json=as_json)


def adoption_of(
    model: str,
    *,
    contract: str,
    answers: str | None,
    golden: str,
    training: str | None,
    reference: str | None,
    prepare: Path | None,
    rename: tuple[str, ...],
    activation: tuple[str, ...],
    rows_alone: bool,
    name: str | None,
    version: str,
) -> Adoption:
    """What was asked for, as a value. The user's files are imported here, each once."""
    from seatrial_export.adopt.adoption import Adoption
    from seatrial_export.adopt.contract_file import read_contract
    from seatrial_export.adopt.foreign import read_onnx
    from seatrial_export.adopt.training_side import reference_at
    from seatrial_export.user_file import UserFiles

    files = UserFiles()
    inputs, outputs = read_contract(files, contract, answers)
    file, _, member = model.rpartition(":")
    is_file = not file.endswith(".py")
    declared: dict[str, Any] = {
        "name": name
        or re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem if is_file else member).strip("-._"),
        "version": version,
        "inputs": inputs,
        "outputs": outputs,
        "golden": read_rows(golden),
        "renamed": dict(map(renaming, rename)),
        "activations": dict(map(activation_of, activation)),
        "batchable": not rows_alone,
    }
    if training is not None:
        declared["reference"] = read_rows(training)
    if prepare is not None:
        declared["prepare"] = read_onnx(prepare)
    if reference is not None:
        declared["training_side"] = reference_at(files, reference)
    if is_file:
        return Adoption.of_onnx(Path(model), **declared)
    return Adoption.of_estimator(estimator_at(files, model), **declared)


def renaming(text: str) -> tuple[str, str]:
    """`GRAPH=FIELD` as a pair; the graph's names may hold anything, a field's no `=`."""
    name, found, field = text.rpartition("=")
    if not found or not name or not field:
        raise DeclarationError("--rename", text, "GRAPH_NAME=FIELD")
    return name, field


def activation_of(text: str) -> tuple[str, str]:
    """`OUTPUT=ACTIVATION` as a pair."""
    output, found, activation = text.rpartition("=")
    if not found or not output or not activation:
        want = "OUTPUT=softmax, OUTPUT=sigmoid or OUTPUT=none"
        raise DeclarationError("--activation", text, want)
    return output, activation


def estimator_at(files: UserFiles, target: str) -> Any:
    """The estimator at `file.py:name`, or what a function of that name returns."""
    from seatrial_export.adopt.estimator import is_estimator
    from seatrial_export.user_file import call

    want = "a fitted scikit-learn estimator, or a function without arguments that returns one"
    value = files.value(target, "model", want)
    if callable(value) and not is_estimator(value):
        value = call(value, Path(target.rpartition(":")[0]), "model")
    if isinstance(value, type) or not is_estimator(value):
        raise DeclarationError(f"model '{target}'", f"a value of type {type(value).__name__}", want)
    return value
