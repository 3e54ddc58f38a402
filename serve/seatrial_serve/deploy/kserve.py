"""Objects of KServe: one ClusterServingRuntime, and an InferenceService for each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from seatrial_serve.deploy.files import File
from seatrial_serve.deploy.measured import Measured
from seatrial_serve.deploy.placing import Placing
from seatrial_serve.deploy.pod import (
    METRICS,
    METRICS_PATH,
    PORTS,
    container_security,
    disruption_budget,
    live_probe,
    metadata,
    mounts,
    pod_security,
    ready_probe,
    spread,
    startup_probe,
    variable,
    volumes,
)
from seatrial_serve.deploy.scaling import CPU_PERCENT, TARGET, behavior, queue_ratio
from seatrial_serve.deploy.sizing import DRAIN_WINDOW_S, REQUEST_TIMEOUT_S, Sizing
from seatrial_serve.deploy.source import Source

RUNTIME = FORMAT = "seatrial"
FORMAT_VERSION = "1"
CONTAINER = "kserve-container"
"""The name that KServe wants of the container which serves."""
MOUNTED = "/mnt/models"
"""Where KServe puts what `storageUri` names."""
KSERVE_HTTP, KSERVE_GRPC = 8080, 9000
"""What KServe's own runtimes listen on; the first port of a container is its Service's port 80."""
ISVC_LABEL = "serving.kserve.io/inferenceservice"
H2C = "h2c"
"""How Knative and gateways know HTTP/2 without TLS by a port's name."""


def serving_runtime(image: str) -> dict[str, Any]:
    """How KServe runs any bundle. KServe fills `{{.Name}}` in: the InferenceService's name."""
    container = {
        "name": CONTAINER,
        "image": image,
        "args": [
            MOUNTED,
            "--model-name={{.Name}}",
            "--host=0.0.0.0",
            "--insecure",
            f"--http-port={KSERVE_HTTP}",
            f"--grpc-port={KSERVE_GRPC}",
            f"--metrics-port={PORTS[METRICS]}",
            "--allowed-hosts=*",
            "--client-share=1",
            "--log-format=json",
            f"--request-timeout-s={REQUEST_TIMEOUT_S}",
            f"--drain-window-s={DRAIN_WINDOW_S}",
        ],
        "ports": [
            {"name": "http1", "containerPort": KSERVE_HTTP, "protocol": "TCP"},
            {"name": H2C, "containerPort": KSERVE_GRPC, "protocol": "TCP"},
            {"name": METRICS, "containerPort": PORTS[METRICS], "protocol": "TCP"},
        ],
        "readinessProbe": ready_probe(KSERVE_HTTP),
        "livenessProbe": live_probe(KSERVE_HTTP),
        "securityContext": container_security(),
        "volumeMounts": mounts(),
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": RUNTIME},
        "spec": {
            "annotations": {
                "prometheus.kserve.io/port": str(PORTS[METRICS]),
                "prometheus.kserve.io/path": METRICS_PATH,
            },
            "supportedModelFormats": [
                {"name": FORMAT, "version": FORMAT_VERSION, "autoSelect": True, "priority": 1}
            ],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "multiModel": False,
            "containers": [container],
            "volumes": volumes(),
        },
    }


class Canary(NamedTuple):
    """Another version of the model, beside it."""

    source: Source
    measured: Measured
    percent: int
    """Of the requests; with 0 it gets none."""


class InferenceService:
    """The objects of one model, with other versions beside it where there are any."""

    def __init__(
        self,
        source: Source,
        measured: Measured,
        placing: Placing,
        canaries: Sequence[Canary] = (),
    ) -> None:
        self._source, self._measured, self._placing = source, measured, placing
        self._canaries, self._name = canaries, source.name

    def file(self) -> File:
        """All objects, and where their figures come from."""
        said = list(Sizing(self._measured).reasons())
        for source, measured, percent in self._canaries:
            said.append(f"Canary {source.bundle.version}, {percent}% of the requests:")
            said += Sizing(measured).reasons()
        labels = {ISVC_LABEL: self._name}
        budget = disruption_budget(
            f"{self._name}-predictor", self._placing.namespace, labels,
            labels | {"component": "predictor"},
        )  # fmt: skip
        scrapes = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": metadata(f"{self._name}-predictor", labels, self._placing.namespace),
            "spec": {
                "selector": {"matchLabels": labels},
                "podMetricsEndpoints": [{"port": METRICS, "path": METRICS_PATH, "interval": "15s"}],
            },
        }
        return File((self._inference_service(), budget, scrapes), tuple(said))

    def _inference_service(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"predictor": self._predictor(self._source, self._measured)}
        if self._canaries:
            spec["canary"] = [
                {
                    "predictor": {"name": version_name(source)} | self._predictor(source, measured),
                    "trafficPercent": percent,
                }
                for source, measured, percent in self._canaries
            ]
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": self._name,
                "namespace": self._placing.namespace,
                "annotations": {
                    "serving.kserve.io/deploymentMode": "Standard",
                    "serving.kserve.io/autoscalerClass": "keda",
                },
            },
            "spec": spec,
        }

    def _predictor(self, source: Source, measured: Measured) -> dict[str, Any]:
        sizing, placing = Sizing(measured), self._placing
        return {
            "minReplicas": placing.min_replicas,
            "maxReplicas": placing.max_replicas,
            "autoScaling": {"metrics": self._metrics(source), "behavior": behavior()},
            "deploymentStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": sizing.termination_s,
            "topologySpreadConstraints": spread({ISVC_LABEL: self._name}),
            "model": {
                "name": CONTAINER,
                "modelFormat": {"name": FORMAT, "version": FORMAT_VERSION},
                "runtime": RUNTIME,
                "protocolVersion": "v2",
                "storageUri": f"oci+native://{source.reference}",
                "env": [variable("grace_s", sizing.grace_s)],
                "resources": sizing.resources,
                "startupProbe": startup_probe(KSERVE_HTTP, sizing),
            },
        }

    def _metrics(self, source: Source) -> list[dict[str, Any]]:
        """The predicted queue over the objective of this version, and processor time."""
        used = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
        cpu = {"type": "Resource", "resource": {"name": "cpu", "target": used}}
        if source.bundle.contract.objective.p99_s is None:
            return [cpu]
        query = queue_ratio(
            namespace=self._placing.namespace, model=self._name, version=source.bundle.version
        )
        server = self._placing.prometheus
        metric = {"backend": "prometheus", "serverAddress": server, "query": query}
        external = {"metric": metric, "target": {"type": "Value", "value": TARGET}}
        return [{"type": "External", "external": external}, cpu]


def version_name(source: Source) -> str:
    """A version as part of an object's name."""
    return f"v{source.bundle.version.replace('.', '-')}"
