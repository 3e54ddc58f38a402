"""A real model, sealed, served and held to parity by every runner that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

import seatrial as st
from seatrial_contracts.receipt import Trial
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository
from support.real_triton import SERVER, RealTriton
from support.servers import Server

TRITON = ["triton http", "triton grpc"]
RUNNERS = frozenset({"pytorch", "onnxruntime", "http v1", "v2 json", "v2 binary", "grpc"})


def hold_to_parity(pipeline: st.Pipeline, folder: Path, runners: Set[str] = RUNNERS) -> None:
    """Fail where one of these runners does not run, or any that runs finds a difference."""
    bundle = st.open_bundle(st.export(pipeline, folder / "bundles").path)
    server = Server(folder / "bundles")
    try:
        assert server.wait_until_loaded()[0] == 200, "".join(server.log)
        receipt = try_bundle(
            TrialRequest(bundle, pipeline=pipeline, url=server.url, grpc=server.grpc)
        )
    finally:
        server.stop()
    assert runners <= {trial.runner for trial in receipt.trials}
    trials = [*receipt.trials, *in_triton(bundle, folder)]
    failed = [f"{trial.runner}: {trial.finding}" for trial in trials if not trial.passed]
    assert not failed, "\n".join(failed)


def in_triton(bundle: st.Bundle, folder: Path) -> Sequence[Trial]:
    """The same in a real Triton, where `make triton` installed one."""
    if not SERVER.exists():
        return ()
    write_repository([bundle], folder / "repository", Placing(backend="python"))
    with RealTriton(folder / "repository", folder / "triton.log") as triton:
        asked = TrialRequest(bundle, triton=triton.url, triton_grpc=triton.grpc)
        trials = try_bundle(asked, TRITON).trials
    assert {trial.runner for trial in trials} == set(TRITON)
    return trials
