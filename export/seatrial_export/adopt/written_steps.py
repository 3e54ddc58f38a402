"""Steps of scikit-learn pipelines that are written into the graph here.

They are the steps that skl2onnx has no form for, or a wrong one.

skl2onnx asks an object for `onnx_shape_calculator` and `onnx_converter`; each class here stands in
a copy of the pipeline, in the place of a fitted step, and answers with both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.base import BaseEstimator, TransformerMixin

from seatrial_contracts.kinds.category import MISSING
from seatrial_export.adopt.casts import element_type
from seatrial_export.adopt.parts import is_missing, last_of
from seatrial_export.gate.lookup import ML_DOMAIN

Floats = NDArray[np.float64]


class Value(NamedTuple):
    """A value inside the graph: shape `(batch, width)`; `words` where it holds strings."""

    name: str
    width: int
    words: bool = False


class Writer:
    """Nodes on their way into a graph that skl2onnx writes."""

    def __init__(self, scope: Any, operator: Any, container: Any, dtype: str) -> None:
        self._scope, self._operator, self._container, self.dtype = scope, operator, container, dtype

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """An operator; returns the name of what it makes."""
        name: str = self._scope.get_unique_variable_name(f"written_{kind}")
        self._container.add_node(
            kind,
            list(inputs),
            name,
            op_domain=domain,
            name=self._scope.get_unique_operator_name(kind),
            **attributes,
        )
        return name

    def constant(self, values: Any, dtype: str = "") -> str:
        """A constant; floats as `dtype`, else as the graph's own type."""
        array = np.asarray(values)
        array = array.astype(dtype or self.dtype) if array.dtype.kind == "f" else array
        name: str = self._scope.get_unique_variable_name("written_constant")
        if array.dtype.kind in "OU":
            words: Any = [str(word).encode() for word in array.ravel()]
            tensor = onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, words)
        else:
            tensor = numpy_helper.from_array(array, name)
        self._container.initializers.append(tensor)
        return name

    @property
    def inputs(self) -> list[Any]:
        """skl2onnx's variables that the step takes."""
        return list(self._operator.inputs)

    def columns(self) -> list[Value]:
        """The inputs, a column each."""
        from skl2onnx.common.data_types import StringTensorType

        found = []
        for variable in self._operator.inputs:
            words = isinstance(variable.type, StringTensorType)
            width = int(variable.get_second_dimension())
            value = variable.full_name if words else self.floats(variable.full_name)
            if width == 1:
                found.append(Value(value, 1, words))
                continue
            places = [self.constant(np.array([place], np.int64)) for place in range(width)]
            found += [Value(self.add("Gather", value, place, axis=1), 1, words) for place in places]
        return found

    def floats(self, value: str) -> str:
        """Numbers as the graph's own floats."""
        return self.add("Cast", value, to=element_type(self.dtype))

    def whole(self) -> str:
        """The numbers of all inputs, side by side."""
        return self.beside([self.floats(variable.full_name) for variable in self.inputs])

    def takes_option(self, model: Any, option: str) -> bool:
        """Has skl2onnx's form of a model this option?"""
        return not isinstance(model, WrittenStep) and bool(
            self._container.has_options(model, option)
        )

    def answers(self, model: Any, options: dict[str, Any]) -> str:
        """What a model inside this one answers of the same inputs: the scores of a classifier."""
        from skl2onnx._parse import _parse_sklearn

        for each in (model, last_of(model)):
            own = {
                name: value
                for name, value in {**options, "zipmap": False}.items()
                if self.takes_option(each, name)
            }
            for holder in (self._scope, self._container) if own else ():
                holder.add_options(id(each), own)
        made = _parse_sklearn(self._scope, model, self.inputs)
        name: str = made[-1].full_name
        return name

    def beside(self, values: Sequence[str]) -> str:
        """Columns side by side."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def close(self, value: str) -> None:
        """This is what the step makes."""
        self._container.add_node(
            "Identity",
            [value],
            self._operator.outputs[0].full_name,
            name=self._scope.get_unique_operator_name("Identity"),
        )


class WrittenStep(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A step of a copied pipeline.

    `width` is how many columns the step makes, None for as many as it takes.
    """

    width: int | None = None
    dtype: str = "float32"

    def fit(self, *_: Any) -> WrittenStep:
        """Nothing to learn: it is made of a fitted step."""
        return self

    def transform(self, *_: Any) -> Any:
        """Never asked: the graph does it."""
        raise NotImplementedError("the graph does it: this is a bug in seatrial")

    def write(self, writer: Writer) -> str:
        """The nodes; returns the name of what they make."""
        raise NotImplementedError("each step writes its own nodes: this is a bug in seatrial")

    def makes_words(self, _: Any) -> bool:
        """Does it make strings of what this operator takes?"""
        return False

    def onnx_shape_calculator(self) -> Callable[[Any], None]:
        """As skl2onnx asks for it."""
        from skl2onnx.common import data_types

        def shape(operator: Any) -> None:
            given = sum(int(variable.get_second_dimension()) for variable in operator.inputs)
            floats = (
                data_types.DoubleTensorType
                if self.dtype == "float64"
                else data_types.FloatTensorType
            )
            sort = data_types.StringTensorType if self.makes_words(operator) else floats
            batch = operator.inputs[0].get_first_dimension()
            operator.outputs[0].type = sort([batch, given if self.width is None else self.width])

        return shape

    def onnx_converter(self) -> Callable[[Any, Any, Any], None]:
        """As skl2onnx asks for it."""

        def convert(scope: Any, operator: Any, container: Any) -> None:
            writer = Writer(scope, operator, container, self.dtype)
            writer.close(self.write(writer))

        return convert


