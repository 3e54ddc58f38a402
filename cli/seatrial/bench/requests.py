"""Rows to whole HTTP/1.1 requests, made before the load begins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_contracts.golden import wire_row
from seatrial_contracts.host_stage import HostStage

if TYPE_CHECKING:
    from seatrial.bench.target import Target

V1, V2 = "v1", "v2"
HEADER = "Inference-Header-Content-Length"
PROTOCOLS = (V1, V2)
MOST_REQUESTS = 256
"""Different requests, sent in turn."""
Rows = Sequence[Mapping[str, Any]]


def rows_of_bundle(bundle: Bundle) -> tuple[Rows, str]:
    """Its golden rows as JSON carries them, and what they are."""
    return [wire_row(row) for row in bundle.golden.rows], "golden rows"


def rows_of_contract(contract: Contract, example: Mapping[str, Any]) -> tuple[Rows, str]:
    """Rows drawn from a contract, and what they are.

    If drawing needs files of the bundle (a tokenizer), it is the example alone.
    """
    if any(field.kind.front_names(field.name) for field in contract.inputs):
        return [example], "the contract's example"
    drawn = draw_rows(HostStage(contract, {}), [example])
    return [each.row for each in drawn if each.named] or [example], "rows drawn from the contract"


def requests_of(target: Target, per_request: int, protocol: str, deadline_s: float) -> list[bytes]:
    """Whole requests that hold the target's rows in turn, `per_request` in each.

    Raises `DeclarationError` where the contract does not take so many, or where no tensor can
    carry any of the rows.
    """
    contract, key = target.contract, target.key
    if per_request > contract.limits.max_rows:
        got, want = str(per_request), f"at most {contract.limits.max_rows}, as the contract says"
        raise DeclarationError("--rows", got, want)
    parts = urlsplit(target.url)
    name = quote(target.name, safe="")
    path = f"{parts.path.rstrip('/')}/{protocol}/models/{name}"
    path += ":predict" if protocol == V1 else "/infer"
    head = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += f"X-Request-Timeout-Ms: {max(1, round(deadline_s * 1e3))}\r\n"
    if key is not None:
        head += f"Authorization: Bearer {key}\r\n"
    made = (v1_bodies if protocol == V1 else v2_bodies)(contract, target.rows, per_request)
    found = []
    for body, more in islice(made, MOST_REQUESTS):
        if len(body) > contract.max_body_bytes:
            got = f"{per_request} rows of {len(body):,} bytes together"
            raise DeclarationError("--rows", got, f"at most {contract.max_body_bytes:,} bytes")
        found.append(f"{head}{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    if not found:
        got = "rows that no tensor can carry"
        raise DeclarationError(f"--protocol {protocol}", got, "tensors", f"use --protocol {V1}")
    return found


def v1_bodies(contract: Contract, rows: Rows, per_request: int) -> Iterator[tuple[bytes, str]]:
    """Bodies of JSON rows, and their headers."""
    beside = {"parameters": contract.whole_options} if contract.whole_options else {}
    for start in range(0, len(rows), per_request):
        chunk = list(islice(cycle(rows), start, start + per_request))
        body = json.dumps({"instances": chunk, **beside}).encode()
        yield body, "Content-Type: application/json\r\n"


def v2_bodies(contract: Contract, rows: Rows, per_request: int) -> Iterator[tuple[bytes, str]]:
    """Bodies of binary tensors, as tritonclient writes them, and their headers.

    Rows that no tensor can carry are left out. Raises `MissingExtra`.
    """
    try:
        from tritonclient import http as kit

        from seatrial_parity.runners.runner import Inexpressible
        from seatrial_parity.runners.tensor_runner import triton_inputs
        from seatrial_parity.runners.tensors import batches, tensors_of
    except ModuleNotFoundError as error:
        raise MissingExtra(f"--protocol {V2}", "parity") from error
    outputs = [kit.InferRequestedOutput(name, binary_data=True) for name in contract.client_tensors]
    for start in range(0, len(rows), per_request):
        chunk = list(islice(cycle(rows), start, start + per_request))
        try:
            if len(list(batches(contract, chunk, per_request))) > 1:
                continue  # rows of unlike shape share no tensor
            inputs = triton_inputs(kit, tensors_of(contract, chunk), binary_data=True)
        except Inexpressible:
            continue
        body, length = kit.InferenceServerClient.generate_request_body(
            inputs, outputs=outputs, parameters=dict(contract.whole_options) or None
        )
        yield bytes(body), f"Content-Type: application/octet-stream\r\n{HEADER}: {length}\r\n"
