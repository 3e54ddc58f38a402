"""Tensors of a V2 message to columns, which the contract validates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Column
from seatrial_contracts.kinds.raw_tensor import RawTensor
from seatrial_serve.v2.message import Tensor, place_of_input


def columns_of(contract: Contract, tensors: Sequence[Tensor]) -> tuple[dict[str, Column], int]:
    """Return the tensors as columns of the right type and shape, and their number of rows.

    Raises `Refusal`.
    """
    columns: dict[str, Column] = {}
    for tensor in tensors:
        add_column(contract, columns, tensor, tensors[0])
    rows = tensors[0].shape[0] if tensors else 0
    if not rows:
        raise Refusal("E_EMPTY_BATCH", "inputs", "no rows", f"1 to {contract.limits.max_rows} rows")
    if rows > contract.limits.max_rows:
        raise Refusal("E_BATCH", "inputs", f"{rows} rows", f"1 to {contract.limits.max_rows} rows")
    return columns, rows


def add_column(
    contract: Contract, columns: dict[str, Column], tensor: Tensor, first: Tensor
) -> None:
    """Add a tensor to the columns of its request, whose first tensor is `first`.

    Raises `Refusal`.
    """
    where = place_of_input(contract, tensor.name)
    if tensor.name in columns:
        raise Refusal("E_UNKNOWN_FIELD", where, "it twice", "each input once")
    column = shaped(tensor, contract.raw_tensors[tensor.name], where)
    rows = first.shape[0]
    if tensor.shape[0] != rows:
        want = f"{rows} rows, as '{first.name}' has"
        raise Refusal("E_SHAPE", where, f"{tensor.shape[0]} rows", want)
    columns[tensor.name] = column


def shaped(tensor: Tensor, raw: RawTensor, where: str) -> Column:
    """Return the data of a tensor with its rows first.

    A single value for each row may come as shape [rows] or [rows, 1].
    """
    if tensor.datatype != raw.datatype:
        raise Refusal("E_DTYPE", where, tensor.datatype, raw.datatype)
    want, got = raw.row_shape, tensor.shape[1:]
    if want == (1,) and got in ((), (1,)):
        return tensor.data
    if len(got) != len(want) or any(
        side not in (None, size) for side, size in zip(want, got, strict=True)
    ):
        sides = ", ".join("any" if side is None else str(side) for side in want)
        raise Refusal("E_SHAPE", where, f"shape {list(tensor.shape)}", f"shape [rows, {sides}]")
    dtype = object if raw.datatype == "BYTES" else None  # numpy's own drops NULs at the end
    return np.asarray(tensor.data, dtype).reshape(tensor.shape)