class Single(WrittenStep):
    """Numbers as float32, also for what skl2onnx puts behind it."""

    def onnx_parser(self) -> Callable[..., list[tuple[str, Any]]]:
        """As skl2onnx asks for it: outputs and their types, where those are not the inputs'."""
        from skl2onnx.common.data_types import FloatTensorType

        return lambda scope, inputs: [("single", FloatTensorType([None, None]))]  # noqa: ARG005  (by name)

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        return writer.whole()


class Table(NamedTuple):
    """Numbers that an encoder makes of one column.

    There is a row for each key, for a missing value, and for any other.
    """

    keys: list[Any]
    rows: Floats
    """Shape `(len(keys) + 2, width)`.

    The last row but one is of a missing value, the last of any other.
    """


class Lookup(WrittenStep):
    """Encoders of categories as tables.

    A table holds the encoder's own answer to each of its words, to a missing word, and to another.
    """

    def __init__(self, encoder: Any, missing: Any, dtype: str) -> None:
        self.tables = tables_of(encoder, missing)
        self.width, self.dtype = sum(table.rows.shape[1] for table in self.tables), dtype

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        columns = [
            column
            for column, table in zip(writer.columns(), self.tables, strict=True)
            if table.rows.shape[1]
        ]
        tables = [table for table in self.tables if table.rows.shape[1]]
        return writer.beside(
            [self._column(writer, *pair) for pair in zip(columns, tables, strict=True)]
        )

    def _column(self, writer: Writer, column: Value, table: Table) -> str:
        """One column: its place in the table, then the row at that place."""
        gap, other = len(table.keys), len(table.keys) + 1
        places = np.arange(len(table.keys)).tolist()
        if column.words:
            keys = {
                "keys_strings": [*map(str, table.keys), MISSING],
                "values_int64s": [*places, gap],
            }
            place = writer.add(
                "LabelEncoder", column.name, domain=ML_DOMAIN, default_int64=other, **keys
            )
        else:
            value = writer.add("Cast", column.name, to=element_type("float32"))
            numbers = {
                "keys_floats": [float(np.float32(key)) for key in table.keys],
                "values_int64s": places,
            }
            known = writer.add(
                "LabelEncoder", value, domain=ML_DOMAIN, default_int64=other, **numbers
            )
            place = writer.add(
                "Where", writer.add("IsNaN", value), writer.constant(np.array(gap)), known
            )
        if is_one_hot(table.rows):
            width = table.rows.shape[1]
            hot = np.where(table.rows.any(1), table.rows.argmax(1), width)
            column_of = writer.add("Gather", writer.constant(hot.astype(np.int64)), place)
            return writer.floats(
                writer.add("Equal", column_of, writer.constant(np.arange(width)[None]))
            )
        flat = writer.add("Reshape", place, writer.constant(np.array([-1])))
        return writer.add("Gather", writer.constant(table.rows), flat, axis=0)


def is_one_hot(rows: Floats) -> bool:
    """Is each row all zeros but for a one at most?"""
    return rows.shape[1] > 1 and bool(np.isin(rows, (0, 1)).all() and (rows.sum(1) <= 1).all())


