"""Our HTTP server, or any that speaks the V1 row protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

import httpx

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_parity.runners.runner import Answers, Asked, RawRows

NAME = "http v1"
TIMEOUT_S = 60.0


def runners(asked: Asked) -> Iterator[HttpRunner]:
    """One, where there is a server."""
    if asked.url is not None:
        yield HttpRunner(asked.bundle, asked.url)


class HttpRunner:
    """V1 rows to `url`; the server must hold this very bundle, which its digest shows."""

    name, variant, provider = NAME, "served", None

    def __init__(self, bundle: Bundle, url: str) -> None:
        self._bundle, self._contract = bundle, bundle.contract
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_S)
        self._path = f"/v1/models/{bundle.name}/versions/{bundle.version}"

    def __enter__(self) -> Self:
        try:
            reply = self._client.get(self._path)
        except httpx.HTTPError as error:
            raise Unavailable(
                "E_UNREACHABLE", f"{self._client.base_url}: no server answers there ({type(error).__name__})"
            ) from None
        served = reply.json().get("digest") if reply.status_code == 200 else None
        if served != self._bundle.digest:
            got = f"digest {served[:16]}" if served else f"status {reply.status_code}: {reply.text[:200]}"
            raise Unavailable(
                "E_OTHER_BUNDLE",
                f"{self._client.base_url}{self._path}: got {got}, want digest {self._bundle.digest[:16]}",
            )
        execution = reply.json()["execution"]
        self.provider, self.variant = execution["provider"], execution["variant"]
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        """See `Runner.run`."""
        answers: Answers = []
        for start in range(0, len(rows), batch_rows):
            reply = self._ask(list(rows[start : start + batch_rows]))
            if reply.status_code != 200:
                failure = reply.json()
                raise Refusal(failure["code"], f"status {reply.status_code}: {failure['error']}")
            answers += [self._contract.recover(prediction) for prediction in reply.json()["predictions"]]
        return answers

    def refusal_code(self, row: Any) -> str | None:
        """See `Runner.refusal_code`."""
        reply = self._ask([row])
        return None if reply.status_code == 200 else str(reply.json()["code"])

    def _ask(self, rows: list[Any]) -> httpx.Response:
        data = json.dumps({"instances": rows}).encode()
        return self._client.post(f"{self._path}:predict", content=data, headers={"Content-Type": "application/json"})
