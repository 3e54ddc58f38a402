"""What every pod with our container has in common: its security, probes, ports and folders."""

from __future__ import annotations

from typing import Any

from seatrial_serve.deploy.sizing import Sizing, quantity
from seatrial_serve.settings import PREFIX, Settings

HTTP, GRPC, METRICS = "http", "grpc", "metrics"
PORTS = {name: Settings.model_fields[f"{name}_port"].default for name in (HTTP, GRPC, METRICS)}
"""Name -> number, as the server has them unless it is told otherwise."""
READY, LIVE, METRICS_PATH = "/v2/health/ready", "/v2/health/live", "/metrics"
USER = 10001
"""The image's own: see the Dockerfile."""
CACHE, TMP = "/cache", "/tmp"  # noqa: S108  (a mounted folder of the pod's own)
TMP_BYTES = 64 * 2**20


def variable(setting: str, value: object) -> dict[str, str]:
    """A setting as a variable of the container."""
    return {"name": f"{PREFIX}{setting.upper()}", "value": str(value)}


def pod_security() -> dict[str, Any]:
    """Not root, in the runtime's own seccomp profile."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """No privilege, no capability, and a root that is never written."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def ready_probe(port: str | int) -> dict[str, Any]:
    """Out of traffic within 10 s after it is no longer ready."""
    return {
        "httpGet": {"path": READY, "port": port},
        "periodSeconds": 5,
        "timeoutSeconds": 4,
        "failureThreshold": 2,
    }


def live_probe(port: str | int) -> dict[str, Any]:
    """Restarted if it answers nothing for half a minute."""
    return {
        "httpGet": {"path": LIVE, "port": port},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }


def startup_probe(port: str | int, sizing: Sizing) -> dict[str, Any]:
    """Each second, since a start is short mostly; as often as a long one may need."""
    return {
        "httpGet": {"path": READY, "port": port},
        "periodSeconds": 1,
        "timeoutSeconds": 1,
        "failureThreshold": sizing.start_s,
    }


def mounts() -> list[dict[str, Any]]:
    """The folders that the server writes to."""
    return [{"name": "tmp", "mountPath": TMP}, {"name": "cache", "mountPath": CACHE}]


def volumes(cache_bytes: int | None = None) -> list[dict[str, Any]]:
    """Those folders, as long as the pod lives; the cache is bounded where its size is known."""
    cache = {} if cache_bytes is None else {"sizeLimit": quantity(cache_bytes)}
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": quantity(TMP_BYTES)}},
        {"name": "cache", "emptyDir": cache},
    ]


def spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Over zones, and over nodes within them, as far as there is room."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def disruption_budget(
    name: str, namespace: str | None, labels: dict[str, str], selector: dict[str, str]
) -> dict[str, Any]:
    """One replica at a time is evicted; one that is not ready does not hold a node up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, labels, namespace),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }


def metadata(name: str, labels: dict[str, str], namespace: str | None = None) -> dict[str, Any]:
    """Of an object."""
    where = {} if namespace is None else {"namespace": namespace}
    return {"name": name, **where, "labels": labels}
