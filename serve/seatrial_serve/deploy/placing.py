"""Where replicas run, by which image, and how many of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.stores.address import HOST, PART

PROMETHEUS = "http://prometheus-operated.{namespace}:9090"
"""The Service that Prometheus' operator makes for what it runs."""
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
IMAGE = re.compile(rf"(?:{HOST}/)?{PART}(?:/{PART})*:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}")
"""A name with its tag, since the image for cards is NAME-gpu of the same tag."""


@dataclass(frozen=True)
class Placing:
    """Where a kit runs, and how many replicas of it."""

    image: str
    """The server's, with its tag."""
    namespace: str
    min_replicas: int
    max_replicas: int
    monitoring_namespace: str

    def __post_init__(self) -> None:
        """Raise `DeclarationError` for what Kubernetes would refuse."""
        if self.min_replicas > self.max_replicas:
            got = f"{self.min_replicas} and {self.max_replicas}"
            want = "at most as many as the second"
            raise DeclarationError("--min-replicas and --max-replicas", got, want)
        for option, name in (
            ("--namespace", self.namespace), ("--monitoring-namespace", self.monitoring_namespace),
        ):  # fmt: skip
            if not LABEL.fullmatch(name):
                want = "letters of lower case, digits and '-', at most 63"
                raise DeclarationError(option, repr(name), want)
        if not IMAGE.fullmatch(self.image):
            raise DeclarationError("--image", repr(self.image), "HOST/NAME:TAG")

    @property
    def prometheus(self) -> str:
        """Where Prometheus answers queries."""
        return PROMETHEUS.format(namespace=self.monitoring_namespace)

    @property
    def image_parts(self) -> tuple[str, str]:
        """Its name, and its tag."""
        name, _, tag = self.image.rpartition(":")
        return name, tag
