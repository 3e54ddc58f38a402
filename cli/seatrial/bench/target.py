"""What is put under load: a bundle that is served here, or a model at a URL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seatrial.bench.requests import Rows, rows_of_bundle, rows_of_contract
from seatrial.bundle import open_bundle
from seatrial_client.client import Client
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.deploy.measure import running
from seatrial_serve.process.resources import usable_cores


@dataclass(frozen=True)
class Target:
    """A model that answers at a URL."""

    url: str
    name: str
    version: str
    contract: Contract
    rows: Rows
    rows_are: str
    """What the rows are, in words."""
    bundle: Bundle | None
    key: str | None

    def first_s(self, per_request: int) -> float:
        """Seconds of one request alone. Raises the server's own error where it refuses."""
        rows = [self.rows[place % len(self.rows)] for place in range(per_request)]
        with Client(self.url, self.name, key=self.key) as client:
            client.describe()
            begun = time.perf_counter()
            client.predict(rows)
            return time.perf_counter() - begun


@contextmanager
def at_url(url: str, model: str | None, beside: str | None, key: str | None) -> Iterator[Target]:
    """A model at a server's URL. Raises what a client raises, and `DeclarationError`."""
    with Client(url, model, key=key) as client:
        about = client.describe()
    bundle = None if beside is None else open_bundle(beside)
    name = bundle.name if bundle is not None and model is None else about.name
    if bundle is not None and (name, bundle.version) != (about.name, about.version):
        got, want = f"{bundle.name} {bundle.version}", f"{about.name} {about.version}"
        raise DeclarationError("--bundle", got, f"{want}, which the server answers with")
    rows, rows_are = (
        rows_of_contract(about.contract, about.example)
        if bundle is None
        else rows_of_bundle(bundle)
    )
    contract = about.contract if bundle is None else bundle.contract
    yield Target(url, about.name, about.version, contract, rows, rows_are, bundle, key)


@contextmanager
def served_here(address: str, tell: Callable[[str], None]) -> Iterator[Target]:
    """A bundle in a server's process of its own, once it is ready.

    Raises `BundleError`, and `ModelError` where it does not pass its load gate.
    """
    bundle = open_bundle(address)
    rows, rows_are = rows_of_bundle(bundle)
    with tempfile.TemporaryDirectory(prefix="seatrial-") as folder:
        tell(f"starting a server of {bundle.name} {bundle.version}")
        with running(bundle, usable_cores(), Path(folder)) as server:
            server.wait_until_ready()
            yield Target(
                server.url, bundle.name, bundle.version, bundle.contract, rows, rows_are, bundle,
                None,
            )  # fmt: skip
