"""A contract drafted from the signature that MLflow kept of a model, as a file to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.frames import listed
from seatrial_contracts.kinds.category import FEW
from seatrial_export.adopt.draft import encoded, write_new
from seatrial_export.adopt.estimator import columns_of, width_of
from seatrial_export.adopt.names import field_names, match_names
from seatrial_export.adopt.parts import is_missing, parts_of
from seatrial_export.adopt.text_columns import vectorizers_of

ALONE, ANSWER = "x", "answer"
"""What a single input and a single output without names are called."""
PLAIN = {
    "boolean": "bool",
    "integer": "int",
    "long": "int",
    "float": "float",
    "double": 'Annotated[float, st.Number(dtype="float64")]',
}
"""MLflow's type of a column -> the field."""
NUMPY = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
}
"""MLflow's type of an element -> numpy's."""
MAX_CHARS = 2048
MEND = "write the contract by hand: --contract FILE.py:ROWS"
HEAD = '''"""Rows and answers of {name}, drafted from the signature that MLflow kept of it.

Write bounds, units and better names, and adopt again with --contract.
"""

import datetime as dt
from typing import Annotated, Literal

import numpy as np

import seatrial as st


class Rows(st.Row):
{rows}


class Answers(st.Answer):
{answers}
'''


class SignatureDraft:
    """The fields of a signature; an estimator says its words, texts and classes beside."""

    def __init__(self, signature: Any, estimator: Any = None) -> None:
        """Raise `DeclarationError` where the signature lacks inputs, or columns of training."""
        if signature is None or signature.inputs is None:
            mend = "log it with a signature, or with an input example"
            raise DeclarationError("model", "no signature", "one", f"{mend}; {MEND}")
        self._estimator, self._outputs = estimator, signature.outputs
        self._inputs = named(signature.inputs, ALONE)
        self.names = list(self._inputs)
        """The inputs, in order, as MLflow calls them."""
        self._columns = dict.fromkeys(self.names, "")
        """Input -> the column of training that it is."""
        if estimator is not None and not signature.inputs.is_tensor_spec():
            self._match(columns_of(estimator))
        self._texts = set() if estimator is None else self._read_texts()

    def _read_texts(self) -> set[str]:
        """The inputs that a vectorizer of the estimator reads."""
        columns = columns_of(self._estimator)
        places = {column: place for place, column in enumerate(columns)}
        read = {place for _, place in vectorizers_of(self._estimator, range(len(columns) or 1))}
        return {
            name
            for place, name in enumerate(self.names)
            if places.get(self._columns[name], place) in read
        }

    def _match(self, columns: list[str]) -> None:
        if not columns:
            if len(self.names) != width_of(self._estimator):
                got = f"{len(self.names)} columns in the signature"
                raise DeclarationError(
                    "model", got, f"the {width_of(self._estimator)} of training", MEND
                )
            return
        found = match_names(columns, self.names)
        lacking = [column for column in columns if column not in found]
        if lacking:
            got = f"no column '{lacking[0]}' in the signature"
            raise DeclarationError("model", got, f"those of training: {', '.join(columns)}", MEND)
        self._columns |= {name: column for column, name in found.items()}

    def write(self, path: Path, name: str) -> None:
        """Write the contract to a new file. Raises `DeclarationError`."""
        write_new(path, self.code(name))

    def code(self, name: str) -> str:
        """The contract as Python. Raises `DeclarationError` for a type that no kind takes."""
        fields = field_names(self.names)
        rows = [f"    {fields[each]}: {self._type(each)}" for each in self.names]
        return HEAD.format(name=name, rows="\n".join(rows), answers=self._answers())

    def _type(self, name: str) -> str:
        spec = self._inputs[name]
        if hasattr(spec, "shape"):
            return tensor_type(spec, name)
        missing = "" if spec.required else " | None"
        kind = getattr(spec.type, "name", "")
        if kind == "string":
            return self._words(name, missing)
        if kind in PLAIN:
            return with_missing(PLAIN[kind], missing)
        if kind == "datetime":
            return f'Annotated[dt.datetime{missing}, st.DateTime(zone="UTC")]'
        sides, element = array_of(spec.type)
        if element in NUMPY and not missing:
            return f"st.Tensor[np.{NUMPY[element]}{', None' * sides}]"
        want = "numbers, true or false, words, texts, times or arrays"
        raise DeclarationError(f"signature, input '{name}'", f"the type {spec.type}", want, MEND)

    def _words(self, name: str, missing: str) -> str:
        """The field of a column of words."""
        if self._estimator is None or name in self._texts:
            return f"Annotated[str{missing}, st.Text(max_chars={MAX_CHARS})]"
        for part in parts_of(self._estimator):
            known = dict(encoded(part)).get(self._columns[name] or name, ())
            words = [word for word in known if not is_missing(word)]
            if words and all(isinstance(word, str) for word in words) and len(words) <= FEW:
                return f"{listed(words).text}{missing}"
        got = "words that no encoder of the estimator lists"
        raise DeclarationError(f"signature, input '{name}'", got, f"at most {FEW} of them", MEND)

    def _answers(self) -> str:
        classes = getattr(self._estimator, "classes_", ())
        if len(classes):
            names = ", ".join(repr(str(name)) for name in classes)
            return f"    {ANSWER}: Annotated[str, st.Label({names})]"
        if self._outputs is None:
            raise DeclarationError("model", "a signature without outputs", "one with them", MEND)
        outputs = named(self._outputs, ANSWER)
        fields = field_names(outputs)
        return "\n".join(
            f"    {fields[name]}: {answer_type(spec, name)}" for name, spec in outputs.items()
        )


