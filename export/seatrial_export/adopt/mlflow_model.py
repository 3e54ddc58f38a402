"""A model's folder as MLflow writes it: its file in the form that `seatrial adopt` takes."""

from __future__ import annotations

import logging
import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_contracts.frames import rows_of_frame
from seatrial_export.adopt.estimator_file import MEND
from seatrial_export.adopt.names import field_names

MLMODEL = "MLmodel"
PIPELINE = "if you trust it, write a pipeline file: st.Pipeline(model="
BUNDLE = "seatrial_serve.mlflow.pyfunc"
"""The loader of a model that `seatrial push` logged."""


class MlflowModel(NamedTuple):
    """What a folder holds."""

    file: Path
    flavour: str
    signature: Any
    """MLflow's `ModelSignature`, or None."""
    example: Any
    """A data frame, arrays, or JSON; None without one."""


def read_mlflow_model(folder: Path, scratch: Path, address: str) -> MlflowModel:
    """The file, the signature and the example of a model. Nothing of it is unpickled or run.

    `scratch` is an empty folder for a file under another name; `address` is what the user wrote.
    Raises `DeclarationError` for flavours and forms that are not taken, and `MissingExtra`.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model
    except ImportError:
        raise MissingExtra("seatrial adopt mlflow:", "mlflow") from None
    where = f"model '{address}'"
    if not (folder / MLMODEL).is_file():
        raise DeclarationError(where, f"no file {MLMODEL}", "a model that MLflow logged or saved")
    try:
        model = Model.load(folder)
        example = model.load_input_example(str(folder))
    except Exception as error:  # MLflow, YAML and pandas raise kinds of their own
        kind = error.error_code if isinstance(error, MlflowException) else type(error).__name__
        got = f"an {MLMODEL} that MLflow does not read ({kind})"
        raise DeclarationError(where, got, "a model that MLflow logged or saved") from error
    flavours: Mapping[str, Any] = model.flavors
    if flavours.get("python_function", {}).get("loader_module") == BUNDLE:
        mend = f"seatrial serve {address}, or seatrial pull {address}"
        raise DeclarationError(where, "a bundle that was sealed already", "another model", mend)
    flavour = next((name for name in FILES if name in flavours), None)
    if flavour is None:
        got = f"the flavours {', '.join(sorted(flavours))}"
        mend = "save it as ONNX (mlflow.onnx.log_model), or write a pipeline file around it"
        raise DeclarationError(where, got, f"one of {', '.join(FILES)}", mend)
    found = FILES[flavour](folder, flavours[flavour], where, address)
    if found.suffix == ".lgb":  # LightGBM's text, under a suffix of MLflow's own
        found = Path(shutil.copyfile(found, scratch / "model.txt"))
    return MlflowModel(found, flavour, model.signature, example)


def inside(folder: Path, name: object, where: str) -> Path:
    """A file within a model's folder. Raises `DeclarationError` for any other path."""
    path, want = PurePosixPath(str(name)), "a file of the model's folder"
    if path.is_absolute() or ".." in path.parts or not (folder / path).exists():
        raise DeclarationError(where, f"the file {str(name)[:80]!r}", want)
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise DeclarationError(where, f"a link {str(name)[:80]!r}", want)
    return folder / path


def pickled(where: str, flavour: str, form: str, address: str, other: str) -> DeclarationError:
    """The refusal of a pickle, with two ways out."""
    uri = address.removeprefix("mlflow:")
    call = f"mlflow.{flavour}.load_model({uri!r})"
    own = MEND.format(call=call) if flavour != "pytorch" else f"{PIPELINE}{call})"
    mend = f"log it {other}; or, {own}"
    return DeclarationError(where, f"the flavour {flavour} as {form}", "no pickle", mend)


def _onnx(folder: Path, flavour: Mapping[str, Any], where: str, _: str) -> Path:
    return inside(folder, flavour.get("data"), where)


def _xgboost(folder: Path, flavour: Mapping[str, Any], where: str, _: str) -> Path:
    path = inside(folder, flavour.get("data"), where)
    if path.suffix not in (".ubj", ".json"):
        got = f"the flavour xgboost as '{path.suffix}'"
        raise DeclarationError(where, got, "UBJSON or JSON", "log it with model_format='ubj'")
    return path


def _estimator(
    name: str, form_of: Callable[[Mapping[str, Any]], str], data: str
) -> Callable[[Path, Mapping[str, Any], str, str], Path]:
    def find(folder: Path, flavour: Mapping[str, Any], where: str, address: str) -> Path:
        if (form := form_of(flavour)) not in ("skops", "text"):
            other = "with serialization_format='skops'"
            raise pickled(where, name, form, address, other)
        return inside(folder, flavour.get(data), where)

    return find


def sklearn_form(flavour: Mapping[str, Any]) -> str:
    """How a scikit-learn estimator was saved."""
    return str(flavour.get("serialization_format", "pickle"))


def lightgbm_form(flavour: Mapping[str, Any]) -> str:
    """How a LightGBM model was saved: a Booster as text, estimators as scikit-learn's."""
    if str(flavour.get("model_class", "")).endswith(".Booster"):
        return "text"
    return str(flavour.get("serialization_format", "cloudpickle"))


def _pytorch(folder: Path, flavour: Mapping[str, Any], where: str, address: str) -> Path:
    data = inside(folder, flavour.get("model_data", "data"), where)
    if (data / "model.pt2").is_file():
        return inside(folder, (data / "model.pt2").relative_to(folder), where)
    path = inside(folder, (data / "model.pth").relative_to(folder), where)
    try:
        with zipfile.ZipFile(path) as archive:
            code = any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        code = False
    if not code:  # TorchScript has its code beside; all else is a pickled module
        mend = "with serialization_format='pt2' and an input example"
        raise pickled(where, "pytorch", "a pickled module", address, mend)
    return path


FILES: Mapping[str, Callable[[Path, Mapping[str, Any], str, str], Path]] = {
    "onnx": _onnx,
    "xgboost": _xgboost,
    "lightgbm": _estimator("lightgbm", lightgbm_form, "data"),
    "sklearn": _estimator("sklearn", sklearn_form, "pickled_model"),
    "pytorch": _pytorch,
}
"""Flavour -> what finds its file, the one that is taken first."""


def example_rows(example: Any, names: list[str]) -> list[dict[str, Any]]:
    """The rows of an input example, by field; `names` are the signature's inputs in order.

    None where a value is missing. An example of a form that holds no rows gives none.
    """
    fields = field_names(names)
    if example is None or not names:
        return []
    if hasattr(example, "columns"):
        columns = list(example.columns)
        if len(columns) != len(names):
            return []
        by_field = {
            fields[name]: name if name in columns else columns[place]
            for place, name in enumerate(names)
        }
        return rows_of_frame(example, by_field)
    if hasattr(example, "tolist"):
        example = {names[0]: example} if len(names) == 1 else {}
    if isinstance(example, list):
        return [
            {fields[name]: plain(row[name]) for name in names if name in row}
            for row in example
            if isinstance(row, Mapping)
        ]
    if isinstance(example, Mapping) and set(names) <= example.keys():
        sides = [example[name] for name in names]
        if all(hasattr(side, "__len__") and not isinstance(side, str) for side in sides):
            return [
                {fields[name]: plain(value) for name, value in zip(names, values, strict=True)}
                for values in zip(*sides, strict=False)
            ]
    logging.getLogger("seatrial.adopt").info("the input example holds no rows")
    return []


def plain(value: Any) -> Any:
    """A value as JSON has it, None for NaN."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and math.isnan(value) else value
