"""A fitted scikit-learn estimator and the contract that it answers for.

The estimator itself is the reference.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import onnx
from typing_extensions import TypeIs

from seatrial_contracts.contract import Contract
from seatrial_contracts.declaration import contract_from_rows, float32_by_default
from seatrial_contracts.element_types import FLOATS
from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds.category import FEW, Category
from seatrial_contracts.kinds.columns import Columns
from seatrial_contracts.kinds.kind import Kind, TensorSpec
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.number import EXACT_IN_FLOAT32, Number
from seatrial_contracts.kinds.plain_text import PlainText
from seatrial_contracts.kinds.tokenised import Tokenised
from seatrial_contracts.row import Answer, Row
from seatrial_export.adopt.label_rule import check_labels, check_rule
from seatrial_export.adopt.names import match_names
from seatrial_export.adopt.native import NativeBooster
from seatrial_export.adopt.parts import is_missing, parts_of
from seatrial_export.adopt.text_columns import TextColumns
from seatrial_export.adopt.trees import compares_doubles

WHERE = "scikit-learn estimator"
TOOLS = ("scikit-learn", "skl2onnx")
BLOCK = 2**12
"""Entries of a category that are tried at once."""


class SupportsFit(Protocol):
    """An estimator of scikit-learn's making, or of its manner."""

    fit: Any


def is_estimator(value: object) -> TypeIs[SupportsFit]:
    """Is it something of scikit-learn's making that answers?"""
    return hasattr(value, "fit") and any(hasattr(value, verb) for verb in ("predict", "transform"))


