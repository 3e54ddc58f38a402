"""A kustomize kit of one model: a base that runs by itself, components, and two overlays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seatrial_serve.deploy.files import File
from seatrial_serve.deploy.helm import STAND_IN, chart_files
from seatrial_serve.deploy.measured import Measured
from seatrial_serve.deploy.placing import Placing
from seatrial_serve.deploy.pod import (
    GRPC,
    HTTP,
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
from seatrial_serve.monitor.figures import Windows
from seatrial_serve.monitor.rules import rule_file
from seatrial_serve.stores.layer import MODELS

SECRET, CREDENTIALS = "registry", "/registry"
"""The Secret with the registry's credentials (type kubernetes.io/dockerconfigjson); its folder."""
IMAGE_VOLUME = "/bundles"
KEYS, KEYS_FILE, SCRAPE_KEY = "keys", "keys.toml", "scrape"
"""The Secret with the server's keys: their file, and the key that Prometheus scrapes with."""
KEYS_FOLDER = "/etc/seatrial/keys"
EXTERNAL_METRIC = "seatrial_queue_ratio"
"""What a metrics adapter calls the ratio: `docs/how-to/kubernetes.md` has its rule."""


class Kit:
    """The files of one model."""

    def __init__(self, source: Source, measured: Measured, placing: Placing) -> None:
        self._source, self._sizing, self._placing = source, Sizing(measured), placing
        self._name, bundle = source.name, source.bundle
        self._selector = {
            "app.kubernetes.io/name": "seatrial",
            "app.kubernetes.io/instance": self._name,
        }
        self._labels = {**self._selector, "app.kubernetes.io/version": bundle.version}
        self._has_objective = bundle.contract.objective.p99_s is not None

    def files(self) -> dict[str, File]:
        """Name below the kit's folder -> what it holds."""
        base = {
            "serviceaccount": File((self._service_account(),)),
            "deployment": File((self._deployment(),), tuple(self._sizing.reasons())),
            "service": File((self._service(),)),
            "networkpolicy": File((self._network_policy(),)),
            "pdb": File((disruption_budget(self._name, None, self._labels, self._selector),)),
        }
        files = {f"base/{name}.yaml": file for name, file in base.items()}
        files["base/kustomization.yaml"] = File(
            (kustomization(resources=[f"{name}.yaml" for name in base]),)
        )
        for name, parts in self._components().items():
            files |= {f"components/{name}/{file}": part for file, part in parts.items()}
        return files | {
            f"overlays/{name}/kustomization.yaml": File((overlay,))
            for name, overlay in self._overlays().items()
        }

    def _object(self, api: str, kind: str, **rest: Any) -> dict[str, Any]:
        head = {"apiVersion": api, "kind": kind, "metadata": metadata(self._name, self._labels)}
        return head | rest

    def _service_account(self) -> dict[str, Any]:
        return self._object("v1", "ServiceAccount", automountServiceAccountToken=False)

    def _service(self) -> dict[str, Any]:
        protocols = {GRPC: {"appProtocol": "kubernetes.io/h2c"}}
        ports = [
            {"name": name, "port": port, "targetPort": name, **protocols.get(name, {})}
            for name, port in PORTS.items()
        ]
        return self._object("v1", "Service", spec={"selector": self._selector, "ports": ports})

    def _deployment(self) -> dict[str, Any]:
        sizing = self._sizing
        digest = {"seatrial.bundle.digest": f"sha256:{self._source.bundle.digest}"}
        spec = {
            "replicas": self._placing.min_replicas,
            "progressDeadlineSeconds": sizing.progress_s,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "selector": {"matchLabels": self._selector},
            "template": {
                "metadata": {"labels": self._labels, "annotations": digest},
                "spec": self._pod(),
            },
        }
        return self._object("apps/v1", "Deployment", spec=spec)

    def _pod(self) -> dict[str, Any]:
        secret = {
            "secretName": SECRET,
            "optional": True,
            "items": [{"key": ".dockerconfigjson", "path": "config.json"}],
        }
        return {
            "serviceAccountName": self._name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": SECRET}],
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": self._sizing.termination_s,
            "topologySpreadConstraints": spread(self._selector),
            "containers": [self._container()],
            "volumes": [
                *volumes(self._sizing.cache_bytes),
                {"name": SECRET, "secret": secret},
            ],
        }

    def _container(self) -> dict[str, Any]:
        sizing = self._sizing
        return {
            "name": "seatrial",
            "image": self._placing.image,
            "env": [
                variable("bundles", self._source.pinned.shown),
                variable("insecure", "true"),
                variable("allowed_hosts", ",".join(self._hosts())),
                variable("request_timeout_s", REQUEST_TIMEOUT_S),
                variable("drain_window_s", DRAIN_WINDOW_S),
                variable("grace_s", sizing.grace_s),
                variable("log_format", "json"),
                {"name": "DOCKER_CONFIG", "value": CREDENTIALS},
            ],
            "ports": [{"name": name, "containerPort": port} for name, port in PORTS.items()],
            "resources": sizing.resources,
            "startupProbe": startup_probe(HTTP, sizing),
            "readinessProbe": ready_probe(HTTP),
            "livenessProbe": live_probe(HTTP),
            "securityContext": container_security(),
            "volumeMounts": [
                *mounts(),
                {"name": SECRET, "mountPath": CREDENTIALS, "readOnly": True},
            ],
        }

    def _hosts(self) -> list[str]:
        """The Service's names, from within its namespace and from others."""
        longer = f"{self._name}.{self._placing.namespace}"
        return [self._name, longer, f"{longer}.svc", f"{longer}.svc.cluster.local"]

    def _network_policy(self) -> dict[str, Any]:
        """Requests from the namespace, scrapes from Prometheus' alone; names and the registry."""
        scraper = {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": self._placing.monitoring_namespace}
            }
        }
        _, _, port = self._source.pinned.host.rpartition("]")[2].partition(":")
        spec = {
            "podSelector": {"matchLabels": self._selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"port": HTTP}, {"port": GRPC}]},
                {"from": [scraper], "ports": [{"port": METRICS}]},
            ],
            "egress": [
                {"ports": [{"port": 53, "protocol": each} for each in ("UDP", "TCP")]},
                {"ports": [{"port": int(port or 443)}]},
            ],
        }
        return self._object("networking.k8s.io/v1", "NetworkPolicy", spec=spec)

    def _components(self) -> dict[str, dict[str, File]]:
        return {
            "image-volume": self._image_volume(),
            "gpu": self._gpu(),
            "hpa": self._scaler("hpa", self._hpa()),
            "keda": self._scaler("scaledobject", self._keda()),
            "prometheus": self._prometheus(),
            "keys": self._keys(),
        }

    def _image_volume(self) -> dict[str, File]:
        """The bundle as a mounted image: the node pulls it, and the server reaches no network."""
        volume = {
            "name": "bundle",
            "image": {"reference": self._source.reference, "pullPolicy": "IfNotPresent"},
        }
        pod = {
            "containers": [
                {
                    "name": "seatrial",
                    "env": [
                        variable("bundles", f"{IMAGE_VOLUME}/{MODELS}"),
                        {"name": "DOCKER_CONFIG", "$patch": "delete"},
                    ],
                    "volumeMounts": [
                        {"name": "bundle", "mountPath": IMAGE_VOLUME, "readOnly": True},
                        {"mountPath": CREDENTIALS, "$patch": "delete"},
                    ],
                }
            ],
            "volumes": [volume, {"name": SECRET, "$patch": "delete"}],
        }
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": self._name},
            "spec": {"egress": []},
        }
        said = "Kubernetes 1.33 or newer; by default on since 1.35."
        return {
            "kustomization.yaml": File(
                (component(patches=[patch("deployment"), patch("networkpolicy")]),), (said,)
            ),
            "deployment.yaml": File((self._pod_patch(pod),)),
            "networkpolicy.yaml": File((policy,)),
        }

    def _gpu(self) -> dict[str, File]:
        """One card, by the image that has its provider."""
        name, tag = self._placing.image_parts
        pod = {
            "containers": [
                {
                    "name": "seatrial",
                    "image": f"{name}-gpu:{tag}",
                    "env": [variable("providers", "CUDAExecutionProvider")],
                    "resources": {"limits": {"nvidia.com/gpu": 1}},
                }
            ],
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
            ],
        }
        said = "Memory, start and grace of the base were measured on a processor, not on a card."
        return {
            "kustomization.yaml": File((component(patches=[patch("deployment")]),), (said,)),
            "deployment.yaml": File((self._pod_patch(pod),)),
        }

    def _keys(self) -> dict[str, File]:
        """Keys are asked for; Prometheus, where it scrapes, has one of its own."""
        pod = {
            "containers": [
                {
                    "name": "seatrial",
                    "env": [variable("api_keys", f"{KEYS_FOLDER}/{KEYS_FILE}")],
                    "volumeMounts": [{"name": KEYS, "mountPath": KEYS_FOLDER, "readOnly": True}],
                }
            ],
            "volumes": [
                {
                    "name": KEYS,
                    "secret": {
                        "secretName": KEYS,
                        "items": [{"key": KEYS_FILE, "path": KEYS_FILE}],
                    },
                }
            ],
        }
        scraped = {
            "target": {"kind": "ServiceMonitor", "name": self._name},
            "patch": f"- {{op: add, path: /spec/endpoints/0/authorization, "
            f"value: {{credentials: {{name: {KEYS}, key: {SCRAPE_KEY}}}}}}}",
        }
        said = (
            f"The Secret '{KEYS}' has {KEYS_FILE}, and as '{SCRAPE_KEY}' a key of scope metrics.",
            "Name this component after 'prometheus'.",
        )
        return {
            "kustomization.yaml": File((component(patches=[patch("deployment"), scraped]),), said),
            "deployment.yaml": File((self._pod_patch(pod),)),
        }

    def _pod_patch(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self._name},
            "spec": {"template": {"spec": pod}},
        }

    def _scaler(self, name: str, scaler: dict[str, Any]) -> dict[str, File]:
        """Whoever scales says how many replicas there are; the Deployment no longer does."""
        unsaid = {
            "target": {"kind": "Deployment", "name": self._name},
            "patch": "- {op: remove, path: /spec/replicas}",
        }
        said = () if self._has_objective else (
            "The contract has no objective (st.Objective(p99_s=...)): processor time alone scales.",
        )  # fmt: skip
        return {
            "kustomization.yaml": File((component(resources=[f"{name}.yaml"], patches=[unsaid]),)),
            f"{name}.yaml": File((scaler,), said),
        }

    def _hpa(self) -> dict[str, Any]:
        placing = self._placing
        queue = {
            "type": "External",
            "external": {
                "metric": {
                    "name": EXTERNAL_METRIC,
                    "selector": {"matchLabels": self._series},
                },
                "target": {"type": "Value", "value": TARGET},
            },
        }
        cpu = {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT},
            },
        }
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self._name},
            "minReplicas": placing.min_replicas,
            "maxReplicas": placing.max_replicas,
            "metrics": [queue, cpu] if self._has_objective else [cpu],
            "behavior": behavior(),
        }
        return self._object("autoscaling/v2", "HorizontalPodAutoscaler", spec=spec)

    @property
    def _series(self) -> dict[str, str]:
        """Labels of this kit's series: Prometheus' operator adds the namespace."""
        return {"namespace": self._placing.namespace, "model": self._source.bundle.name}

    def _keda(self) -> dict[str, Any]:
        placing = self._placing
        queue = {
            "type": "prometheus",
            "metricType": "Value",
            "metadata": {
                "serverAddress": placing.prometheus,
                "query": queue_ratio(**self._series),
                "threshold": TARGET,
            },
        }
        cpu = {
            "type": "cpu",
            "metricType": "Utilization",
            "metadata": {"value": str(CPU_PERCENT)},
        }
        spec = {
            "scaleTargetRef": {"name": self._name},
            "minReplicaCount": placing.min_replicas,
            "maxReplicaCount": placing.max_replicas,
            "pollingInterval": 15,
            "triggers": [queue, cpu] if self._has_objective else [cpu],
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior()}},
        }
        return self._object("keda.sh/v1alpha1", "ScaledObject", spec=spec)

    def _prometheus(self) -> dict[str, File]:
        """Scrapes, and the rules of `seatrial monitor`, for Prometheus' operator."""
        monitor = {
            "selector": {"matchLabels": self._selector},
            "endpoints": [{"port": METRICS, "path": METRICS_PATH, "interval": "15s"}],
        }
        rules = rule_file(self._source.bundle, Windows())
        objects = {
            "servicemonitor": self._object(
                "monitoring.coreos.com/v1", "ServiceMonitor", spec=monitor
            ),
            "prometheusrule": self._object(
                "monitoring.coreos.com/v1", "PrometheusRule", spec=rules
            ),
        }
        resources = [f"{name}.yaml" for name in objects]
        return {"kustomization.yaml": File((component(resources=resources),))} | {
            f"{name}.yaml": File((each,)) for name, each in objects.items()
        }

    def _overlays(self) -> dict[str, dict[str, Any]]:
        """What most will want, on processors and on cards."""
        common = ["image-volume", "prometheus", "keda"]
        return {
            name: kustomization(
                namespace=self._placing.namespace,
                resources=["../../base"],
                components=[f"../../components/{each}" for each in (*common, *more)],
            )
            for name, more in {"cpu": (), "gpu": ("gpu",)}.items()
        }


def kit_files(source: Source, measured: Measured, placing: Placing) -> dict[str, File]:
    """The files of a model's kit, and those of its chart, by their names below its folder."""
    files = Kit(source, measured, placing).files()
    stand_in = Kit(source, measured, STAND_IN).files()
    chart = chart_files(source.name, source.bundle.version, stand_in, placing)
    return files | {f"chart/{name}": file for name, file in chart.items()}


def kustomization(**fields: Any) -> dict[str, Any]:
    """What `kubectl kustomize` begins with."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **fields}


def component(**fields: Any) -> dict[str, Any]:
    """Something that an overlay may take or leave."""
    return {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", **fields}


def patch(name: str) -> dict[str, str]:
    """A patch that lies beside its component."""
    return {"path": f"{name}.yaml"}
