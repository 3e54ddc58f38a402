"""The protocol's values, free of how they travel.

HTTP and gRPC are both read into these values and written from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, Column

MAX_NAMED = 64
"""Most parameters in one request, and most inputs or outputs where a contract has no more."""
MAX_ID_CHARS = 128
Parameters = Mapping[str, bool | int | float | str]


def most_named(contract: Contract) -> int:
    """How many inputs, and as many outputs, a request to this contract's model may name."""
    return max(MAX_NAMED, len(contract.raw_tensors), len(contract.outputs))


@dataclass(slots=True)
class Tensor:
    """An input.

    `data` is flat, row-major, an array of `datatype` or a list for BYTES; `shape` has as many
    elements.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Column


@dataclass(slots=True)
class Wanted:
    """An output that was asked for; `binary` is None where the request as a whole says how."""

    name: str
    binary: bool | None = None
    best: int | None = None
    """How many of its classes are wanted in place of the tensor (`classification`)."""


@dataclass(slots=True)
class InferRequest:
    """`outputs` is None where all are wanted."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Wanted] | None = None
    parameters: Parameters = field(default_factory=dict)
    id: str = ""
    binary: bool = False
    """Are outputs wanted in binary where they do not say?"""
    row: dict[str, Any] | None = None
    """The only row, validated, where the request was read as a whole: `inputs` are empty then."""


@dataclass(slots=True)
class InferResponse:
    """The answer: outputs in the order they were asked for, rows first."""

    model: str
    version: str
    digest: str
    variant: str
    id: str
    outputs: Sequence[tuple[Wanted, str, Array]]
    """Each with its datatype."""
    errors: Sequence[Mapping[str, Any]] | None = None
    """Of a partial answer: the rows without one, each with `row`, `code` and `error`.

    NaN stands in their place.
    """

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the answer.

        The protocol's parameters hold no lists, so that the errors are a text of JSON.
        """
        said = {"digest": self.digest, "variant": self.variant}
        return (
            said if self.errors is None else said | {"errors": orjson.dumps(self.errors).decode()}
        )


def checked_parameters(parameters: Any, where: str) -> Parameters:
    """Parameters as the protocol has them: string, number or boolean, by name. Raises `Refusal`."""
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping) or not all(
        type(value) in (bool, int, float, str) for value in parameters.values()
    ):
        raise Refusal(
            "E_SCHEMA", where, "other parameters", "an object of strings, numbers and booleans"
        )
    if len(parameters) > MAX_NAMED:
        raise Refusal("E_LIMIT", where, f"{len(parameters)} parameters", f"at most {MAX_NAMED}")
    for name in parameters:
        if name.startswith("shared_memory_"):
            raise Refusal("E_UNSUPPORTED", where, "shared memory", "the data in the request itself")
    return parameters


def checked_flag(parameters: Parameters, name: str, where: str) -> bool | None:
    """A parameter that is true or false; None where it is not there. Raises `Refusal`."""
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refusal("E_PARAMETER", where, f"another '{name}'", "true or false")
    return value


def place_of_input(contract: Contract, name: str) -> str:
    """Where an input stands, in messages: they name what the contract has, and no client's words.

    Raises `Refusal` for a name that no tensor of the contract has.
    """
    known = contract.raw_tensors
    if name not in known:
        raise Refusal(
            "E_UNKNOWN_FIELD", "inputs", "one that the contract does not have", ", ".join(known)
        )
    return f"input '{name}'"


def checked_wanted(contract: Contract, name: str, given: Any) -> Wanted:
    """Return an output that was asked for, with `binary_data` and `classification`.

    These two are the parameters of an output that are offered. Any other would change what is
    answered. Raises `Refusal`, also for an output that the contract does not have.

    KServe's client sends `binary_data` over gRPC too, where every output is binary.
    """
    known = contract.client_tensors
    if name not in known:
        raise Refusal("E_OUTPUT", "outputs", "one that the model does not have", ", ".join(known))
    where = f"output '{name}'"
    parameters = checked_parameters(given, where)
    if parameters.keys() - {"binary_data", "classification"}:
        want = "'binary_data' and 'classification' alone"
        raise Refusal("E_UNSUPPORTED", where, "an unknown parameter", want)
    best = parameters.get("classification")
    if best is not None and (type(best) is not int or best < 1):
        want = "a whole number from 1: how many classes are wanted"
        raise Refusal("E_PARAMETER", where, "another 'classification'", want)
    return Wanted(name, checked_flag(parameters, "binary_data", where), best)


def checked_id(value: Any) -> str:
    """The request's id. Raises `Refusal`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refusal("E_SCHEMA", "id", "no string", "a string")
    if not (value.isascii() and value.isprintable()):
        raise Refusal("E_SCHEMA", "id", "other characters", "printable ASCII")
    if len(value) > MAX_ID_CHARS:
        raise Refusal("E_LIMIT", "id", f"{len(value)} characters", f"at most {MAX_ID_CHARS}")
    return value
