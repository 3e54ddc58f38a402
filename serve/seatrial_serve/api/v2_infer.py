"""One inference: from tensors to what the model is asked, and from its answer to outputs.

The tensors are checked against the contract; the outputs are those that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from seatrial_contracts.answer_forms import prompted
from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import NOT_IN_JSON
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.output_kind import OptionValues
from seatrial_serve.api.exchange import Exchange, Job, Reply
from seatrial_serve.api.v2_answer import client_arrays
from seatrial_serve.api.v2_classification import check_classification, classified
from seatrial_serve.api.v2_partial import refuse_without_nan, sound_columns
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.partial import described_errors
from seatrial_serve.models.request import Terms
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.clock import now_s
from seatrial_serve.v2.columns import columns_of
from seatrial_serve.v2.elements import not_in_json
from seatrial_serve.v2.faults import with_others
from seatrial_serve.v2.message import InferRequest, InferResponse, Parameters, Tensor, Wanted

MICROSECONDS = 1e-6


def inference(
    asked: Exchange, request: InferRequest, write: Callable[[InferResponse, Answer], Reply]
) -> Job:
    """What a request asks; its own parameters change its terms. `write` writes the answer.

    Raises `Refusal` if tensors break the contract, and `Unavailable` if the request's timeout is
    too short.
    """
    model = asked.model
    asked.terms = terms = with_parameters(asked.terms, request.parameters)
    if request.parameters.get("timeout"):
        model.backlog.admit(terms.deadline_s)
    contract = model.contract
    wanted = wanted_outputs(contract, request)
    options = contract.read_options(chosen(contract, request.parameters))
    if request.row is not None:
        return Job([request.row], partial(_reply, model, request.id, wanted, False, options, write))
    if terms.partial:
        refuse_without_nan(contract.client_tensors_for(options), wanted)
    reply = partial(_reply, model, request.id, wanted, terms.partial, options, write)
    prompts = contract.prompts(options)
    try:
        columns, rows = columns_of(contract, request.inputs)
        if not terms.partial:
            given = contract.validate_columns(columns, rows)
            return Job(prompted(given, prompts), reply, prompts=prompts)
        sound, refused = sound_columns(contract, columns, rows)
    except Refusal as refusal:
        read = [partial(whole, tensor) for tensor in request.inputs]
        raise with_others(refusal, contract, read) from None
    return Job(prompted(sound, prompts), reply, refused, prompts)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is read already."""
    return tensor


def _reply(
    model: ServedModel, request_id: str, wanted: list[Wanted], by_row: bool,
    options: OptionValues, write: Callable[[InferResponse, Answer], Reply], answer: Answer,
) -> Reply:  # fmt: skip
    contract = model.contract
    tensors = contract.client_tensors_for(options)
    arrays = client_arrays(contract, answer, wanted, options, tensors)
    outputs = [
        (each, tensors[each.name].datatype, array)
        if each.best is None
        else (each, "BYTES", classified(contract, each, array))
        for each, array in zip(wanted, arrays, strict=True)
    ]
    errors = described_errors(answer) if by_row else None
    response = InferResponse(
        model.name,
        model.version,
        model.bundle.digest,
        model.engine.variant,
        request_id,
        outputs,
        errors,
    )
    return write(response, answer)


def chosen(contract: Contract, parameters: Parameters) -> Parameters:
    """Those of a request's parameters that are options of the contract."""
    known = contract.known_options
    return {name: value for name, value in parameters.items() if name in known} if known else {}


def with_parameters(terms: Terms, parameters: Parameters) -> Terms:
    """The terms, as the request's reserved parameters change them. Raises `Refusal`."""
    if not parameters:
        return terms
    for name in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(name):
            raise Refusal(
                "E_UNSUPPORTED", f"parameter '{name}'", "a sequence", "requests that stand alone"
            )
    priority, timeout = _whole(parameters, "priority"), _whole(parameters, "timeout")
    if timeout:
        until = now_s() + timeout * MICROSECONDS
        terms = replace(terms, deadline_s=min(until, terms.deadline_s))
    return replace(terms, priority=priority) if priority else terms


def _whole(parameters: Parameters, name: str) -> int:
    value = parameters.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise Refusal(
            "E_PARAMETER", f"parameter '{name}'", "another value", "a whole number from 0"
        )
    return value


def wanted_outputs(contract: Contract, request: InferRequest) -> list[Wanted]:
    """The outputs to give, each once. Raises `Refusal`."""
    names = contract.client_tensors
    if request.outputs is None:
        found = [Wanted(name, request.binary) for name in names]
    else:
        found = [
            Wanted(each.name, request.binary if each.binary is None else each.binary, each.best)
            for each in request.outputs
        ]
        check_named(contract, found)
    for wanted in found:
        datatype = names[wanted.name].datatype
        if not wanted.binary and wanted.best is None and datatype in NOT_IN_JSON:
            mend = "'binary_data' of the output, or 'binary_data_output' of the request"
            raise not_in_json(datatype, f"output '{wanted.name}'", mend)
    return found


def check_named(contract: Contract, found: Sequence[Wanted]) -> None:
    """Raise `Refusal` for outputs that the model does not have so, or that are named twice."""
    for wanted in found:
        check_classification(contract, wanted)
    if len({wanted.name for wanted in found}) != len(found):
        raise Refusal("E_OUTPUT", "outputs", "one of them twice", "each once")
