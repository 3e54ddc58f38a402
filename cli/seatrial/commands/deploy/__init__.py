"""`seatrial deploy`: manifests for orchestrators, one file for each of them."""

from __future__ import annotations

from importlib.util import find_spec

import click

from seatrial.main import LazyGroup
from seatrial_contracts.errors import MissingExtra

TARGETS = {
    "kubernetes": "A kustomize base, components and overlays.",
    "kserve": "A ClusterServingRuntime, and an InferenceService of each bundle.",
    "ray": "A Serve config of Ray Serve, and KubeRay's RayService around it.",
}


class Targets(LazyGroup):
    """The orchestrators."""

    commands_of, package = TARGETS, __name__


@click.group("deploy", cls=Targets)
def command() -> None:
    """Write manifests from sealed bundles, with figures that are measured here.

    Each bundle is served on this machine for some seconds, with an empty cache and under load. The
    figures lie in measured.json beside what is derived from them, and are taken again as long as
    bundle and cores are the same.

    \b
      seatrial deploy kubernetes bundles/churn/1.0.0 --out deploy
    """  # noqa: D301  (click's mark)
    if find_spec("yaml") is None:
        raise MissingExtra("seatrial deploy", "deploy")
