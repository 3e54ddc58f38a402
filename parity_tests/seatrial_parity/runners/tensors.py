"""Raw rows as tensors of the Open Inference Protocol, and back: for runners that ask by tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import DTYPES, PYTHON_TYPES
from seatrial_contracts.host_stage import in_batches
from seatrial_contracts.kinds.floats import rounded
from seatrial_contracts.kinds.kind import Array, Kind
from seatrial_contracts.kinds.mapped_kind import unstacked
from seatrial_contracts.kinds.raw_tensor import LENGTH, PRESENT, TOKEN_IDS
from seatrial_parity.runners.runner import Answers, Inexpressible, RawRows

Tensors = dict[str, tuple[str, Array]]
"""Name -> datatype, and values with the rows first; BYTES are objects."""


def tensors_of(contract: Contract, rows: RawRows) -> Tensors:
    """Turn rows of like shape into tensors. Raises `Inexpressible`.

    An input that all rows miss is left out. Lists that may be of unlike length are filled up, and
    stand beside their lengths; what stands for a missing value stands beside a mark.
    """
    fields = {field.name: field for field in contract.inputs}
    rows = [_values(contract, row) for row in rows]
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        raise Inexpressible
    made: Tensors = {}
    for name in names:
        if name in fields:
            field = fields[name]
            made |= _raw(name, field.kind, [row.get(name, field.default) for row in rows])
        else:
            # What it holds is nothing to whoever does not know it.
            made[name] = (
                "INT64",
                np.ones((len(rows), 1), np.int64),
            )
    return made


def _raw(name: str, kind: Kind, given: Sequence[Any]) -> Tensors:
    """The raw tensors of one input; none where all rows miss it."""
    made: Tensors = {}
    present = np.array([value is not None for value in given])
    if kind.marked and not present.all():
        if not present.any():
            return {}
        stand_in = next(value for value in given if value is not None)
        given = [stand_in if value is None else value for value in given]
        made[f"{name}_{PRESENT}"] = "BOOL", present[:, None]
    if kind.takes_token_ids and any(isinstance(value, list) for value in given):
        return made | _token_ids(name, given)
    values = [_value(kind, value) for value in given]
    if kind.ragged:
        lengths = np.array([len(value) for value in values], np.int64)
        made[f"{name}_{LENGTH}"] = "INT64", lengths[:, None]
        values = [filled_up(value, int(lengths.max())) for value in values]
    return {name: (kind.datatype, shaped(values, kind)), **made}


def _token_ids(name: str, given: Sequence[Any]) -> Tensors:
    """Texts that came as the ids of their tokens, all of them, and how many each has."""
    if not all(isinstance(value, list) and {*map(type, value)} == {int} for value in given):
        raise Inexpressible
    lengths = np.array([len(value) for value in given], np.int64)
    try:
        rows = [np.array(value, np.int64) for value in given]
    except OverflowError:
        raise Inexpressible from None
    ids = np.stack([filled_up(row, int(lengths.max())) for row in rows])
    return {
        f"{name}_{TOKEN_IDS}": ("INT64", ids),
        f"{name}_{LENGTH}": ("INT64", lengths[:, None]),
    }


def filled_up(value: Any, length: int) -> Any:
    """A row's values, with so many in all: empty words or zeros stand behind its own."""
    if isinstance(value, list):
        return [*value, *[b""] * (length - len(value))]
    whole = np.zeros((length, *value.shape[1:]), value.dtype)
    whole[: len(value)] = value
    return whole


def widened(tensors: Tensors) -> Tensors:
    """The same, in the element types in which Triton takes raw inputs."""
    from seatrial_serve.runtimes.triton_types import wide

    return {
        name: (
            wide(datatype),
            array if wide(datatype) == datatype else array.astype(DTYPES[wide(datatype)]),
        )
        for name, (datatype, array) in tensors.items()
    }


def _values(contract: Contract, row: Any) -> Mapping[str, Any]:
    """A row's values by the names of the inputs, unknown ones among them."""
    if not isinstance(row, Mapping):
        raise Inexpressible
    if not contract.is_nested:
        return row
    odd = {name: value for name, value in row.items() if name not in contract.record.names}
    try:
        return contract.record.flat(row) | odd
    except (TypeError, AttributeError):
        raise Inexpressible from None


