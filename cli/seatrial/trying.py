"""The trial from Python: does everything that can answer for a bundle answer as training did?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import seatrial_contracts.bundle as sealed
from seatrial.bundle import Bundle, as_bundle, bundle_at
from seatrial_contracts.receipt import Receipt, SignedBy

if TYPE_CHECKING:
    from seatrial_export.pipeline import Pipeline


@dataclass(frozen=True)
class Parity:
    """What a trial found."""

    receipt: Receipt
    path: Path
    """Where the receipt was written, beside the bundle."""

    @property
    def passed(self) -> bool:
        """Did every runner keep its tolerance?"""
        return self.receipt.passed

    @property
    def findings(self) -> tuple[str, ...]:
        """What failed: runner, variant, and sample, output, index and error."""
        return tuple(
            f"{trial.runner} {trial.variant}, batch {trial.batch_sizes}: {trial.finding}"
            for trial in self.receipt.trials
            if not trial.passed
        )


def parity(
    bundle: sealed.Bundle | str | Path,
    pipeline: Pipeline | str | None = None,
    *,
    url: str | None = None,
    grpc: str | None = None,
    triton: str | None = None,
    triton_grpc: str | None = None,
    edge: str | None = None,
    container: str | None = None,
    ray: str | None = None,
    ray_grpc: str | None = None,
    model: str | None = None,
    key_file: Path | None = None,
    runners: Sequence[str] = (),
    trust_torchscript: bool = False,
    require_signature: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Parity:
    """Run the golden rows through every runner, and compare with the training side's answers.

    `bundle` is opened already, or a path or address. With a `pipeline`, or its
    `"path/to/file.py:name"`, PyTorch answers again too. Servers are tried by their addresses: ours
    at `url` (http://host:port) and `grpc` (host:port), NVIDIA's at `triton` and `triton_grpc`, ours
    before a Triton at `edge` and in a container at `container`, Ray Serve's at `ray` and
    `ray_grpc`. `model` is what ours call the model, where that is not the bundle's name. The first
    line of `key_file` is the key that ours ask for.

    `runners` names the only ones to try. `trust_torchscript` lets TorchScript graphs, which are
    programs, run here. `progress` is called with the name of each runner.

    `require_signature`: a file of one public key or of certificates, a folder of them, or a policy.
    The signature of the bundle is then verified, of a path or address before it is opened, and the
    receipt names the signer.

    The receipt is written beside the bundle, whether it passed or not. Raises `DeclarationError`
    for an unknown runner, `MissingExtra`, and `BundleError` for a bundle that nobody signed whose
    signature counts.
    """
    from seatrial_parity.runners import check_runners
    from seatrial_parity.runners.runner import TrialRequest
    from seatrial_parity.trial import try_bundle

    check_runners(runners)
    opened, signed_by = (
        (bundle_at(bundle), None)
        if require_signature is None
        else signed_bundle_at(bundle, Path(require_signature))
    )
    if isinstance(pipeline, str):
        from seatrial_export.load_pipeline import load_pipeline

        pipeline = load_pipeline(pipeline)
    request = TrialRequest(
        opened,
        pipeline,
        url,
        grpc,
        triton,
        triton_grpc,
        edge,
        container,
        ray,
        ray_grpc,
        model,
        key_file=key_file,
        trust_torchscript=trust_torchscript,
    )
    receipt = try_bundle(request, runners, progress, signed_by)
    return Parity(receipt, receipt.write(opened.path))


def signed_bundle_at(bundle: sealed.Bundle | str | Path, signers: Path) -> tuple[Bundle, SignedBy]:
    """The bundle that a caller names, and who signed it. Raises as `open_signed` does."""
    from seatrial.signed_bundle import open_signed, signed_opened
    from seatrial_serve.trust.policy import read_policy

    if isinstance(bundle, sealed.Bundle):
        return as_bundle(bundle), signed_opened(bundle, signers)
    opened, signed_by = open_signed(bundle, read_policy(signers))
    return as_bundle(opened), signed_by
