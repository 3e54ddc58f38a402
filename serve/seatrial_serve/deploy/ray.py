"""A Serve config of Ray Serve, and KubeRay's RayService around it.

It is written without Ray: `seatrial_ray` and Ray's own schema read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import yaml

from seatrial_serve.deploy.files import File, Plain
from seatrial_serve.deploy.measured import Measured
from seatrial_serve.deploy.placing import Placing
from seatrial_serve.deploy.pod import metadata
from seatrial_serve.deploy.sizing import (
    DRAIN_WINDOW_S,
    END_S,
    REQUEST_TIMEOUT_S,
    Sizing,
    megabytes,
    quantity,
    stepped,
)
from seatrial_serve.deploy.source import Source

RAY = "2.60.0"
"""The version that the config was run with: `make test-ray`."""
APPLICATION, DEPLOYMENT = "models", "seatrial"
LABELS = {"app.kubernetes.io/name": DEPLOYMENT}
HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 9000, 8080
HAPROXY_DEFAULTS = (
    "conn-failure empty-response",
    "option http-buffer-request",
    "timeout http-request 10s",
    "option http-ignore-probes",
)
"""Lines of HAProxy's defaults, of which the first is the end of its line `retry-on`.

HAProxy asks another replica if one is lost at work. It repeats only what it had whole before it
sent any of it, and a body often comes after its head: so it waits for the body first. A head, and
what it waits for of a body, has to come within the time that `seatrial serve` gives a head. If a
connection brings no byte within it, HAProxy closes it without an answer.
"""
ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_RETRY_ON": "\n    ".join(HAPROXY_DEFAULTS),
}
"""Of every node. Ray has no variable for the other lines, and writes this one as it stands."""
GENTLY = 0.1
"""Ray's factors, under which the simulated day of `docs/how-to/scaling.md` does not swing."""
RAY_USER = 1000
"""Of Ray's own images."""
HEAD_BYTES = 2 * 2**30
NODE_BYTES = 512 * 2**20
"""Ray's own processes on a node without a head: 470 MB as measured with Ray 2.60."""
STORE_BYTES = 128 * 2**20
"""Shared memory of a node's object store: requests do not lie there."""


class Block(str):
    """A text that stands in YAML line by line."""

    __slots__ = ()


