"""How long a message gRPC takes: as long as contracts say that may be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from support.encrypted import make_identity
from support.running import run_app
from support.signers import Keys, make_key
from support.toys import fake_runtimes, toy_bundle

import seatrial as st
from seatrial_contracts.contract import DEFAULT_BODY_BYTES
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_serve.settings import Settings
from seatrial_serve.thread_server import ThreadServer
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

LONG = 2 * DEFAULT_BODY_BYTES
LIMITS = st.Limits(max_body_bytes=LONG)
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runtimes(monkeypatch)


async def expected(bundles: Path, **options: Any) -> int:
    async with run_app(bundles, **options) as running:
        return running.repository.expected_body_bytes()


@pytest.mark.parametrize("signer", ["nobody", "another", "release"])
async def test_a_contract_counts_once_its_signature_was_verified(
    signer: str, tmp_path: Path, keys: Keys
) -> None:
    bundle = toy_bundle(tmp_path / "bundles", limits=LIMITS)
    if signer != "nobody":
        key = keys if signer == "release" else make_key(tmp_path / "other")
        sign_bundle(bundle.path, read_signing_key(key.private))
    want = LONG if signer == "release" else DEFAULT_BODY_BYTES
    assert await expected(tmp_path / "bundles", require_signature=keys.public) == want
    assert await expected(tmp_path / "bundles") == LONG


async def test_a_contract_that_was_changed_below_its_signature_does_not_count(
    tmp_path: Path, keys: Keys
) -> None:
    bundle = toy_bundle(tmp_path / "bundles", limits=LIMITS)
    sign_bundle(bundle.path, read_signing_key(keys.private))
    path = bundle.path / "contract.json"
    path.write_bytes(path.read_bytes().replace(str(LONG).encode(), str(LONG + 1).encode()))
    found = await expected(tmp_path / "bundles", require_signature=keys.public)
    assert found == DEFAULT_BODY_BYTES


async def test_the_contract_of_an_encrypted_bundle_counts_where_an_identity_opens_it(
    tmp_path: Path,
) -> None:
    key, other = make_identity(tmp_path / "key"), make_identity(tmp_path / "other")
    bundle = toy_bundle(tmp_path / "plain", limits=LIMITS)
    encrypt_bundle(bundle, [key.to], tmp_path / "bundles")
    assert await expected(tmp_path / "bundles", identity=key.file) == LONG
    assert await expected(tmp_path / "bundles", identity=other.file) == DEFAULT_BODY_BYTES
    assert await expected(tmp_path / "bundles") == DEFAULT_BODY_BYTES


def test_grpc_takes_a_message_to_an_encrypted_model_that_http_would_take(tmp_path: Path) -> None:
    key = make_identity(tmp_path / "key")
    encrypt_bundle(toy_bundle(tmp_path / "plain", limits=LIMITS), [key.to], tmp_path / "bundles")
    settings = Settings(
        bundles=tmp_path / "bundles", identity=key.file, http_port=0, grpc_port=0, metrics=False
    )
    with ThreadServer(settings).start() as server, grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(INFER)
        for size, code, ours in (
            (DEFAULT_BODY_BYTES + 1, grpc.StatusCode.INVALID_ARGUMENT, "E_MESSAGE"),
            (LONG + 1, grpc.StatusCode.RESOURCE_EXHAUSTED, None),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(b"\xff" * size)
            assert refused.value.code() is code
            assert dict(refused.value.trailing_metadata()).get("seatrial-code") == ours
