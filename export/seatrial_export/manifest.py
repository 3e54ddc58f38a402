"""The manifest of a bundle that is being sealed."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from seatrial_contracts.manifest import Manifest, Prepare, Variant
from seatrial_export.gate.candidate import GRAPH, PREPARE_GRAPH, Candidate
from seatrial_export.graphs.needs import needs_of


def manifest_of(candidate: Candidate, packages: Mapping[str, str], source: Path | None) -> Manifest:
    """The manifest, but for its files. No time, host, user or path: same inputs, same bytes."""
    declared = candidate.declared
    prepare = (
        Prepare(
            graph=PREPARE_GRAPH,
            inputs=declared.prepare_inputs,
            outputs=declared.prepared_specs,
            needs=needs_of(candidate.prepare.onnx),
        )
        if candidate.prepare
        else None
    )
    original = Variant(
        name="fp32",
        graph=GRAPH,
        promise=declared.whole_promise,
        needs=needs_of(candidate.model.onnx),
    )
    return Manifest(
        schema=1,
        name=declared.name,
        version=declared.version,
        batchable=candidate.batchable,
        variants=(original,),
        prepare=prepare,
        origin=declared.origin,
        waivers=dict(declared.waive),
        git_commit=git_commit(source),
        made_with={"python": ".".join(platform.python_version_tuple()[:2]), **packages},
        files={},
    )


def git_commit(source: Path | None) -> str | None:
    """The commit of the folder that a file lies in.

    None where the folder is in no repository, or git is not there.
    """
    if source is None:
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=source.resolve().parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
