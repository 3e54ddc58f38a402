"""`seatrial push BUNDLE mlflow:models:/NAME`: a bundle as a version in MLflow's registry."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

from seatrial_contracts.bundle import CONTRACT, MANIFEST, Bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_contracts.signature_files import put_signatures, read_signatures
from seatrial_serve.stores.address import MLFLOW, InMlflow
from seatrial_serve.stores.in_mlflow import BUNDLE_FOLDER, check_servers, naming_faults
from seatrial_serve.stores.layer import sealed_pieces

try:
    import mlflow
    import pandas  # noqa: F401  (MLflow's signatures and examples need it)
    from mlflow import MlflowClient
except ImportError as error:
    raise MissingExtra("seatrial push to mlflow:", "mlflow") from error

from seatrial_serve.mlflow.signature import example_of, metrics_of, signature_of, wanted

LOADER = "seatrial_serve.mlflow.pyfunc"
DIGEST, CONTRACT_DIGEST = "seatrial.bundle.digest", "seatrial.contract.digest"
NAME, VERSION, SIGNATURE = "seatrial.name", "seatrial.version", "seatrial.signature.digest"
EXTRAS = {"text": "text", "text_pair": "text", "image": "image", "audio": "audio"}
"""Kind of a field -> the extra that its host stage needs."""


class Pushed(NamedTuple):
    """A version in the registry."""

    address: str
    was_there: bool
    metrics: int
    """How many were logged."""


def push_to_mlflow(
    bundle: Bundle, address: InMlflow, tell: Callable[[str], None] = lambda _: None
) -> Pushed:
    """Log a bundle as a model of MLflow's and register it under the address' name.

    The signature beside it goes along. A version that holds the same bundle and signature is taken
    as it is. The alias of the address moves last.
    Raises `DeclarationError`, `StoreError`, and `BundleError` if a file is no longer as it was
    sealed.
    """
    if address.name is None or address.version is not None:
        want = f"{MLFLOW}models:/NAME or {MLFLOW}models:/NAME@ALIAS: MLflow numbers the versions"
        raise DeclarationError(f"address '{address.shown}'", "an address to read from", want)
    bundle.refuse_encrypted("a model of MLflow's")
    check_servers(address)
    with naming_faults(address.shown), quiet():
        client = MlflowClient()
        number = version_of(client, address.name, tags_of(bundle))
        was_there, metrics = number is not None, 0
        if number is None:
            number, metrics = log_bundle(bundle, address.name, tell)
        if address.alias is not None:
            client.set_registered_model_alias(address.name, address.alias, number)
    return Pushed(f"{MLFLOW}models:/{address.name}/{number}", was_there, metrics)


def version_of(client: Any, name: str, tags: Mapping[str, str]) -> str | None:
    """The newest version with the bundle and signature of these tags; None without one."""
    quoted = name.replace("'", "''")
    wanted = "".join(f" and tag.`{each}` = '{tags[each]}'" for each in (DIGEST, SIGNATURE))
    found = client.search_model_versions(f"name = '{quoted}'{wanted}")
    return str(max(int(each.version) for each in found)) if found else None


def log_bundle(bundle: Bundle, name: str, tell: Callable[[str], None]) -> tuple[str, int]:
    """Log a bundle and register it; return the version's number, and how many metrics it has.

    The run is the active one of MLFLOW_RUN_ID, else a new one.
    """
    tags, metrics, title = tags_of(bundle), metrics_of(bundle), f"{bundle.name} {bundle.version}"
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_name=title) as run:
        copy = Path(folder) / Path(BUNDLE_FOLDER).name
        write_sealed(bundle, copy)
        tell(f"logging {title}")
        logged = mlflow.pyfunc.log_model(
            name=bundle.name,
            loader_module=LOADER,
            data_path=str(copy),
            signature=signature_of(bundle.contract),
            input_example=example_of(bundle),
            metadata={"seatrial": {"inputs": wanted(bundle.contract)}},
            pip_requirements=[*own_requirement(bundle), f"mlflow=={mlflow.__version__}"],
            params=params_of(bundle),
            tags=tags,
        )
        if metrics:
            mlflow.log_metrics(metrics, run_id=run.info.run_id, model_id=logged.model_id)
    tell(f"registering {name}")
    registered = mlflow.register_model(logged.model_uri, name, tags=tags)
    return str(registered.version), len(metrics)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow's log to its warnings."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def write_sealed(bundle: Bundle, folder: Path) -> None:
    """Write the sealed files, the manifest and the first signature.

    Raises `BundleError` and `OSError`.
    """
    for name, sealed in bundle.manifest.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(sealed_pieces(bundle, name, sealed.size))
    (folder / MANIFEST).write_bytes(bundle.manifest.to_json())
    put_signatures(folder, read_signatures(bundle.path)[:1])


def tags_of(bundle: Bundle) -> dict[str, str]:
    """By what a model and its version are found."""
    signatures = read_signatures(bundle.path)
    return {
        NAME: bundle.name,
        VERSION: bundle.version,
        DIGEST: f"sha256:{bundle.digest}",
        CONTRACT_DIGEST: f"sha256:{bundle.manifest.files[CONTRACT].sha256}",
        SIGNATURE: f"sha256:{sha256(signatures[0])}" if signatures else "none",
    }


def params_of(bundle: Bundle) -> dict[str, Any]:
    """What a bundle is, and what its variants promise."""
    manifest = bundle.manifest
    promises = {
        f"promise/{each.name}": str(each.promise) for each in manifest.variants if each.promise
    }
    commit = {"git_commit": manifest.git_commit} if manifest.git_commit else {}
    return {
        "variants": ", ".join(each.name for each in manifest.variants),
        "batchable": manifest.batchable,
        "size_bytes": bundle.size_bytes,
        **commit,
        **promises,
    }


def own_requirement(bundle: Bundle) -> list[str]:
    """The pip requirement of whoever loads the bundle: this package, from where it came here.

    Empty where it came from a folder or a wheel of this machine: no line finds it elsewhere, and
    by its name alone an index could give the package of somebody else.
    """
    kinds = {field.kind.name for field in bundle.contract.inputs}
    extras = ",".join(["serve", *sorted({EXTRAS[kind] for kind in kinds & EXTRAS.keys()})])
    package = distribution("seatrial")
    came = package.read_text("direct_url.json")
    if came is None:
        return [f"seatrial[{extras}]=={package.version}"]
    direct = json.loads(came)
    if "vcs_info" not in direct or direct["url"].startswith("file:"):
        return []
    vcs = direct["vcs_info"]
    return [f"seatrial[{extras}] @ {vcs['vcs']}+{direct['url']}@{vcs['commit_id']}"]
