"""`seatrial adopt`: from a model that others made to a sealed bundle."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seatrial.adopt_folder import PREFIX, adopt_folder
from seatrial.adopt_mlflow import PREFIX as MLFLOW
from seatrial.adopt_mlflow import out_of_mlflow
from seatrial.adopt_package import PACKAGE_SUFFIX, in_package
from seatrial.adopt_program import TORCH_SUFFIXES, adopt_program
from seatrial.row_argument import read_rows
from seatrial.sealing import Sealing, gate_progress, sealing_options, show_sealed
from seatrial_contracts.errors import DeclarationError, MissingExtra

if TYPE_CHECKING:
    from seatrial_export.adopt.adoption import Adoption
    from seatrial_export.user_file import UserFiles


@click.command("adopt")
@click.argument("model", metavar="MODEL")
@click.option(
    "--contract",
    metavar="FILE.py:ROWS",
    help="The st.Row class of the inputs.  [default: drafted from --frame]",
)
@click.option(
    "--frame",
    metavar="TABLE",
    type=click.Path(path_type=Path),
    help="The table that an estimator or booster was trained on, a .csv or .parquet file: "
    "contract, golden and training rows are drafted from it where they are not given.",
)
@click.option("--target", metavar="COLUMN", help="The column of --frame that was learnt.")
@click.option(
    "--answers",
    metavar="FILE.py:ANSWERS",
    help="The st.Answer class of the outputs.  [default: the one in the contract's file]",
)
@click.option(
    "--golden",
    metavar="ROWS",
    help="Raw rows, at least two: a .jsonl or .json file.  [default: rows of --frame]",
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
@click.option(
    "--task",
    help="Of a folder: its task, as Hugging Face calls it.  [default: as config.json says]",
)
@click.option(
    "--rows",
    metavar="ROWS",
    help="Of a folder: raw rows to prove it on.  [default: a few of our own]",
)
@click.option(
    "--write",
    metavar="PIPELINE.py",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of a folder: write it as a pipeline file, to keep and to change, and seal nothing. Of a "
    "table: where the drafted contract goes.  [default of a table: rows.py]",
)
@click.option("--name", help="The bundle's name.  [default: the model's file or name]")
@sealing_options
def command(
    model: str,
    sealing: Sealing,
    **asked: Any,
) -> None:
    """Give a model that others made a contract, prove what it answers, and seal it as a bundle.

    MODEL is an ONNX file, FILE.py:NAME for a fitted scikit-learn estimator (or a function
    without arguments that returns one), or a booster's own file: XGBoost's .json or .ubj,
    LightGBM's .txt, CatBoost's .cbm; or skops' own, .skops. The graph must hold standard operators
    alone; its inputs and outputs are matched with the contract by name, by type and by shape, and
    what stands between the two (casts, columns to matrices, words to codes) is put into the graph.

    A program that torch.export.save wrote (.pt2) and TorchScript (.ts, .pt) pass the gate of
    `seatrial export`. Of a model package of onnxruntime (.ortpackage) the model for the CPU is
    adopted; one that `seatrial ortpackage` wrote gives its bundle back.

    hf:FOLDER is a folder as transformers' save_pretrained writes it, or sentence-transformers. Its
    files say what the contract is, and the library itself is the judge.

    mlflow:FOLDER, mlflow:models:/NAME/VERSION and mlflow:runs:/ID/PATH are models of MLflow's, of
    the flavours onnx, sklearn, xgboost, lightgbm and pytorch. The signature is the first contract,
    the input example the golden rows. No pickle is read.

    \b
      seatrial adopt model.onnx --contract rows.py:Rows --golden rows.jsonl \\
          --reference reference.py:answers
      seatrial adopt hf:./my-folder
      seatrial adopt train.py:pipeline --contract rows.py:Rows --golden rows.jsonl
      seatrial adopt model.ubj --frame train.csv
    """  # noqa: D301  (click's mark)
    if model.startswith(PREFIX):
        adopt_folder(model, asked, sealing)
        return
    check_asked(asked)
    is_mlflows = model.startswith(MLFLOW)
    with out_of_mlflow(model, asked) if is_mlflows else nullcontext(model) as file:
        adopt_file(file, asked, sealing)


def adopt_file(
    model: str,
    asked: dict[str, Any],
    sealing: Sealing,
) -> None:
    """Seal the model in a file, or what FILE.py:NAME names. `asked` are the other options."""
    check_file(Path(model))
    if Path(model).suffix in TORCH_SUFFIXES:
        adopt_program(Path(model), asked, asked["name"] or name_of(model), sealing)
        return
    if Path(model).suffix == PACKAGE_SUFFIX:
        found = in_package(Path(model), sealing.out)
        if found is None:
            return
        model, asked["name"] = str(found.graph), asked["name"] or name_of(f"{found.name}.onnx")
    try:
        from seatrial_export.adopt.gate import adopt_model
    except ImportError as error:
        raise MissingExtra("seatrial adopt", "adopt") from error
    with gate_progress(f"reading {model}") as progress:
        adoption, contract = adoption_of(model, version=sealing.declared_version, **asked)
        bundle = adopt_model(
            adoption, sealing.out, progress, source=contract, **sealing.arguments()
        )
    show_sealed(bundle, sealing.out, as_json=sealing.as_json)


def check_asked(asked: dict[str, Any]) -> None:
    """Take the options of folders alone out; raise `DeclarationError` where one is given."""
    for name in ("task", "rows"):
        if asked.pop(name) is not None:
            raise DeclarationError(f"--{name}", "a model that is no folder", "hf:FOLDER")
    asked["write"] = asked["write"] or Path("rows.py")


def check_file(path: Path) -> None:
    """Raise `DeclarationError` for a folder, unless it is a model package."""
    if path.is_dir() and path.suffix != PACKAGE_SUFFIX:
        mend = (
            f"seatrial adopt {PREFIX}{path} reads a folder of transformers or "
            "sentence-transformers; of another, name the .onnx file in it"
        )
        raise DeclarationError(f"model '{path}'", "a folder", "a file", mend)


def adoption_of(
    model: str,
    *,
    contract: str | None,
    frame: Path | None,
    target: str | None,
    write: Path,
    answers: str | None,
    golden: str | None,
    training: str | None,
    reference: str | None,
    prepare: Path | None,
    rename: tuple[str, ...],
    activation: tuple[str, ...],
    rows_alone: bool,
    name: str | None,
    version: str,
) -> tuple[Adoption, Path]:
    """What was asked for, and the file of its contract.

    The user's files are imported here, each once.
    """
    from seatrial_export.adopt.adoption import Adoption
    from seatrial_export.adopt.contract_file import read_contract
    from seatrial_export.adopt.draft import Draft
    from seatrial_export.adopt.foreign import read_onnx
    from seatrial_export.adopt.training_side import reference_at
    from seatrial_export.frame_file import read_frame
    from seatrial_export.user_file import UserFiles

    files = UserFiles()
    estimator = estimator_of(files, model)
    name = name or name_of(model)
    rows: dict[str, list[dict[str, Any]]] = {}
    if frame is not None:
        if estimator is None:
            mend = "write the contract, --contract FILE.py:ROWS"
            raise DeclarationError("--frame", "an ONNX file", "an estimator or a booster", mend)
        draft = Draft(estimator, read_frame(frame), target)
        rows = {"golden": draft.golden(), "training": draft.training()}
        if contract is None:
            draft.write(write, name)
            contract = f"{write}:Rows"
    if contract is None or (golden is None and frame is None):
        option = "--contract FILE.py:ROWS" if contract is None else "--golden ROWS"
        raise click.UsageError(f"{option} is missing: give it, or --frame TABLE to draft from")
    inputs, outputs = read_contract(files, contract, answers)
    declared: dict[str, Any] = {
        "name": name,
        "version": version,
        "inputs": inputs,
        "outputs": outputs,
        "golden": rows["golden"] if golden is None else read_rows(golden),
        "reference": rows.get("training", ()) if training is None else read_rows(training),
        "renamed": dict(map(renaming, rename)),
        "activations": dict(map(activation_of, activation)),
        "batchable": not rows_alone,
    }
    if prepare is not None:
        declared["prepare"] = read_onnx(prepare)
    if reference is not None:
        declared["training_side"] = reference_at(files, reference)
    made = (
        Adoption.of_onnx(Path(model), **declared)
        if estimator is None
        else Adoption.of_estimator(estimator, **declared)
    )
    return made, Path(contract.rpartition(":")[0])


def name_of(model: str) -> str:
    """What a bundle is called by its model's file, or by its name in a Python file."""
    file, _, member = model.rpartition(":")
    said = member if file.endswith(".py") else Path(model).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", said).strip("-._")


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


def estimator_of(files: UserFiles, model: str) -> Any:
    """The estimator that MODEL is, or the booster in its file; None where it is an ONNX file."""
    if model.rpartition(":")[0].endswith(".py"):
        return estimator_at(files, model)
    from seatrial_export.adopt.estimator_file import estimator_in

    return estimator_in(Path(model))


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