def tables_of(encoder: Any, missing: Any) -> list[Table]:
    """The tables of an encoder, column by column.

    The encoder is run on each of its categories, a missing value, and an unknown word.

    What it raises at stands as NaN: the contract keeps such words away, which is seen before.
    """
    categories = [list(column) for column in encoder.categories_]
    first = [column[0] for column in categories]
    whole = _asked(encoder, [first])
    widths = _widths(encoder, whole.shape[1])
    ends = np.cumsum([0, *widths])
    tables = []
    for place, column in enumerate(categories):
        keys = [word for word in column if not is_missing(word)]
        numeric = not any(isinstance(key, str) for key in keys)
        none = np.nan if numeric else missing
        other: Any = (
            max(map(float, keys), default=0.0) + 1 if numeric else "".join(map(str, keys)) + "?"
        )
        rows = []
        for word in (*keys, none, other):
            try:
                made = _asked(encoder, [[*first[:place], word, *first[place + 1 :]]])
                rows.append(made[0, ends[place] : ends[place + 1]])
            except (ValueError, TypeError):  # as encoders refuse a word
                rows.append(np.full(widths[place], np.nan))
        tables.append(Table(keys, np.array(rows, np.float64).reshape(len(rows), widths[place])))
    return tables


def _asked(encoder: Any, rows: list[list[Any]]) -> Floats:
    """What it makes of rows of words and numbers, dense."""
    import pandas

    names = getattr(encoder, "feature_names_in_", range(len(rows[0])))
    sorts = [np.asarray(column).dtype for column in encoder.categories_]
    columns = {
        name: pandas.Series(
            [row[place] for row in rows], dtype=None if sort.kind in "biuf" else object
        )
        for place, (name, sort) in enumerate(zip(names, sorts, strict=True))
    }
    made = encoder.transform(pandas.DataFrame(columns))
    return np.asarray(made.toarray() if hasattr(made, "toarray") else made, np.float64)


