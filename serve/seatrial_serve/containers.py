"""What starts a container that serves a model asks of it: address, port, paths and folder.

Each function reads the variables that a cloud sets, and gives settings by name. The contracts are
those of Amazon SageMaker ("Use Your Own Inference Code with Hosting Services"), Google Vertex AI
("Custom container requirements for inference"), Azure Machine Learning ("Deploy a model in a custom
container") and Google Cloud Run ("Container runtime contract").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

INSIDE: Mapping[str, Any] = {
    "host": "0.0.0.0",  # noqa: S104  (inside a container; ports are published one by one)
    "bundles": "/bundles",
}
EVERYWHERE: Mapping[str, Any] = {
    **INSIDE,
    "insecure": True,  # the cloud's balancer stands before it
    "allowed_hosts": ("*",),
    "grpc": False,
}


def image(environ: Mapping[str, str]) -> dict[str, Any]:  # noqa: ARG001  (as the clouds')
    """Our image, whatever runs it: the Dockerfile says so, and a cloud takes its place."""
    return {**INSIDE}


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
    """Vertex names port and paths; the model lies where AIP_STORAGE_URI says, or in the image."""
    paths = {"predict_path": "AIP_PREDICT_ROUTE", "health_path": "AIP_HEALTH_ROUTE"}
    named = {"http_port": "AIP_HTTP_PORT", "bundles": "AIP_STORAGE_URI", **paths}
    told = {name: environ[variable] for name, variable in named.items() if environ.get(variable)}
    return {**EVERYWHERE, "http_port": "8080", **told}


def azureml(environ: Mapping[str, str]) -> dict[str, Any]:
    """`POST /score` on port 5001; the model lies in AZUREML_MODEL_DIR, or in the image."""
    folder = environ.get("AZUREML_MODEL_DIR")
    found = {} if not folder else {"bundles": folder}
    return {**EVERYWHERE, "http_port": "5001", "predict_path": "/score", **found}


def cloudrun(environ: Mapping[str, str]) -> dict[str, Any]:
    """The port that PORT names; the model lies in the image, or in a volume."""
    return {**EVERYWHERE, "http_port": environ.get("PORT", "8080")}


CONTAINERS: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
    "azureml": azureml, "cloudrun": cloudrun, "image": image, "sagemaker": sagemaker,
    "vertex": vertex,
}  # fmt: skip
ARGUMENTS: Mapping[str, tuple[str, ...]] = {"sagemaker": ("serve",)}
"""Container -> what its cloud runs every image with, whatever the entry point makes of it."""
