"""What all runners that ask by tensors share; each adds how its tensors travel."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.http_client import (
    TIMEOUT_S,
    HttpClient,
    bearer,
    error_of,
    object_of,
    odd_answer,
)
from seatrial_parity.runners.runner import Answers, Inexpressible, RawRows
from seatrial_parity.runners.tensors import (
    Tensors,
    answers_of,
    batches,
    client_answers_of,
    tensors_of,
)

NAMES_BY_TRITON = re.compile(
    r"expected (number of )?inputs|expected \d+ inputs|unexpected inference input"
)
"""Triton's own text about a request that names other inputs than the configuration does.

No contract of seatrial is involved then.
"""
CODE = re.compile(r"\bE_[A-Z0-9_]+\b")
LOST = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
"""gRPC's own words for a connection that broke, or an answer that did not come."""


class Served(NamedTuple):
    """A server's own account of its model: the bundle's digest, and the variant.

    The digest is empty where the server holds no bundle; the variant is there where the server
    names it.
    """

    digest: str = ""
    variant: str = "served"


class TensorRunner(ABC):
    """Asks a server that holds this very bundle, which its digest shows."""

    name: str
    variant = Served().variant
    provider: str | None = None
    client_terms: bool = True

    def __init__(self, bundle: Bundle) -> None:
        contract = bundle.contract
        self._bundle, self._contract = bundle, contract
        self.options = contract.whole_options if self.client_terms else {}
        graph_answers = {} if self.client_terms else contract.graph_answers
        self._answers = {made: name for name, made in graph_answers.items()}
        self.outputs = [*contract.client_tensors] if self.client_terms else [*self._answers]

    def __enter__(self) -> Self:
        digest, self.variant = self.served()
        if digest != self._bundle.digest:
            got = (
                f"digest {digest[:16]}" if digest else "no such model, or one that names no digest"
            )
            raise Unavailable(
                "E_OTHER_BUNDLE", f"{self.name}: got {got}, want digest {self._bundle.digest[:16]}"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def served(self) -> Served:
        """What the server holds. Raises `Unavailable`."""

    @abstractmethod
    def ask(self, tensors: Tensors) -> dict[str, Array]:
        """Tensors to outputs. Raises `Refusal` with the server's code where it refuses or fails."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        """See `Runner.run`."""
        answers: Answers = [{}] * len(rows)
        read = client_answers_of if self.client_terms else answers_of
        # Answers of unlike size share no request, and their size is not seen in a row.
        alone = (
            any(each.shape[:2] == (None, None) for each in self._contract.client_tensors.values())
            if self.client_terms
            else any(None in each.shape for each in self._contract.answer_tensors)
        )
        for places in batches(self._contract, rows, 1 if alone else batch_rows):
            made = self.ask(tensors_of(self._contract, [rows[place] for place in places]))
            outputs = {self._answers.get(name, name): array for name, array in made.items()}
            for place, answer in zip(
                places, read(self._contract, outputs, len(places)), strict=True
            ):
                answers[place] = answer
        return answers

    def refusal_code(self, row: Any) -> str | None:
        """See `Runner.refusal_code`."""
        try:
            self.ask(tensors_of(self._contract, [row]))
        except Refusal as refusal:
            return refusal.code
        return None


def refusal_from(text: str, code: str | None = None) -> Refusal:
    """Make a refusal of a server's text, with its code, or the code in the text.

    Raises `Inexpressible` for requests that Triton refuses by itself.
    """
    if NAMES_BY_TRITON.search(text):
        raise Inexpressible
    found = CODE.search(text)
    return Refusal(code or (found[0] if found else "E_OTHER"), text[:300])


def triton_inputs(kit: Any, tensors: Tensors, **options: Any) -> list[Any]:
    """Tensors as tritonclient takes them; `kit` is its module."""
    from tritonclient.utils import triton_to_np_dtype

    inputs = []
    for name, (datatype, array) in tensors.items():
        given = kit.InferInput(name, list(array.shape), datatype)
        own = array.astype(triton_to_np_dtype(datatype)) if datatype == "BF16" else array
        given.set_data_from_numpy(np.ascontiguousarray(own), **options)
        inputs.append(given)
    return inputs


def declared(found: Mapping[str, Array | None]) -> dict[str, Array]:
    """The outputs. Raises `Unavailable` where one is missing."""
    outputs = {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        for name, array in found.items()
        if array is not None
    }
    if len(outputs) < len(found):
        raise odd_answer("an answer without one of the outputs", "all that the contract declares")
    return outputs


class BinaryRunner(TensorRunner):
    """Binary tensors over HTTP.

    The bytes are tritonclient's, the connection httpx's, since tritonclient drops the body of an
    error.
    """

    def __init__(
        self,
        bundle: Bundle,
        url: str,
        version: str,
        key: str | None = None,
        model: str | None = None,
    ) -> None:
        """`model`: the name that it is served under, where that is not the bundle's."""
        super().__init__(bundle)
        self.version = version
        self.client = HttpClient(url, key)
        self.path = f"/v2/models/{model or bundle.name}/versions/{version}"

    def get(self, path: str) -> dict[str, Any]:
        """GET a path below the model's own; empty where there is no such thing.

        Raises `Unavailable`.
        """
        reply = self.client.get(self.path + path)
        return object_of(reply) if reply.status_code == 200 else {}

    def ask(self, tensors: Tensors) -> dict[str, Array]:
        """See `TensorRunner.ask`."""
        from tritonclient import http as kit
        from tritonclient.utils import InferenceServerException

        client = kit.InferenceServerClient
        outputs = [kit.InferRequestedOutput(name, binary_data=True) for name in self.outputs]
        body, length = client.generate_request_body(
            triton_inputs(kit, tensors, binary_data=True),
            outputs=outputs,
            parameters=dict(self.options) or None,
        )
        headers = {"Inference-Header-Content-Length": str(length)} if length is not None else {}
        reply = self.client.post(
            f"{self.path}/infer",
            bytes(body),
            {"Content-Type": "application/octet-stream", **headers},
        )
        if reply.status_code != 200:
            code, text = error_of(reply)
            raise refusal_from(text, None if code == "E_OTHER" else code)
        try:
            length = int(reply.headers["inference-header-content-length"])
            result = client.parse_response_body(reply.content, header_length=length)
            found = {name: result.as_numpy(name) for name in self.outputs}
        # tritonclient checks nothing itself.
        except (LookupError, TypeError, ValueError, InferenceServerException):
            raise odd_answer("tensors that cannot be read", "the declared outputs") from None
        return declared(found)

    def close(self) -> None:
        """See `TensorRunner.close`."""
        self.client.close()


class GrpcRunner(TensorRunner):
    """tritonclient over gRPC."""

    def __init__(
        self,
        bundle: Bundle,
        address: str,
        version: str,
        key: str | None = None,
        model: str | None = None,
    ) -> None:
        """`model`: the name that it is served under, where that is not the bundle's."""
        from tritonclient import grpc as kit

        super().__init__(bundle)
        self.kit, self.version, self.model = kit, version, model or bundle.name
        self.client, self.headers = kit.InferenceServerClient(address), bearer(key)

    def ask(self, tensors: Tensors) -> dict[str, Array]:
        """See `TensorRunner.ask`."""
        from tritonclient.utils import InferenceServerException

        try:
            result = self.client.infer(
                self.model,
                triton_inputs(self.kit, tensors),
                model_version=self.version,
                client_timeout=TIMEOUT_S,
                headers=self.headers,
                parameters=dict(self.options) or None,
            )
        except InferenceServerException as error:
            # gRPC's own error: tritonclient hides it, and with it the trailing metadata.
            said: Any = error.__context__
            trailing = dict(
                (said.trailing_metadata() if hasattr(said, "trailing_metadata") else None) or ()
            )
            code = trailing.get("seatrial-code")
            if code is None and error.status() in LOST:
                raise Unavailable(
                    "E_UNREACHABLE", f"{self.name}: no server answers there ({error.status()})"
                ) from None
            raise refusal_from(str(error.message()), code) from None
        try:
            found = {name: result.as_numpy(name) for name in self.outputs}
        except (TypeError, ValueError):  # bytes that do not fill their shape
            raise odd_answer("tensors that cannot be read", "the declared outputs") from None
        return declared(found)

    def close(self) -> None:
        """See `TensorRunner.close`."""
        self.client.close()
