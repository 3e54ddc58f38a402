"""Export from Python: a pipeline through the gate into a sealed bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import seatrial_contracts.bundle as sealed
from seatrial.budget import promised
from seatrial.bundle import Bundle, as_bundle, bundle_at
from seatrial_contracts.promise import Promise

if TYPE_CHECKING:
    from seatrial_export.pipeline import Pipeline


def export(
    pipeline: Pipeline | str,
    out: str | Path = "bundles",
    progress: Callable[[str], None] | None = None,
    *,
    target: str | None = None,
    formats: Sequence[str] = (),
    since: sealed.Bundle | str | Path | None = None,
    allow_breaking: bool = False,
    fastest: Promise | str | None = None,
    version: str | None = None,
    force: bool = False,
) -> Bundle:
    """Take a pipeline through the export gate and seal it as `out`/name/version.

    `pipeline` is an `st.Pipeline`, or `"path/to/file.py:name"`. A pipeline of a file runs once more
    in a fresh process, and the bundle names the file's git commit; `target` says so of a pipeline
    that was loaded already. `formats` are sealed beside
    ONNX: "torchscript". `since` is the version before, a bundle or its path: what changed is sealed
    as release notes, and breaking changes need a higher major version unless `allow_breaking`.
    `fastest` is what variants have to keep, such as "cosine>=0.995": the fastest of them becomes
    the default. `version` takes the place of the declared one; "next" is the patch after the
    highest in `out`. A version that is there is refused before the gate runs, unless `force`, which
    replaces it where it differs. `progress` is called with the name of each step.

    Its receipts (`bundle.receipts()`) say what was proven and what the gate warns of. Raises
    `GateError` that names step, cause and mend, `DeclarationError`, `Refusal` for a row that the
    contract refuses, and `BundleError`; then nothing is written.
    """
    from seatrial_export.export import export_pipeline
    from seatrial_export.gate.run_steps import silent
    from seatrial_export.load_pipeline import load_pipeline

    if isinstance(pipeline, str):
        target = pipeline
        pipeline = load_pipeline(target)
    return as_bundle(
        export_pipeline(
            pipeline,
            Path(out),
            progress or silent,
            target=target,
            formats_wanted=formats,
            since=None if since is None else bundle_at(since),
            allow_breaking=allow_breaking,
            fastest=promised(fastest) if isinstance(fastest, str) else fastest,
            version=version,
            force=force,
        )
    )
