"""What clouds ask of a container that serves a model: address, port, paths and folder.

Each function reads the variables that the cloud sets, and gives settings by name. The contracts are
those of Amazon SageMaker ("Use Your Own Inference Code with Hosting Services"), Google Vertex AI
("Custom container requirements for inference"), Azure Machine Learning ("Deploy a model in a custom
container") and Google Cloud Run ("Container runtime contract").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

EVERYWHERE: Mapping[str, Any] = {
    "host": "0.0.0.0",  # noqa: S104  (the cloud's balancer stands before it)
    "insecure": True,
    "allowed_hosts": ("*",),
    "grpc": False,
}


def sagemaker(environ: Mapping[str, str]) -> dict[str, Any]:
    """`GET /ping` and `POST /invocations` on port 8080; the model lies in /opt/ml/model.

    A multi-model endpoint puts models below /opt/ml/models, and says when to load them.
    """
    port = environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    several = environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"
    models = {"bundles": "/opt/ml/models", "multi_model": True}
    own = models if several else {"bundles": "/opt/ml/model"}
    return {**EVERYWHERE, "http_port": port, **own}


def vertex(environ: Mapping[str, str]) -> dict[str, Any]:
    """Vertex names port and paths; the model lies where AIP_STORAGE_URI says."""
    paths = {"predict_path": "AIP_PREDICT_ROUTE", "health_path": "AIP_HEALTH_ROUTE"}
    named = {"http_port": "AIP_HTTP_PORT", "bundles": "AIP_STORAGE_URI", **paths}
    told = {name: environ[variable] for name, variable in named.items() if environ.get(variable)}
    return {**EVERYWHERE, "http_port": "8080", **told}


def azureml(environ: Mapping[str, str]) -> dict[str, Any]:
    """`POST /score` on port 5001; the model lies in AZUREML_MODEL_DIR."""
    folder = environ.get("AZUREML_MODEL_DIR")
    found = {} if not folder else {"bundles": folder}
    return {**EVERYWHERE, "http_port": "5001", "predict_path": "/score", **found}


def cloudrun(environ: Mapping[str, str]) -> dict[str, Any]:
    """The port that PORT names."""
    return {**EVERYWHERE, "http_port": environ.get("PORT", "8080")}


CONTAINERS: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
    "azureml": azureml, "cloudrun": cloudrun, "sagemaker": sagemaker, "vertex": vertex,
}  # fmt: skip
