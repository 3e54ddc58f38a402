"""What a replica of Ray Serve does with signatures, identities, audit logs and keys, without Ray.

Ray's own metrics are left out. `tests/ray_serve` runs replicas behind Ray's proxies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.encrypted import make_identity
from support.keyed import bearer, key_of
from support.ray_replica import Replica, asked
from support.signers import make_key
from support.toys import ROWS, toy_bundle

from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.errors import DeclarationError, Unavailable
from seatrial_serve.process.audit_lines import follow_chain
from seatrial_serve.trust.signing import read_signing_key, sign_bundle


async def predict(client: httpx.AsyncClient, **options: Any) -> int:
    body = {"instances": ROWS[:1]}
    return (await client.post("/v1/models/toy:predict", json=body, **options)).status_code


async def test_a_replica_serves_signed_and_encrypted_bundles_and_records(
    replica: Replica, tmp_path: Path
) -> None:
    keys, secret = make_key(tmp_path / "signers"), make_identity(tmp_path / "identity")
    plain, audit = toy_bundle(tmp_path / "plain"), tmp_path / "audit.jsonl"
    sign_bundle(plain.path, read_signing_key(keys.private))
    encrypt_bundle(plain, [secret.to], tmp_path / "bundles")
    file = tmp_path / "keys.toml"
    key = key_of(file, "app", "infer", "read")
    made = replica({
        "bundles": [str(tmp_path / "bundles")], "require_signature": str(keys.public),
        "identity": str(secret.file), "audit_log": str(audit), "api_keys": str(file),
    })  # fmt: skip
    async with asked(made) as client:
        made.check_ready()
        assert await predict(client) == 401
        assert await predict(client, headers=bearer(key)) == 200
        told = (await client.get("/v1/models/toy", headers=bearer(key))).json()
        assert told["versions"][0]["signed_by"]["signer"] == "release"
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    loads = [(each["result"], each["signer"]) for each in lines if each["event"] == "load"]
    assert loads == [("ok", "release")]
    assert follow_chain([audit]).fault == ""


async def test_a_replica_without_a_counting_signature_is_not_ready(
    replica: Replica, tmp_path: Path
) -> None:
    toy_bundle(tmp_path / "bundles")
    made = replica({
        "bundles": [str(tmp_path / "bundles")],
        "require_signature": str(make_key(tmp_path / "signers").public),
    })  # fmt: skip
    async with asked(made) as client:
        assert await predict(client) == 503
        with pytest.raises(Unavailable, match=r"no model\.sig"):
            made.check_ready()


@pytest.mark.parametrize(
    "name", ["require_signature", "identity", "audit_log", "api_keys", "keep_failures"]
)
def test_a_file_that_cannot_be_used_ends_the_start_of_a_replica(
    name: str, replica: Replica, tmp_path: Path
) -> None:
    toy_bundle(tmp_path / "bundles")
    (tmp_path / "file").write_text("")
    wrong = str(tmp_path / "file" / "none")
    with pytest.raises(DeclarationError):
        replica({"bundles": [str(tmp_path / "bundles")], name: wrong})
