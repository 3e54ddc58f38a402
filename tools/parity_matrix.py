"""The parity matrix: every example through every runner, from the same raw rows, as one table.

Run it:  make parity-matrix

Triton's lines need `make triton` first, the container's `make image`, Ray's `make test-ray`, those
of stores `make judges clients`; without these the lines are marked so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

NOT_ASKED = "not asked"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import (  # noqa: E402  (found through the line above)
    manifests,
    real_image,
    real_mlflow,
    real_ray,
    real_stores,
    real_triton,
    registries,
    servers,
)

import seatrial as st  # noqa: E402  (found through the line above)
from seatrial_contracts.receipt import Receipt  # noqa: E402  (found through the line above)
from seatrial_parity.runners import runners  # noqa: E402  (found through the line above)
from seatrial_parity.runners.runner import TrialRequest  # noqa: E402  (found through the line above)
from seatrial_parity.trial import try_bundle  # noqa: E402  (found through the line above)
from seatrial_serve.deploy.ray import ENVIRONMENT  # noqa: E402  (found through the line above)
from seatrial_serve.stores.address import read_address  # noqa: E402  (found through the line above)
from seatrial_serve.stores.resolve import pull  # noqa: E402  (found through the line above)
from seatrial_serve.triton.config import Placing  # noqa: E402  (found through the line above)
from seatrial_serve.triton.repository import write_repository  # noqa: E402  (found through the line above)


def main() -> int:
    """Seal, serve, try, print; 1 where anything misses its tolerance."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sealed = seal(Path(folder) / "bundles")
        ours = stack.enter_context(serving(Path(folder) / "bundles"))
        servers = {"url": ours.url, "grpc": ours.grpc}
        if real_triton.SERVER.exists():
            bundles = [bundle for _, bundle in sealed.values()]
            write_repository(bundles, Path(folder) / "repo", Placing(backend="python"))
            triton = stack.enter_context(
                real_triton.RealTriton(Path(folder) / "repo", Path(folder) / "triton.log")
            )
            flags = "--runtime", "triton", "--triton-url", triton.grpc
            edge = stack.enter_context(serving(Path(folder) / "bundles", *flags))
            servers |= {"triton": triton.url, "triton_grpc": triton.grpc, "edge": edge.url}
        if real_image.there:
            image = stack.enter_context(real_image.open_image())
            inside = image.server(Path(folder) / "bundles")
            contained = stack.enter_context(
                serving(Path("/bundles"), "--host", "127.0.0.1", program=inside)
            )
            servers["container"] = contained.url
        if real_ray.PYTHON.exists():
            first = next(bundle for _, bundle in sealed.values())
            log = Path(folder) / "ray.log"
            ray = stack.enter_context(real_ray.open_cluster(ENVIRONMENT, first, log))
            ray.deploy({"bundles": [str(Path(folder) / "bundles")]}, num_replicas=2)
            ray.wait_for(2)
            servers |= {"ray": ray.url, "ray_grpc": ray.grpc}
        receipts = [
            try_bundle(TrialRequest(bundle, pipeline, trust_torchscript=True, **servers))
            for pipeline, bundle in sealed.values()
        ]
        stored = {
            name: try_stored(Path(folder) / name.partition(":")[0], through, sealed)
            for name, through in STORES.items()
        }
        stored["http v1, as KServe starts it"] = list(
            try_kserve(bundle for _, bundle in sealed.values())
        )
    print("\n".join(table(receipts, stored)))
    everything = [*receipts, *(each for found in stored.values() for each in found)]
    for receipt in everything:
        for trial in receipt.trials:
            if not trial.passed:
                print(f"missed: {receipt.name}, {trial.runner}: {trial.finding}")
    return int(not all(receipt.passed for receipt in everything))


def seal(out: Path) -> dict[str, tuple[st.Pipeline, st.Bundle]]:
    """Every example, in TorchScript too."""
    sealed = {}
    for name in servers.EXAMPLES:
        pipeline = st.load_pipeline(f"{ROOT / 'examples' / name / 'pipeline.py'}:pipeline")
        sealed[name] = pipeline, st.export(pipeline, out, formats=["torchscript"])
    return sealed


Sealed = Mapping[str, tuple[st.Pipeline, st.Bundle]]
Through = Callable[[Path, Sequence[st.Bundle]], Iterator[list[Path | str]]]
"""Puts bundles into a store and gives what a server is then told to serve, while the store runs."""


@contextmanager
def through_registry(folder: Path, bundles: Sequence[st.Bundle]) -> Iterator[list[Path | str]]:
    """Debian's registry; the server fetches from it."""
    with registries.debian_registry(folder) as host:
        addresses: list[Path | str] = []
        for bundle in bundles:
            addresses.append(f"oci://{host}/{bundle.name}:{bundle.version}")
            real_stores.seatrial("push", str(bundle.path), str(addresses[-1]))
        yield addresses


