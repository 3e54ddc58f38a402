"""Shares of memory go by key in place of the address, over each protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from support.keyed import bearer, key_of
from support.listening import grpc_of
from support.running import run_app
from support.toys import ROWS, fake_runtimes, toy_bundle

from seatrial_serve.access.keys_file import read_keys
from seatrial_serve.process.budget import Budget

LIMIT_BYTES = 2**20


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    fake_runtimes(monkeypatch)
    toy_bundle(tmp_path / "bundles")
    return {name: key_of(tmp_path / "keys.toml", name, "infer") for name in ("busy", "idle")}


async def test_of_two_keys_from_one_address_each_has_its_share(
    tmp_path: Path, keys: dict[str, str]
) -> None:
    file = tmp_path / "keys.toml"
    (busy,) = [key.id for key in read_keys(file).keys if key.name == "busy"]
    async with run_app(tmp_path / "bundles", api_keys=file) as app, grpc_of(app) as channel:
        budget = Budget(LIMIT_BYTES, 0.25)
        object.__setattr__(app.exchanges, "budget", budget)
        hold = budget.begin(f"key {busy}")  # another of its requests
        hold.work(LIMIT_BYTES // 4)
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def ask(name: str) -> tuple[int, str]:
            reply = await app.ask([ROWS[0]], headers=bearer(keys[name]))
            return reply.status_code, reply.json().get("code", "")

        async def ask_over_grpc(name: str) -> Any:
            try:
                await infer(b"\x0a\x03toy", metadata=(("x-api-key", keys[name]),))
            except grpc.aio.AioRpcError as error:
                return dict(error.trailing_metadata())["seatrial-code"]

        assert await ask("busy") == (503, "E_MEMORY")
        assert await ask("idle") == (200, "")
        assert await ask_over_grpc("busy") == "E_MEMORY"
        assert await ask_over_grpc("idle") not in ("E_MEMORY", "E_KEY", "E_SCOPE")
        hold.give_back()
        assert await ask("busy") == (200, "")
