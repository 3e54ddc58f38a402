"""A real model, sealed, served and held to parity by every runner that needs nothing else."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import seatrial as st
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from support.servers import Server

RUNNERS = frozenset({"pytorch", "onnxruntime", "http v1", "v2 json", "v2 binary", "grpc"})


def hold_to_parity(pipeline: st.Pipeline, folder: Path, runners: Set[str] = RUNNERS) -> None:
    """Fail where one of these runners does not run, or any that runs finds a difference."""
    bundle = st.open_bundle(st.export_pipeline(pipeline, folder / "bundles").path)
    server = Server(folder / "bundles")
    try:
        assert server.wait_until_loaded()[0] == 200, "".join(server.log)
        receipt = try_bundle(
            TrialRequest(bundle, pipeline=pipeline, url=server.url, grpc=server.grpc)
        )
    finally:
        server.stop()
    assert runners <= {trial.runner for trial in receipt.trials}
    failed = [f"{trial.runner}: {trial.finding}" for trial in receipt.trials if not trial.passed]
    assert not failed