Plain.add_representer(
    Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


class RayService:
    """The objects of one application that serves bundles."""

    def __init__(
        self, sources: Sequence[Source], measured: Sequence[Measured], placing: Placing
    ) -> None:
        self._sources, self._placing = sources, placing
        self._sizings = [Sizing(each) for each in measured]

    def files(self) -> dict[str, File]:
        """All files by their names."""
        return {
            "serve.yaml": File((self.serve_config,), tuple(self._reasons())),
            "rayservice.yaml": File((self._service(),), tuple(self._reasons())),
            "podmonitor.yaml": File((self._monitor(),)),
        }

    @property
    def _cores(self) -> int:
        return self._sizings[0].cores

    @property
    def _replica_bytes(self) -> int:
        return sum(sizing.memory_bytes for sizing in self._sizings)

    @property
    def _grace_s(self) -> int:
        return max(sizing.grace_s for sizing in self._sizings)

    @cached_property
    def serve_config(self) -> dict[str, Any]:
        """What `serve run` and `serve deploy` read."""
        timeout_s = self._grace_s + END_S
        scaling = {
            "min_replicas": self._placing.min_replicas,
            "max_replicas": self._placing.max_replicas,
            "upscaling_factor": GENTLY,
            "downscaling_factor": GENTLY,
            "policy": {"policy_function": "seatrial_ray.policy:predicted_queue"},
        }
        deployment = {
            "name": DEPLOYMENT,
            "autoscaling_config": scaling,
            "graceful_shutdown_timeout_s": DRAIN_WINDOW_S + self._grace_s,
            "ray_actor_options": {"num_cpus": self._cores, "memory": self._replica_bytes},
        }
        return {
            "proxy_location": "EveryNode",
            "http_options": {
                "host": "0.0.0.0",  # noqa: S104  (a pod's own network)
                "port": HTTP_PORT,
                "request_timeout_s": timeout_s,
            },
            "grpc_options": {
                "port": GRPC_PORT,
                "grpc_servicer_functions": ["seatrial_ray.calls:add_servicer"],
                "request_timeout_s": timeout_s,
                "enable_reflection": False,
            },
            "logging_config": {"encoding": "JSON", "enable_access_log": False},
            "applications": [
                {
                    "name": APPLICATION,
                    "route_prefix": "/",
                    "import_path": "seatrial_ray:app",
                    "args": {
                        "bundles": [source.pinned.shown for source in self._sources],
                        "request_timeout_s": REQUEST_TIMEOUT_S,
                        "log_format": "json",
                    },
                    "deployments": [deployment],
                }
            ],
        }

    def _service(self) -> dict[str, Any]:
        """The RayService of ray.io/v1: a head, and one node for each replica."""
        placing = self._placing
        config = Block(yaml.dump(self.serve_config, Dumper=Plain, sort_keys=False, width=1000))
        node = quantity(stepped(self._replica_bytes + NODE_BYTES + STORE_BYTES))
        store = {"object-store-memory": str(STORE_BYTES)}
        workers = {
            "groupName": "replicas",
            "replicas": placing.min_replicas,
            "minReplicas": placing.min_replicas,
            "maxReplicas": placing.max_replicas,
            "rayStartParams": {"num-cpus": str(self._cores), **store},
            "template": self._pod("ray-worker", {"cpu": str(self._cores + 1), "memory": node}),
        }
        head = {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0", **store},  # noqa: S104  (a pod's own network)
            "template": self._pod("ray-head", {"cpu": "2", "memory": quantity(HEAD_BYTES)}),
        }
        return {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": metadata(DEPLOYMENT, LABELS, placing.namespace),
            "spec": {
                "serveConfigV2": config,
                "rayClusterConfig": {
                    "rayVersion": RAY,
                    "enableInTreeAutoscaling": True,
                    "headGroupSpec": head,
                    "workerGroupSpecs": [workers],
                },
            },
        }

    def _pod(self, name: str, both: dict[str, str]) -> dict[str, Any]:
        """A node of Ray: requests are limits."""
        ports = {"serve": HTTP_PORT, "serve-grpc": GRPC_PORT, "metrics": METRICS_PORT}
        container = {
            "name": name,
            "image": self._placing.image,
            "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
            "env": [{"name": key, "value": value} for key, value in ENVIRONMENT.items()],
            "resources": {"requests": both, "limits": dict(both)},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        return {
            "spec": {
                "terminationGracePeriodSeconds": DRAIN_WINDOW_S + self._grace_s + END_S,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": RAY_USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
            }
        }

    def _monitor(self) -> dict[str, Any]:
        """Prometheus scrapes Ray's agents, and reads the replicas' metrics by seatrial's names."""
        return {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": metadata(DEPLOYMENT, LABELS, self._placing.monitoring_namespace),
            "spec": {
                "namespaceSelector": {"matchNames": [self._placing.namespace]},
                "selector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]},
                "podMetricsEndpoints": [
                    {
                        "port": "metrics",
                        "metricRelabelings": [
                            {
                                "sourceLabels": ["__name__"],
                                "regex": "ray_(seatrial_.*)",
                                "targetLabel": "__name__",
                                "replacement": "$1",
                            }
                        ],
                    }
                ],
            },
        }

    def _reasons(self) -> Iterator[str]:
        """Where each figure comes from, a line each."""
        for source, sizing in zip(self._sources, self._sizings, strict=True):
            yield f"{source.bundle.name} {source.bundle.version}:"
            yield from (
                line for line in sizing.reasons() if line.startswith(("Measured", "memory"))
            )
        yield (
            f"A replica: {self._cores} cores, {megabytes(self._replica_bytes)}; its node has a "
            f"core and {megabytes(NODE_BYTES + STORE_BYTES)} more for Ray."
        )
        yield (
            f"request_timeout_s: {REQUEST_TIMEOUT_S} s until a request's turn, its slowest answer, "
            f"and {END_S} s, so that the replica itself answers first."
        )