class Estimator:
    """An estimator and the contract that it is to answer for."""

    def __init__(self, estimator: Any, inputs: type[Row], outputs: type[Answer]) -> None:
        self._estimator = estimator
        self._computes_doubles = compares_doubles(estimator)
        self._doubles = float32_by_default(inputs) if self._computes_doubles else frozenset()
        """Numbers that are float64, since float32 was not asked for and would round them."""
        self._contract = with_kinds(contract_from_rows(inputs, outputs), self._doubled)
        self._packs = packs_of(self._contract)
        self._check_fitted()
        self._columns = columns_of(estimator)
        self._alone = not self._columns and not hasattr(_first(estimator), "n_features_in_")
        """Was it fitted on texts, which have no columns?"""
        self._check_texts()
        self._fields = self._match()
        self._texts = TextColumns(estimator, len(self._fields))
        self._check_cut()
        self._check_answers()

    def graph(self) -> onnx.ModelProto:
        """The estimator as a graph.

        Raises `GateError` where a part has no form in a graph, or the contract takes what the
        estimator raises at.
        """
        # scikit-learn is not needed for ONNX files.
        from seatrial_export.adopt.sklearn_graph import Column, write_graph

        self._check_taken()
        words = self._words()
        columns = [Column("", "numbers")] * (0 if self._fields else self._width())
        ports = self._ports
        for place, name in enumerate(self._fields):
            if place in self._texts.columns:
                columns.append(Column(ports[name], "terms"))
            else:
                columns.append(Column(ports[name], "words" if name in words else "numbers"))
        packs = {
            f"columns_of_{place}": [ports[name] for name in names]
            for place, names in enumerate(self._packs.values())
            if self._fields
        }
        return write_graph(self._estimator, columns, self._missing_word, self._dtype, packs)

    @property
    def _ports(self) -> dict[str, str]:
        """Field -> what the graph calls its column.

        A column's own name could be that of a value inside, such as `label`.
        """
        return {name: f"column_{place}" for place, name in enumerate(self._fields)}

    @property
    def renamed(self) -> dict[str, str]:
        """Input of the graph -> field; packed columns are one input."""
        packed = {name for names in self._packs.values() for name in names}
        alone = {port: name for name, port in self._ports.items() if name not in packed}
        packs = self._packs if self._fields else ()
        return alone | {f"columns_of_{place}": name for place, name in enumerate(packs)}

    def _doubled(self, name: str, kind: Kind) -> Kind:
        """The kind in float64, where numbers of it were not asked for in float32."""
        is_one = not self._doubles.isdisjoint((name, *kind.column_names))
        return kind.model_copy(update={"dtype": "float64"}) if is_one else kind

    @property
    def kinds(self) -> dict[str, Kind]:
        """Field -> its kind, where the estimator adds to it.

        A text has the rules of the vectorizers that read it, and a number is float64 where
        thresholds part numbers that are nearer to each other than float32 tells.
        """
        kinds = {field.graph_name: (field.name, field.kind) for field in self._contract.inputs}
        found = {
            name: kind
            for name, kind in kinds.values()
            if not self._doubles.isdisjoint((name, *kind.column_names))
        }
        for column in self._texts.columns:
            name, kind = kinds[self._fields[column]]
            assert isinstance(kind, PlainText), "checked before"
            found[name] = self._texts.kind_of(column, kind)
        return found

    def answer(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """scikit-learn's own answers to validated rows, by output.

        Raises `GateError` where the estimator's own labels differ from those of its scores.
        """
        table = self._table(rows)
        with warnings.catch_warnings():
            # Unknown words that the encoder takes are its own matter.
            warnings.simplefilter("ignore")
            answers = {
                field.name: dense(self._verb(field.kind)(table)) for field in self._contract.outputs
            }
            for field in self._contract.outputs:
                if isinstance(field.kind, Label):
                    scores = np.asarray(answers[field.name])
                    check_labels(
                        np.asarray(self._estimator.classes_),
                        scores,
                        np.ravel(self._estimator.predict(table)),
                    )
        return answers

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        """What the estimator was fitted on: a data frame, a matrix, or texts."""
        if self._alone:
            return [row[self._fields[0]] for row in rows]
        if not self._columns:
            fields = [field.name for field in self._contract.inputs]
            return np.array(
                [np.hstack([np.ravel(row[name]) for name in fields]) for row in rows], np.float64
            )
        import pandas

        rows = [self._unpacked(row) for row in rows]
        words = set(self._words())
        return pandas.DataFrame(
            {
                column: pandas.Series(
                    [
                        (self._missing_word if name in words else np.nan)
                        if row[name] is None
                        else row[name]
                        for row in rows
                    ],
                    dtype=object if name in words else None,
                )
                for column, name in zip(self._columns, self._fields, strict=True)
            }
        )

    def _unpacked(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with a number for each packed column, NaN where it is missing."""
        columns = {
            column: number
            for name, names in self._packs.items()
            for column, number in zip(names, row[name].tolist(), strict=True)
        }
        return row | columns

    @cached_property
    def _missing_word(self) -> Any:
        """How a missing word stood in training: None or NaN.

        Raises `GateError` where parts of the estimator differ in that.
        """
        none, nan = set(), set()
        for part in parts_of(self._estimator):
            if type(part).__name__ == "SimpleImputer" and part.missing_values is None:
                none.add("SimpleImputer")
            for word in (word for column in getattr(part, "categories_", ()) for word in column):
                if word is None:
                    none.add(type(part).__name__)
                elif is_missing(word) and _has_words(part):
                    nan.add(type(part).__name__)
        if none and nan:
            cause = (
                f"missing words are None for {', '.join(sorted(none))} and NaN for "
                f"{', '.join(sorted(nan))}"
            )
            raise GateError(
                "scikit-learn", cause, "fit every part on one of the two: frame.fillna(np.nan)"
            )
        return None if none else np.nan

    @property
    def _dtype(self) -> str:
        """The type that the graph computes in.

        It is float64 where float32 does not hold the contract's numbers.
        """
        numbers = [
            field.kind
            for field in self._contract.inputs
            if isinstance(field.kind, (Number, Category)) and field.kind.datatype != "BYTES"
        ]
        wide = [
            kind
            for kind in numbers
            if (isinstance(kind, Number) and kind.dtype == "float64")
            or (kind.whole and max(map(abs, kind.range)) > EXACT_IN_FLOAT32)
        ]
        packed = any(
            isinstance(field.kind, Columns) and field.kind.dtype != "float32"
            for field in self._contract.inputs
        )
        return "float64" if wide or packed or self._computes_doubles else "float32"

    def _words(self) -> list[str]:
        """The fields that are words."""
        return [
            field.name
            for field in self._contract.inputs
            if isinstance(field.kind, PlainText)
            or (isinstance(field.kind, Category) and not field.kind.whole)
        ]

    def _verb(self, kind: Any) -> Callable[[Any], Any]:
        """The method that makes an output of this kind."""
        scores = isinstance(kind, Label) or (
            len(getattr(self._estimator, "classes_", ())) and kind.datatype in FLOATS
        )
        verb = (
            "predict_proba"
            if scores
            else "predict"
            if hasattr(self._estimator, "predict")
            else "transform"
        )
        if not hasattr(self._estimator, verb):
            raise DeclarationError(
                WHERE, f"no {verb}", "an estimator that gives the scores of its classes"
            )
        method: Callable[[Any], Any] = getattr(self._estimator, verb)
        return method

    def _check_fitted(self) -> None:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        if isinstance(self._estimator, NativeBooster):
            return
        try:
            check_is_fitted(self._estimator)
        except NotFittedError:
            raise DeclarationError(
                WHERE, "one that is not fitted", "a fitted one: call fit in the file"
            ) from None

    def _check_texts(self) -> None:
        """Raise `DeclarationError` for texts that no estimator takes."""
        for field in self._contract.inputs:
            if isinstance(field.kind, Tokenised):
                got, want = "a text with a tokenizer", "st.Text() without one: no token ids"
            elif isinstance(field.kind, PlainText) and field.kind.nullable:
                got = "a text that may be missing, at which vectorizers raise"
                want = "a text that is always there, without `| None`"
            else:
                continue
            raise DeclarationError(f"input '{field.name}'", got, want)

    def _check_cut(self) -> None:
        """Raise `DeclarationError` where a vectorizer reads what is no text in the contract."""
        kinds = {field.graph_name: field.kind for field in self._contract.inputs}
        for column in sorted(self._texts.columns):
            name = self._fields[column]
            if not isinstance(kinds[name], PlainText):
                raise DeclarationError(
                    f"input '{name}'",
                    kinds[name].want(),
                    f"a text, which the estimator's vectorizer cuts: {name}: Annotated[str, "
                    "st.Text(max_chars=2000)]",
                )

    def _match(self) -> list[str]:
        """The field of each column. Raises `DeclarationError` that lists both sides."""
        fields = [
            name
            for spec in self._contract.tensors
            for name in self._packs.get(spec.name, (spec.name,))
        ]
        names = match_names(self._columns, fields)
        unknown = [column for column in self._columns if column not in names]
        unused = set(fields) - set(names.values()) if self._columns else set()
        if self._alone:
            return self._match_alone(fields)
        width = self._width() if not self._columns else None
        given = sum(_width_of(spec) for spec in self._contract.tensors)
        if unknown or unused or (width is not None and width != given):
            ours = ", ".join(fields)
            theirs = ", ".join(self._columns) or f"{width} columns without names"
            raise DeclarationError(
                "contract",
                f"the fields {ours}",
                f"the columns that the estimator was fitted on: {theirs}",
            )
        for field in self._contract.inputs:
            if isinstance(field.kind, Category) and field.kind.hosted:
                raise DeclarationError(
                    f"input '{field.name}'",
                    f"a file of {len(field.kind.known)} words",
                    f"at most {FEW} of them: the estimator's own encoder looks them up in the "
                    "graph",
                )
        words = self._words()
        if words and not self._columns:
            want = "an estimator that was fitted on a data frame: words and numbers share no matrix"
            raise DeclarationError(
                f"input '{words[0]}'", "a category for an estimator of columns without names", want
            )
        return [names[column] for column in self._columns]

    def _match_alone(self, fields: list[str]) -> list[str]:
        """The field of an estimator that takes texts alone."""
        if len(fields) != 1:
            raise DeclarationError(
                "contract",
                f"the fields {', '.join(fields)}",
                "one text: the estimator was fitted on texts, not on a data frame",
            )
        return fields

    def _width(self) -> int:
        return width_of(self._estimator)

    def _check_answers(self) -> None:
        """Check that the estimator gives the contract's answers.

        Raises `DeclarationError` where the estimator cannot answer so, or the contract names the
        classes otherwise or in another order.
        """
        theirs = tuple(map(str, getattr(self._estimator, "classes_", ())))
        nameless = isinstance(self._estimator, NativeBooster) and self._estimator.nameless
        for field in self._contract.outputs:
            self._verb(field.kind)
            if isinstance(field.kind, Label) and theirs != field.kind.classes:
                if nameless and len(theirs) == len(field.kind.classes):
                    continue
                want = (
                    "the estimator's own, in its order: "
                    f"{', '.join(theirs) or 'none, since it is no classifier'}"
                )
                raise DeclarationError(
                    f"output '{field.name}'", f"the classes {', '.join(field.kind.classes)}", want
                )
            if isinstance(field.kind, Label):
                check_rule(self._estimator)

    def _check_taken(self) -> None:
        """Raise `GateError` for a word or a missing value that the estimator raises at.

        Only what the contract takes is tried.
        """
        known = next((row for row in self._plain_rows() if self._raised([row]) is None), None)
        if known is None:
            return  # golden rows will say what is the matter
        for field in self._contract.inputs:
            kind, where = field.kind, f"field '{field.name}'"
            if isinstance(kind, Category):
                odd = next(
                    (
                        entries[place]
                        for entries in in_blocks(kind)
                        if (
                            place := self._first_raised([{**known, field.name: e} for e in entries])
                        )
                        is not None
                    ),
                    None,
                )
                if odd is not None:
                    noun = "number" if kind.whole else "word"
                    word = (
                        f"the {noun} '{odd}'" if odd in kind.known else f"a {noun} outside the list"
                    )
                    raise GateError(
                        "contract",
                        f"{where} takes {word}, which the estimator has never seen, and raises at",
                        "take it out of the contract, or fit the encoder to bear it: "
                        "handle_unknown='ignore' (OrdinalEncoder: 'use_encoded_value')",
                    )
            if kind.nullable:
                said = self._raised([{**known, field.name: None}])
                if said is not None:
                    raise GateError(
                        "contract",
                        f"{where} may be missing, and the estimator raises there: {said}",
                        "take `| None` from the field, or fit the estimator on missing values: an "
                        "imputer before it, or rows that lack them",
                    )

    def _plain_rows(self) -> list[dict[str, Any]]:
        """Rows of which the estimator should know one.

        They are the contract's example with each category's first word, second word, and so on.
        """
        example = self._contract.validate_row(self._contract.example_row())
        kinds = {
            field.name: field.kind
            for field in self._contract.inputs
            if isinstance(field.kind, Category)
        }
        most = min(max((len(kind.known) for kind in kinds.values()), default=1), 20)
        return [
            {
                **example,
                **{
                    name: kind.known[place % len(kind.known)]
                    for name, kind in kinds.items()
                    if kind.known
                },
            }
            for place in range(most)
        ]

    def _raised(self, rows: list[dict[str, Any]]) -> str | None:
        """What the estimator says where it raises at these rows; None where it answers."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._verb(self._contract.outputs[0].kind)(self._table(rows))
            except Exception as error:  # scikit-learn's and the user's parts raise all sorts
                return (
                    f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"
                )
        return None

    def _first_raised(self, rows: list[dict[str, Any]]) -> int | None:
        """The place of the first row that it raises at, found by halving."""
        if self._raised(rows) is None:
            return None
        low, high = 0, len(rows)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self._raised(rows[low:middle]) is not None else (middle, high)
            )
        return low


def packs_of(contract: Contract) -> dict[str, Sequence[str]]:
    """Input that packs columns of a row -> their names."""
    packs = {field.name: field.kind.column_names for field in contract.inputs}
    return {name: names for name, names in packs.items() if names}


def with_kinds(contract: Contract, kind_of: Callable[[str, Kind], Any]) -> Contract:
    """The contract whose inputs are of other kinds."""
    inputs = [
        InputField(name=each.name, kind=kind_of(each.name, each.kind), default=each.default)
        for each in contract.inputs
    ]
    return contract.model_copy(update={"inputs": tuple(inputs)})


def dense(made: Any) -> Any:
    """What a transformer made, of which some is sparse."""
    return made.toarray() if hasattr(made, "toarray") else made


def in_blocks(kind: Category) -> Iterator[Sequence[Any]]:
    """The entries of a category, and behind them one that is none where it is taken."""
    for start in range(0, len(kind.known), BLOCK):
        yield kind.known[start : start + BLOCK]
    if kind.unknown != "reject":
        yield kind.outsiders()[:1]


def columns_of(estimator: Any) -> list[str]:
    """The names of the columns that an estimator was fitted on; none of a matrix or of texts."""
    first = _first(estimator)
    names = getattr(first, "feature_names_in_", None)
    if names is None:  # CatBoost's own attribute, which numbers columns without names
        names = getattr(first, "feature_names_", None) or ()
        names = () if list(names) == [str(place) for place in range(len(names))] else names
    return [str(name) for name in names]


def width_of(estimator: Any) -> int:
    """How many columns an estimator was fitted on; texts are one."""
    return int(getattr(_first(estimator), "n_features_in_", 1))


def _first(estimator: Any) -> Any:
    """What sees the columns first: the first step of a pipeline that is one."""
    while hasattr(estimator, "steps") and not hasattr(estimator, "n_features_in_"):
        estimator = next(
            step for _, step in estimator.steps if step is not None and not isinstance(step, str)
        )
    return estimator


def _has_words(encoder: Any) -> bool:
    """Are some of its categories words?"""
    return any(isinstance(word, str) for column in encoder.categories_ for word in column)


def _width_of(spec: TensorSpec) -> int:
    return int(np.prod([size for size in spec.dims if isinstance(size, int)], dtype=int))
