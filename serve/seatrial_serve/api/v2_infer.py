"""One inference: tensors against the contract, through the model, to the outputs that were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Column
from seatrial_serve.api.v2_partial import refuse_without_nan, sound_columns, whole_array
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.partial import answer_each, described_errors
from seatrial_serve.models.request import Terms
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.clock import now_s
from seatrial_serve.v2.columns import columns_of
from seatrial_serve.v2.message import InferRequest, InferResponse, Parameters, Wanted

LARGE_ROWS = 256
"""Columns of more rows are checked in a thread."""
MICROSECONDS = 1e-6


async def infer(
    model: ServedModel, request: InferRequest, terms: Terms, pool: Executor
) -> tuple[InferResponse, Answer]:
    """Answer a request; the model's own answer is given beside the protocol's. Raises what `ServedModel.answer_rows` raises, and `Refusal` where tensors break the contract."""
    terms = with_parameters(terms, request.parameters)
    if request.parameters.get("timeout"):
        model.backlog.admit(terms.deadline_s)
    contract, bundle = model.contract, model.bundle
    wanted = wanted_outputs(contract, request)
    if terms.partial:
        refuse_without_nan(contract, wanted)
    columns, rows = columns_of(contract, request.inputs)
    answer = await (partly_answered if terms.partial else answered)(model, columns, rows, terms, pool)
    datatypes = {field.name: field.kind.datatype for field in contract.outputs}
    outputs = [
        (each, datatypes[each.name], array if array.ndim > 1 else array[:, None])
        for each in wanted
        for array in (whole_array(contract, answer, each.name),)
    ]
    errors = described_errors(answer) if terms.partial else None
    response = InferResponse(
        bundle.name, bundle.version, bundle.digest, model.engine.variant, request.id, outputs, errors
    )
    return response, answer


async def answered(
    model: ServedModel, columns: Mapping[str, Column], rows: int, terms: Terms, pool: Executor
) -> Answer:
    """What the model answers for columns, or nothing of it."""
    check = model.contract.validate_columns
    if rows > LARGE_ROWS:
        checked = await asyncio.get_running_loop().run_in_executor(pool, check, columns, rows)
    else:
        checked = check(columns, rows)
    return await model.answer_columns(checked, terms)


async def partly_answered(
    model: ServedModel, columns: Mapping[str, Column], rows: int, terms: Terms, pool: Executor
) -> Answer:
    """What the model answers for those rows of columns that can be answered."""
    loop = asyncio.get_running_loop()
    sound, refused = await loop.run_in_executor(pool, sound_columns, model.contract, columns, rows)
    return await answer_each(model, sound, refused, terms)


def with_parameters(terms: Terms, parameters: Parameters) -> Terms:
    """The terms, as the request's reserved parameters change them. Raises `Refusal`."""
    for name in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(name):
            raise Refusal("E_UNSUPPORTED", f"parameter '{name}'", "a sequence", "requests that stand alone")
    priority, timeout = _whole(parameters, "priority"), _whole(parameters, "timeout")
    if timeout:
        until = now_s() + timeout * MICROSECONDS
        terms = replace(terms, deadline_s=min(until, terms.deadline_s))
    return replace(terms, priority=priority) if priority else terms


def _whole(parameters: Parameters, name: str) -> int:
    value = parameters.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise Refusal("E_PARAMETER", f"parameter '{name}'", "another value", "a whole number from 0")
    return value


def wanted_outputs(contract: Contract, request: InferRequest) -> list[Wanted]:
    """The outputs to give, each once. Raises `Refusal`."""
    names = [field.name for field in contract.outputs]
    if request.outputs is None:
        return [Wanted(name, request.binary) for name in names]
    for wanted in request.outputs:
        if wanted.name not in names:
            raise Refusal("E_OUTPUT", "outputs", "one that the model does not have", ", ".join(names))
    if len({wanted.name for wanted in request.outputs}) != len(request.outputs):
        raise Refusal("E_OUTPUT", "outputs", "one of them twice", "each once")
    return [
        Wanted(wanted.name, request.binary if wanted.binary is None else wanted.binary) for wanted in request.outputs
    ]