def named(schema: Any, alone: str) -> dict[str, Any]:
    """Name -> spec; those without names are numbered, a single one is called `alone`."""
    specs = list(schema.inputs)
    if len(specs) == 1 and specs[0].name is None:
        return {alone: specs[0]}
    return {str(spec.name or f"{alone}{place}"): spec for place, spec in enumerate(specs)}


def with_missing(text: str, missing: str) -> str:
    """The field of a number that may be missing."""
    if "[" not in text:
        return text + missing
    return text.replace("Annotated[float,", f"Annotated[float{missing},")


def tensor_type(spec: Any, name: str) -> str:
    """The field of a `TensorSpec`, whose first side is the batch. Raises `DeclarationError`."""
    dtype, sides = spec.type.name, list(spec.shape)[1:]
    if spec.type.kind not in "biuf":
        if spec.type.kind in "OUS" and not sides:
            return f"Annotated[str, st.Text(max_chars={MAX_CHARS})]"
        got = f"a tensor of {dtype}, shape {tuple(spec.shape)}"
        raise DeclarationError(f"signature, tensor '{name}'", got, "numbers", MEND)
    if not sides:
        return number_type(dtype)
    inner = ", ".join("None" if side < 0 else str(side) for side in sides)
    return f"st.Tensor[np.{dtype}, {inner}]"


def number_type(dtype: str) -> str:
    """The field of one number of an element type of numpy's."""
    plain = {"bool": "bool", "float32": "float", "int64": "int"}
    sort = "float" if dtype.startswith("float") else "int"
    return plain.get(dtype, f'Annotated[{sort}, st.Number(dtype="{dtype}")]')


def answer_type(spec: Any, name: str) -> str:
    """The answer of an output. Raises `DeclarationError`."""
    if hasattr(spec, "shape"):
        alone = list(spec.shape)[1:] == [1]
        return number_type(spec.type.name) if alone else tensor_type(spec, name)
    kind = getattr(spec.type, "name", "")
    if kind in PLAIN:
        return "float" if kind == "double" else PLAIN[kind]
    sides, element = array_of(spec.type)
    if element in NUMPY:
        return f"st.Tensor[np.{NUMPY[element]}{', None' * sides}]"
    got, want = f"the type {spec.type}", "numbers, or true or false"
    raise DeclarationError(f"signature, output '{name}'", got, want, MEND)


def array_of(kind: Any) -> tuple[int, str]:
    """How many sides an array of arrays has, and the name of its elements' type."""
    sides = 0
    while hasattr(kind, "dtype") and not hasattr(kind, "value"):
        kind, sides = kind.dtype, sides + 1
    return sides, str(getattr(kind, "name", "")) if sides else ""
