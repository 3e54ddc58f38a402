"""Our HTTP server, or any that speaks the V1 row protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_parity.http_client import JSON_HEADERS, HttpClient, error_of, object_of, odd_answer
from seatrial_parity.runners.runner import Answers, RawRows, TrialRequest

if TYPE_CHECKING:
    import httpx

NAME = "http v1"


def runners(asked: TrialRequest) -> Iterator[HttpRunner]:
    """One, where there is a server."""
    if asked.url is not None:
        yield HttpRunner(asked.bundle, asked.url, asked.key, asked.model)


class HttpRunner:
    """V1 rows to `url`; the server must hold this very bundle, which its digest shows."""

    name, variant, provider = NAME, "served", None
    client_terms = True

    def __init__(
        self, bundle: Bundle, url: str, key: str | None = None, model: str | None = None
    ) -> None:
        """`model`: the name that it is served under, where that is not the bundle's."""
        self._bundle, self._contract = bundle, bundle.contract
        self._client = HttpClient(url, key)
        self._path = f"/v1/models/{model or bundle.name}/versions/{bundle.version}"

    def __enter__(self) -> Self:
        reply = self._client.get(self._path)
        said = object_of(reply) if reply.status_code == 200 else {}
        served, execution = said.get("digest"), said.get("execution")
        if served != self._bundle.digest:
            got = (
                f"digest {str(served)[:16]}"
                if served
                else f"status {reply.status_code}: {reply.text[:200]}"
            )
            raise Unavailable(
                "E_OTHER_BUNDLE",
                f"{self._client.url}{self._path}: got {got}, "
                f"want digest {self._bundle.digest[:16]}",
            )
        if not isinstance(execution, dict):
            raise odd_answer("a model that does not run", "one that is ready")
        self.provider, self.variant = str(execution.get("provider")), str(execution.get("variant"))
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        """See `Runner.run`."""
        answers: Answers = []
        for start in range(0, len(rows), batch_rows):
            reply = self._ask(list(rows[start : start + batch_rows]))
            if reply.status_code != 200:
                code, text = error_of(reply)
                raise Refusal(code, f"status {reply.status_code}: {text}")
            try:
                answers += [
                    self._contract.recover(prediction)
                    for prediction in object_of(reply)["predictions"]
                ]
            # Each kind reads its own part of the JSON.
            except (LookupError, TypeError, ValueError, AttributeError):
                raise odd_answer(
                    "predictions that are not of this contract", "those it declares"
                ) from None
        return answers

    def refusal_code(self, row: Any) -> str | None:
        """See `Runner.refusal_code`."""
        reply = self._ask([row])
        return None if reply.status_code == 200 else error_of(reply)[0]

    def _ask(self, rows: list[Any]) -> httpx.Response:
        asked: dict[str, Any] = {"instances": rows}
        if self._contract.whole_options:
            asked["parameters"] = self._contract.whole_options
        data = json.dumps(asked).encode()
        return self._client.post(f"{self._path}:predict", data, JSON_HEADERS)
