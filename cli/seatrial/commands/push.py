"""`seatrial push`: a bundle into a registry, MLflow or an object store."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from seatrial.identity_option import identity_option


@click.command("push")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("address", metavar="ADDRESS")
@identity_option
def command(bundle: Path, address: str) -> None:
    """Push a bundle to a registry (oci://HOST/NAME:TAG) or an object store (s3://, gs://, az://).

    mlflow:models:/NAME logs it to the MLflow of MLFLOW_TRACKING_URI, as the next version of NAME;
    with NAME@ALIAS the alias moves to it.

    In a registry it is an image that Kubernetes and KServe mount, and a ModelPack artifact; the
    same bundle gives the same digests. The tag moves last. In an object store the manifest is
    written last, and a version that is there never changes.

    \b
      seatrial push bundles/churn/1.0.0 oci://registry.example/models/churn:1.0.0
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_bundle, open_plain_bundle
    from seatrial_contracts.errors import DeclarationError
    from seatrial_serve.stores.address import Folder, InMlflow, InRegistry, read_address

    to = read_address(address)
    if isinstance(to, Folder):
        want = "oci://, mlflow:models:/NAME, s3://, gs:// or az://"
        raise DeclarationError(f"address '{to.shown}'", "a path", want)
    if isinstance(to, InMlflow):
        opened = open_plain_bundle(bundle, "a model of MLflow's")
    else:
        opened = open_bundle(bundle)
    said = f"pushed {opened.name} {opened.version} to"
    with Console(stderr=True).status("") as status:
        if isinstance(to, InRegistry):
            from seatrial_serve.stores.in_registry import push_to_registry

            artifact = push_to_registry(opened, to, status.update)
            digests = f"pinned: {to.pinned(artifact.index.digest).shown}"
            lines = [f"{said} {to.shown}", digests, f"ModelPack manifest: {artifact.model.digest}"]
        elif isinstance(to, InMlflow):
            from seatrial_serve.mlflow.push import push_to_mlflow

            pushed = push_to_mlflow(opened, to, status.update)
            what = "it was there already" if pushed.was_there else f"{pushed.metrics} metrics"
            lines = [f"{said} {pushed.address} ({what})"]
        else:
            from seatrial_serve.stores.in_files import push_to_files

            lines = [f"{said} {push_to_files(opened, to, status.update)}"]
    for line in lines:
        click.echo(line)
