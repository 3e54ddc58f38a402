"""Replicas that ask for keys, behind either of Ray's proxies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from support.keyed import bearer, key_of
from support.real_ray import Cluster
from support.waiting import until

from seatrial_serve.access.keys_file import revoke_keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BODY = json.dumps({"instances": [{"x": 1.5}]}).encode()


def ask(cluster: Cluster, key: str = "") -> int:
    """Status of a prediction."""
    headers = {"Content-Type": "application/json"} | (bearer(key) if key else {})
    request = urllib.request.Request(f"{cluster.url}/v1/models/line:predict", BODY, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def call(cluster: Cluster, name: str, key: str = "") -> grpc.StatusCode:
    """Status of a call over Ray's gRPC proxy."""
    metadata = [("application", "models"), *(((("x-api-key", key),)) if key else ())]
    with grpc.insecure_channel(cluster.grpc) as channel:
        method = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
        try:
            method(b"", metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_replicas_ask_for_keys_and_follow_their_file(
    cluster: Cluster, lines: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    key, other = key_of(file, "app", "infer"), key_of(file, "reader", "read")
    cluster.deploy({"bundles": [str(lines / "line/1.0.0")], "api_keys": str(file)}, num_replicas=2)
    cluster.wait_for(2)
    assert ask(cluster) == 401
    assert ask(cluster, other) == 403
    assert [ask(cluster, key) for _ in range(6)] == [200] * 6
    assert call(cluster, "ServerLive") is grpc.StatusCode.OK
    assert call(cluster, "ServerMetadata") is grpc.StatusCode.UNAUTHENTICATED
    assert call(cluster, "ServerMetadata", key) is grpc.StatusCode.PERMISSION_DENIED
    assert call(cluster, "ServerMetadata", other) is grpc.StatusCode.OK
    revoke_keys(file, ["app"], datetime.now(UTC))
    until(lambda: [ask(cluster, key) for _ in range(6)] == [401] * 6, 10)
    assert call(cluster, "ServerMetadata", other) is grpc.StatusCode.OK
