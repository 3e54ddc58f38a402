"""A Ray of its own on this machine, told what to do by lines of JSON: run it in Ray's environment.

Each line is a list: a word, and what belongs to it. Each is answered by a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from typing import Any

import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

STORE_BYTES = 100 * 2**20


def start(cores: int) -> None:
    """As the settings of the environment say. Ray's own ports listen on all addresses."""
    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=STORE_BYTES,
        _temp_dir=tempfile.mkdtemp(prefix="ray", dir=os.environ["SCRATCH"]),
    )


def deploy(config: dict[str, Any]) -> None:
    """As `serve run` deploys a config, without waiting. Raises where Ray's schema refuses it."""
    schema = ServeDeploySchema.model_validate(config)
    serve.start(
        proxy_location=schema.proxy_location,
        http_options=schema.http_options.model_dump(),
        grpc_options=schema.grpc_options.model_dump(),
    )
    client = _get_global_client()
    assert client is not None
    client.deploy_apps(schema, _blocking=False)


def status() -> dict[str, Any]:
    """The application's state, what Ray says of it, and its running replicas by their process."""
    client = _get_global_client()
    assert client is not None
    (app,) = client.get_serve_details()["applications"].values()
    replicas = [each for d in app["deployments"].values() for each in d["replicas"]]
    return {
        "status": app["status"],
        "message": app["message"] + "".join(d["message"] for d in app["deployments"].values()),
        "pids": sorted(each["pid"] for each in replicas if each["state"] == "RUNNING"),
    }


def kill(pid: int) -> None:
    """End a replica as a machine's fault does."""
    os.kill(pid, signal.SIGKILL)


def metrics_port() -> int:
    """Where Ray's agent shows metrics to Prometheus."""
    return int(ray.nodes()[0]["MetricsExportPort"])


def stop() -> None:
    """All of it."""
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    words = {each.__name__: each for each in (start, deploy, status, kill, metrics_port, stop)}
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what Ray prints is the log
    for line in sys.stdin:
        word, *rest = json.loads(line)
        try:
            told = {"is": words[word](*rest)}
        except Exception as error:  # told to whoever asked, which fails there
            told = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(told) + "\n")
        answers.flush()
