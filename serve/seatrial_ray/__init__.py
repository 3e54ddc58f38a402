"""seatrial on Ray Serve: an application of replicas that serve bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seatrial_contracts.errors import MissingExtra

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["app"]


def app(args: Mapping[str, Any]) -> Application:
    """Build the application of a Serve config: `import_path: seatrial_ray:app`.

    `args` are settings of `seatrial serve` by their names, of which `bundles` alone is needed.
    Raises `DeclarationError` for a setting that there is not, or that is Ray's own.
    """
    try:
        from seatrial_ray.deployment import application
    except ImportError as error:
        raise MissingExtra("seatrial_ray", "ray") from error
    return application(args)