def _widths(encoder: Any, whole: int) -> list[int]:
    """How many columns it makes of each."""
    own = getattr(encoder, "_n_features_outs", None)
    many = len(encoder.categories_)
    return [int(width) for width in own] if own is not None else [whole // many] * many


class Filled(WrittenStep):
    """SimpleImputer, and the flags of what was missing behind it."""

    def __init__(self, imputer: Any, dtype: str) -> None:
        self.imputer, self.dtype = imputer, dtype
        statistics = np.asarray(imputer.statistics_, object)
        self.kept = [
            place
            for place, value in enumerate(statistics)
            if imputer.keep_empty_features or not is_missing(value)
        ]
        indicator = getattr(imputer, "indicator_", None)
        self.flags = [] if indicator is None else [int(place) for place in indicator.features_]
        self.width = len(self.kept) + len(self.flags)

    def makes_words(self, _: Any) -> bool:
        """See `WrittenStep.makes_words`."""
        from skl2onnx.common.data_types import StringTensorType

        return isinstance(_.inputs[0].type, StringTensorType)

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        columns = writer.columns()
        gaps = [gap_of(writer, column, self.imputer.missing_values) for column in columns]
        filled = []
        for place in self.kept:
            fill = self.imputer.statistics_[place]
            value = str(fill) if columns[place].words else float(0 if is_missing(fill) else fill)
            filled.append(
                writer.add(
                    "Where", gaps[place], writer.constant(np.array([[value]])), columns[place].name
                )
            )
        return writer.beside([*filled, *(writer.floats(gaps[place]) for place in self.flags)])


class Gaps(WrittenStep):
    """MissingIndicator: a one where a value is missing."""

    def __init__(self, indicator: Any, dtype: str) -> None:
        self.indicator, self.dtype, self.width = indicator, dtype, len(indicator.features_)

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        columns = writer.columns()
        gaps = [
            gap_of(writer, columns[int(place)], self.indicator.missing_values)
            for place in self.indicator.features_
        ]
        return writer.beside([writer.floats(gap) for gap in gaps])


def gap_of(writer: Writer, column: Value, missing: Any) -> str:
    """Where a column's values are missing, as bool."""
    if column.words:
        word = MISSING if is_missing(missing) else str(missing)
        found = writer.add(
            "LabelEncoder",
            column.name,
            domain=ML_DOMAIN,
            keys_strings=[word],
            values_int64s=[1],
            default_int64=0,
        )
        return writer.add("Cast", found, to=onnx.TensorProto.BOOL)
    if is_missing(missing):
        return writer.add("IsNaN", column.name)
    return writer.add("Equal", column.name, writer.constant(np.array([[float(missing)]])))


Write = Callable[[Writer, str], str]


def _plain(operator: str) -> Write:
    return lambda writer, value: writer.add(operator, value)


def _scaled(operator: str, factor: float) -> Write:
    return lambda writer, value: writer.add(
        "Mul", writer.add(operator, value), writer.constant(np.array(factor))
    )


def _log1p(writer: Writer, value: str) -> str:
    """log(1 + x), exact near 0 too: 2 atanh(x / (2 + x))."""
    ratio = writer.add("Div", value, writer.add("Add", value, writer.constant(np.array(2.0))))
    near = writer.add("Mul", writer.add("Atanh", ratio), writer.constant(np.array(2.0)))
    far = writer.add("Log", writer.add("Add", value, writer.constant(np.array(1.0))))
    small = writer.add("Less", writer.add("Abs", value), writer.constant(np.array(0.5)))
    return writer.add("Where", small, near, far)


FUNCTIONS: dict[Any, Write] = {
    np.log: _plain("Log"),
    np.exp: _plain("Exp"),
    np.sqrt: _plain("Sqrt"),
    np.abs: _plain("Abs"),
    np.sin: _plain("Sin"),
    np.cos: _plain("Cos"),
    np.tanh: _plain("Tanh"),
    np.negative: _plain("Neg"),
    np.reciprocal: _plain("Reciprocal"),
    np.floor: _plain("Floor"),
    np.ceil: _plain("Ceil"),
    np.sign: _plain("Sign"),
    np.square: lambda writer, value: writer.add("Mul", value, value),
    np.cbrt: lambda writer, value: writer.add(
        "Mul",
        writer.add("Sign", value),
        writer.add("Pow", writer.add("Abs", value), writer.constant(np.array(1 / 3))),
    ),
    np.log2: _scaled("Log", 1 / np.log(2)),
    np.log10: _scaled("Log", 1 / np.log(10)),
    np.log1p: _log1p,
    np.expm1: lambda writer, value: writer.add(
        "Sub", writer.add("Exp", value), writer.constant(np.array(1.0))
    ),
}
"""numpy's functions that ONNX has an operator for, or a few."""


class Applied(WrittenStep):
    """A function of numpy's on every number, as FunctionTransformer applies it."""

    def __init__(self, function: Any, dtype: str) -> None:
        self.function, self.dtype = function, dtype

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        return FUNCTIONS[self.function](writer, writer.whole())


class Affine(WrittenStep):
    """Each column times a factor, plus a shift."""

    def __init__(self, factor: Any, shift: Any, dtype: str) -> None:
        self.factor, self.shift, self.dtype = np.atleast_2d(factor), np.atleast_2d(shift), dtype

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        scaled = writer.add("Mul", writer.whole(), writer.constant(self.factor.astype(np.float64)))
        return writer.add("Add", scaled, writer.constant(self.shift.astype(np.float64)))


class Binned(WrittenStep):
    """KBinsDiscretizer: how many of a column's inner edges a number has reached.

    The count stands as a number or one-hot.
    """

    def __init__(self, bins: Any, dtype: str) -> None:
        self.edges = [np.asarray(edges[1:-1], np.float64) for edges in bins.bin_edges_]
        self.dtype = dtype
        self.hot = bins.encode != "ordinal"
        self.width = int(sum(bins.n_bins_)) if self.hot else len(self.edges)

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        made = []
        for column, edges in zip(writer.columns(), self.edges, strict=True):
            exact = writer.add("Cast", column.name, to=element_type("float64"))
            bounds = writer.constant(edges[None] if len(edges) else np.array([[np.inf]]), "float64")
            reached = writer.add(
                "Cast", writer.add("GreaterOrEqual", exact, bounds), to=element_type("int64")
            )
            place = writer.add("ReduceSum", reached, writer.constant(np.array([1])), keepdims=1)
            if self.hot:
                place = writer.add("Equal", place, writer.constant(np.arange(len(edges) + 1)[None]))
            made.append(writer.floats(place))
        return writer.beside(made)
