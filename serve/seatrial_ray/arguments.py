"""The `args` of a Serve config as settings, and what a replica's resources make of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.models.selection import LABELS, VARIANTS, Selection, parse_selection
from seatrial_serve.process.resources import plan_bytes, usable_cores
from seatrial_serve.settings import Settings, load_settings

RAYS_OWN = {
    "host": "http_options: host",
    "http_port": "http_options: port",
    "grpc": "grpc_options: grpc_servicer_functions",
    "grpc_port": "grpc_options: port",
    "metrics_port": "Ray's own metrics port, where the replicas' metrics are",
    "workers": "num_replicas or autoscaling_config",
    "threads": "ray_actor_options: num_cpus",
    "container": "the Serve config",
    "insecure": "http_options: host",
    "tls_cert": "http_options: ssl_certfile",
    "tls_key": "http_options: ssl_keyfile",
    "tls_client_ca": "http_options: ssl_ca_certs",
    "tls_clients": "http_options: ssl_ca_certs",
    "cors_origins": "a proxy before Ray's, which answers preflights",
    "trusted_proxies": "a proxy before Ray's, whose clients the replicas do not see",
}
"""Setting -> what says the same in a Serve config."""
OF_ONE_REPLICA = {
    "admin": "a new Serve config, watch, or user_config",
    "console": "the dashboard of seatrial monitor",
    "feedback_answers": "feedback that brings the rows",
    "multi_model": "a Serve config that names the bundles",
}
"""Setting that would reach the replica that a request happens to meet -> what reaches all."""
DEFAULTS: Mapping[str, Any] = {"console": False, "client_share": 1.0}
"""Ray's proxies are one client to a replica, so that one client may have everything."""


def settings_of(args: Mapping[str, Any]) -> Settings:
    """Return the settings that the `args` of a Serve config name.

    Raises `DeclarationError` that names the setting.
    """
    for name in args:
        if name in RAYS_OWN:
            raise DeclarationError(f"args '{name}'", "a setting that is Ray's", RAYS_OWN[name])
        if name in OF_ONE_REPLICA:
            got = "a setting that would reach one replica alone"
            raise DeclarationError(f"args '{name}'", got, OF_ONE_REPLICA[name])
    return load_settings(**{**DEFAULTS, **args})


def within(settings: Settings, resources: Mapping[str, float]) -> Settings:
    """Return the settings of a replica that Ray assigned these resources.

    Threads are as many as its `CPU`, rounded up. A replica with a `GPU` runs models there, unless
    the settings name providers. Its requests may hold the share of memory that its threads are of
    the machine's cores.
    """
    threads = max(1, math.ceil(resources.get("CPU", 1)))
    chosen: dict[str, Any] = {
        "threads": threads,
        "budget_bytes": settings.budget_bytes
        or max(2**20, plan_bytes() * threads // max(threads, usable_cores())),
    }
    if resources.get("GPU", 0) and settings.providers == Settings.model_fields["providers"].default:
        chosen["providers"] = ("CUDAExecutionProvider",)
    return settings.model_copy(update=chosen)


def selections_of(user_config: Mapping[str, Any]) -> dict[str, Selection]:
    """The selection of each model that `{"labels": {model: ...}, "variants": {model: ...}}` names.

    Raises `DeclarationError` where it holds something else.
    """
    parts = {"labels": LABELS, "variants": VARIANTS}
    want = 'labels and variants of models: {"labels": {"churn": {"stable": "1.2.0"}}}'
    if (
        not all(isinstance(user_config.get(part, {}), dict) for part in parts)
        or user_config.keys() - parts
    ):
        raise DeclarationError("user_config", "something else", want)
    names = {name: None for part in parts for name in user_config.get(part, {})}
    return {
        name: parse_selection(
            name,
            {
                file: json.dumps(user_config[part][name]).encode()
                for part, file in parts.items()
                if name in user_config.get(part, {})
            },
        )
        for name in names
    }