@contextmanager
def through_mlflow(folder: Path, bundles: Sequence[st.Bundle]) -> Iterator[list[Path | str]]:
    """MLflow's server; ours fetches from it."""
    with real_mlflow.mlflow_server(folder) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", url)
        for bundle in bundles:
            address = f"mlflow:models:/{bundle.name}@stable"
            real_stores.seatrial("push", str(bundle.path), address)
        yield [f"mlflow:models:/{bundle.name}@stable" for bundle in bundles]


@contextmanager
def through_objects(
    scheme: str, folder: Path, bundles: Sequence[st.Bundle]
) -> Iterator[list[Path | str]]:
    """An object store; its library, in an environment of its own, pushes and pulls the bundles."""
    with real_stores.object_store(scheme, folder) as store:
        for bundle in bundles:
            address = f"{store.address}/matrix/{bundle.name}"
            store.seatrial("push", str(bundle.path), address)
            store.seatrial("pull", address, "--out", str(folder / "pulled"))
        yield [folder / "pulled"]


@contextmanager
def through_memory(folder: Path, bundles: Sequence[st.Bundle]) -> Iterator[list[Path | str]]:
    """Fsspec's store within this process, out of which the bundles are pulled."""
    from seatrial_serve.stores.in_files import push_to_files

    for bundle in bundles:
        address = read_address(f"memory://matrix/{bundle.name}")
        push_to_files(bundle, address)
        pull(address, folder / "pulled")
    yield [folder / "pulled"]


STORES: Mapping[str, Through] = {
    "http v1, oci://": through_registry,
    "http v1, mlflow:": through_mlflow,
    "http v1, s3://": partial(through_objects, "s3"),
    "http v1, gs://": partial(through_objects, "gs"),
    "http v1, az://": partial(through_objects, "az"),
    "http v1, memory://": through_memory,
}
"""Line of the table -> the store that the served bundles come from."""


def try_stored(folder: Path, through: Through, sealed: Sealed) -> list[Receipt]:
    """The golden rows of every example by a server whose bundles come from a store.

    None of them where the store is not here.
    """
    folder.mkdir()
    bundles = [bundle for _, bundle in sealed.values()]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        try:
            addresses = stack.enter_context(through(folder, bundles))
        except pytest.skip.Exception as skipped:
            print(f"not asked: {skipped}", file=sys.stderr)
            return []
        first, *more = addresses
        server = stack.enter_context(serving(first, *map(str, more)))
        return [
            try_bundle(TrialRequest(bundle, url=server.url), only=["http v1"]) for bundle in bundles
        ]


def try_kserve(bundles: Iterable[st.Bundle]) -> Iterator[Receipt]:
    """The golden rows of every example by a server of it alone, started as KServe does."""
    for bundle in bundles:
        flags, program = manifests.kserve_entry(bundle, bundle.name)
        with serving(bundle.path, *flags, program=program) as server:
            yield try_bundle(TrialRequest(bundle, url=server.url), only=["http v1"])


@contextmanager
def serving(
    bundles: Path | str, *flags: str, program: Sequence[str] = servers.OURS
) -> Iterator[servers.Server]:
    """Our server, ready."""
    server = servers.Server(bundles, *flags, program=program)
    try:
        status, said = server.wait_until_loaded()
        assert status == 200, said
        yield server
    finally:
        server.stop()


def table(receipts: list[Receipt], stored: Mapping[str, list[Receipt]]) -> list[str]:
    """Write Markdown: a line for each runner and store, a column for each example.

    A cell holds the worst error of all rows and batch sizes, and the tolerance there.
    """
    lines = [
        f"| answers | {' | '.join(receipt.name for receipt in receipts)} |",
        f"|---|{'---|' * len(receipts)}",
    ]
    lines += [
        f"| {name} | {' | '.join(cell(receipt, name) for receipt in receipts)} |"
        for name in runners()
    ]
    return lines + [
        f"| {name} | {' | '.join(cell(receipt, 'http v1') for receipt in found) or NOT_ASKED} |"
        for name, found in stored.items()
    ]


def cell(receipt: Receipt, runner: str) -> str:
    """`1.7e-07 of 2.1e-05, 7 refused`, or why there is nothing."""
    trials = [trial for trial in receipt.trials if trial.runner == runner]
    if not trials:
        return NOT_ASKED
    if not all(trial.passed for trial in trials):
        return "**missed**"
    worst = max(
        (trial for trial in trials if trial.rows), key=lambda trial: trial.worst_error or 0.0
    )
    refused = sum(trial.refusals for trial in trials)
    return f"{worst.worst_error:.1e} of {worst.allowed:.1e}, {refused} refused"


if __name__ == "__main__":
    sys.exit(main())
