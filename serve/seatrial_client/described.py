"""A model as its server describes it: contract, limits and how its answers travel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from seatrial_client.reply import odd_answer
from seatrial_client.row_models import row_model
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError

LEFT_OUT = "_left_out"
"""Ends the name beside a long list of which a server tells the first entries alone."""


@dataclass(frozen=True)
class Described:
    """What `/v1/models/NAME` says."""

    name: str
    version: str
    contract: Contract
    whole: bool
    """Are all classes of its answers told?"""
    row_schema: dict[str, Any]
    answer_schema: dict[str, Any]
    example: Any
    max_rows: int
    max_body_bytes: int

    @cached_property
    def row(self) -> type[BaseModel]:
        """A Pydantic model of one row."""
        return row_model("Row", self.row_schema)

    @property
    def columnar(self) -> bool:
        """Do columns travel as V2's tensors, and come back so?"""
        contract = self.contract
        return (
            self.whole
            and not contract.mapped
            and not any(f.kind.by_row or f.kind.ragged for f in contract.inputs)
            and all(None not in tensor.shape for tensor in contract.answer_tensors)
        )


def described(said: dict[str, Any], name: str, version: str | None) -> Described:
    """Read a server's description. Raises `Unavailable` where it is none."""
    try:
        told = said["contract"]
        outputs = [field["kind"] for field in told["outputs"]]
        whole = not any(key.endswith(LEFT_OUT) for kind in outputs for key in kind)
        for field in (*told["inputs"], *told["outputs"]):
            field["kind"] = {k: v for k, v in field["kind"].items() if not k.endswith(LEFT_OUT)}
        return Described(
            name,
            str(version or said.get("serves") or said["version"]),
            Contract.model_validate(told),
            whole,
            said["inputs"],
            said["outputs"],
            said["example"],
            int(said["limits"]["max_rows"]),
            int(said["limits"]["max_body_bytes"]),
        )
    except (KeyError, TypeError, ValueError, ValidationError, DeclarationError) as error:
        want = "one that this seatrial knows"
        raise odd_answer(f"a description of '{name}' that cannot be read", want) from error
