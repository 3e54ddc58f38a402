"""Exporting: a pipeline through the export gate into a bundle.

The bundle holds the model in ONNX, and in further formats where these are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import MAX_FILE_BYTES
from seatrial_contracts.promise import Promise
from seatrial_export.check_declared import check_declared
from seatrial_export.formats import formats
from seatrial_export.formats.format import Made
from seatrial_export.gate.gate import pass_export_gate
from seatrial_export.gate.run_steps import Progress, silent
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.pipeline import Pipeline
from seatrial_export.place import placed
from seatrial_export.seal import seal
from seatrial_export.tool_versions import tool_versions


def export_pipeline(
    pipeline: Pipeline, out: Path, progress: Progress = silent, target: str | None = None, *,
    formats_wanted: Sequence[str] = (), since: Bundle | None = None, allow_breaking: bool = False,
    fastest: Promise | None = None, version: str | None = None, force: bool = False,
) -> Bundle:  # fmt: skip
    """Take a pipeline through the export gate and seal it, with a receipt beside it.

    The bundle is written as `out`/name/version. `target` is the pipeline's `path/to/file.py:name`,
    where it has one: the file runs once more in a fresh process, and the git commit of its folder,
    where there is one, goes into the manifest. `formats_wanted` are those beside ONNX, each a
    further variant that answers as the model does, or nothing is sealed. `since` is the version
    before: the notes of what changed are sealed too, and a breaking change under the same major
    version is refused, unless `allow_breaking`. With `fastest`, variants are made and timed, and
    the fastest that keeps that promise becomes the default. `version` takes the place of the
    declared one; "next" is the patch after the highest in `out`. A version that is there is refused
    before the gate runs, unless `force`, which replaces it where it differs. Raises `GateError`,
    `DeclarationError` and `BundleError`.
    """
    pipeline = placed(pipeline, Path(out), version, force=force)
    check_declared(
        pipeline, since, allow_breaking=allow_breaking, formats=formats_wanted, fastest=fastest
    )
    check_formats(pipeline, formats_wanted)
    source = None if target is None else Path(target.rpartition(":")[0])
    with Scratch(Path(out)) as scratch:
        candidate = pass_export_gate(pipeline, progress, target, scratch)
        made = make_formats(candidate, formats_wanted, progress)
        return seal(
            candidate, out, tool_versions(), progress, source, made=made, since=since,
            fastest=fastest, replace=force,
        )  # fmt: skip


def check_formats(pipeline: Pipeline, wanted: Sequence[str]) -> None:
    """Raise `DeclarationError` for a format that nobody makes, or that would be too large."""
    known = formats()
    for name in wanted:
        if name not in known:
            raise DeclarationError(
                "--format", name, f"one of {', '.join(known)}", "ONNX is always made"
            )
    weights = (*pipeline.model.parameters(), *pipeline.model.buffers())
    size = sum(tensor.nbytes for tensor in weights)
    if wanted and size > MAX_FILE_BYTES:
        raise DeclarationError(
            f"--format {wanted[0]}",
            f"weights of {size:,} bytes",
            f"at most {MAX_FILE_BYTES:,}, since the format is one file",
            "leave it out: ONNX has large weights in a file of their own",
        )


def make_formats(
    candidate: TorchCandidate, wanted: Sequence[str], progress: Progress
) -> list[Made]:
    """Each format beside ONNX. Raises `GateError`."""
    made = []
    for name in dict.fromkeys(wanted):
        progress(name)
        made.append(formats()[name](candidate))
    return made