def _value(kind: Kind, value: Any) -> Any:
    """One value in its tensor's element type."""
    dtype = np.dtype(object if kind.datatype == "BYTES" else DTYPES[kind.datatype])
    if value is None and not kind.nullable:
        raise Inexpressible
    if value is None:
        return b"" if dtype.kind == "O" else dtype.type(kind.missing_element)
    try:
        value = kind.wire(value)
        flat = np.array(value, object).ravel().tolist()
    except (ValueError, TypeError, KeyError):
        raise Inexpressible from None
    files = dtype.kind == "O" and all(type(item) is bytes for item in flat)
    if not files and not all(type(item) in PYTHON_TYPES[dtype.kind] for item in flat):
        raise Inexpressible
    if dtype.kind == "O":
        words = flat if files else [item.encode() for item in flat]
        return words if isinstance(value, list) else words[0]
    try:
        return rounded(value, "bfloat16") if kind.datatype == "BF16" else np.array(value, dtype)
    except (ValueError, OverflowError):
        raise Inexpressible from None


def shaped(values: Sequence[Any], kind: Kind) -> Array:
    """Turn values of rows into one array, `(rows, *row_shape)`.

    Raises `Inexpressible` for lists of unlike length.
    """
    sides = kind.row_shape
    if kind.datatype == "BYTES":
        return np.array(values, object).reshape(
            len(values), *(-1 if side is None else side for side in sides)
        )
    try:
        array = np.array(values, DTYPES[kind.datatype])
    except ValueError:
        raise Inexpressible from None
    if array.ndim == 2 and len(sides) > 1 and None not in sides:  # a flat list of a fixed shape
        return array.reshape(len(values), *[int(side) for side in sides if side is not None])
    return array if array.ndim > 1 else array[:, None]


def batches(contract: Contract, rows: RawRows, batch_rows: int) -> Iterator[list[int]]:
    """Yield places of rows that may share tensors.

    Their lists are of like shape, but for the first side of those that may be of unlike length.
    Raises `Inexpressible`.
    """
    ragged = {
        field.name for field in contract.inputs if field.kind.ragged or field.kind.takes_token_ids
    }
    shapes = [
        tuple(
            (name, shape)
            for name, value in _values(contract, row).items()
            if isinstance(value, list) and (shape := shape_of(value)[name in ragged :])
        )
        for row in rows
    ]
    yield from in_batches(shapes, batch_rows)


def shape_of(value: list[Any]) -> tuple[int, ...]:
    """The shape of nested lists. Raises `Inexpressible` where they are of unlike length."""
    try:
        return np.shape(value)
    except ValueError:
        raise Inexpressible from None


def answers_of(contract: Contract, outputs: Mapping[str, Array], rows: int) -> Answers:
    """The graph's tensors, batched, as one mapping for each row."""
    single = {tensor.name for tensor in contract.answer_tensors if tensor.shape == ()}
    return [
        {
            name: array[place].reshape(()) if name in single else array[place]
            for name, array in outputs.items()
        }
        for place in range(rows)
    ]


def client_answers_of(contract: Contract, outputs: Mapping[str, Array], rows: int) -> Answers:
    """The tensors that clients see, batched, as one mapping for each row.

    A mapped output stands by its own name, as its client's tensors.
    """
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    mapped = {output.name: output.kind for output in contract.mapped}
    for field in contract.outputs:
        if field.name not in mapped:
            names = contract.tensor_names[field.name]
            answers = answers_of(contract, {name: outputs[name] for name in names}, rows)
            found = [row | answer for row, answer in zip(found, answers, strict=True)]
            continue
        kind = mapped[field.name]
        counted = kind.counted_tensors(field.name)
        arrays = [
            words(outputs[tensor.name]).reshape(rows)
            if tensor.shape == ()
            else words(outputs[tensor.name])
            for tensor in counted
        ]
        for row, answer in enumerate(found):
            answer[field.name] = unstacked(kind.client_tensors(field.name), arrays, row)
    return found


def words(array: Array) -> Array:
    """BYTES as words; any other array as it is."""
    if array.dtype.kind != "O":
        return array
    decoded = [word.decode() if isinstance(word, bytes) else word for word in array.ravel()]
    return np.array(decoded, object).reshape(array.shape)
