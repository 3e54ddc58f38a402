"""The parity matrix: every example through every runner, from the same raw rows, as one table.

Run it:  make parity-matrix

Triton's lines need `make triton` first, the container's `make image`, Ray's `make test-ray`;
without these the lines are marked so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import real_image, real_ray, real_triton, servers  # noqa: E402  (found through the line above)

import seatrial as st  # noqa: E402  (found through the line above)
from seatrial_contracts.receipt import Receipt  # noqa: E402  (found through the line above)
from seatrial_parity.runners import runners  # noqa: E402  (found through the line above)
from seatrial_parity.runners.runner import TrialRequest  # noqa: E402  (found through the line above)
from seatrial_parity.trial import try_bundle  # noqa: E402  (found through the line above)
from seatrial_serve.deploy.ray import ENVIRONMENT  # noqa: E402  (found through the line above)
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
    print("\n".join(table(receipts)))
    for receipt in receipts:
        for trial in receipt.trials:
            if not trial.passed:
                print(f"missed: {receipt.name}, {trial.runner}: {trial.finding}")
    return int(not all(receipt.passed for receipt in receipts))


def seal(out: Path) -> dict[str, tuple[st.Pipeline, st.Bundle]]:
    """Every example, in TorchScript too."""
    sealed = {}
    for name in servers.EXAMPLES:
        pipeline = st.load_pipeline(f"{ROOT / 'examples' / name / 'pipeline.py'}:pipeline")
        sealed[name] = pipeline, st.export_pipeline(pipeline, out, formats_wanted=["torchscript"])
    return sealed


@contextmanager
def serving(
    bundles: Path, *flags: str, program: Sequence[str] = servers.OURS
) -> Iterator[servers.Server]:
    """Our server, ready."""
    server = servers.Server(bundles, *flags, program=program)
    try:
        status, said = server.wait_until_loaded()
        assert status == 200, said
        yield server
    finally:
        server.stop()


def table(receipts: list[Receipt]) -> list[str]:
    """Write Markdown: a line for each runner, a column for each example.

    A cell holds the worst error of all rows and batch sizes, and the tolerance there.
    """
    lines = [
        f"| answers | {' | '.join(receipt.name for receipt in receipts)} |",
        f"|---|{'---|' * len(receipts)}",
    ]
    return lines + [
        f"| {name} | {' | '.join(cell(receipt, name) for receipt in receipts)} |"
        for name in runners()
    ]


def cell(receipt: Receipt, runner: str) -> str:
    """`1.7e-07 of 2.1e-05, 7 refused`, or why there is nothing."""
    trials = [trial for trial in receipt.trials if trial.runner == runner]
    if not trials:
        return "not asked"
    if not all(trial.passed for trial in trials):
        return "**missed**"
    worst = max(
        (trial for trial in trials if trial.rows), key=lambda trial: trial.worst_error or 0.0
    )
    refused = sum(trial.refusals for trial in trials)
    return f"{worst.worst_error:.1e} of {worst.allowed:.1e}, {refused} refused"


if __name__ == "__main__":
    sys.exit(main())
