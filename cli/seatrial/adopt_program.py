"""`seatrial adopt model.pt2`: a program that torch saved, through the export gate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seatrial.row_argument import read_rows
from seatrial.sealing import Sealing, gate_progress, refuse_options, show_sealed
from seatrial_contracts.errors import MissingExtra

TORCH_SUFFIXES = frozenset(
    {".pt2", ".pt", ".pth", ".ts", ".jit", ".torchscript", ".ckpt", ".bin", ".safetensors"}
)
"""Of files that torch saves, and of weights; what is in one shows when it is opened."""
OWN = ("contract", "answers", "golden", "training", "rows_alone", "name", "write")
"""Options of the command that a program takes."""


def adopt_program(
    model: Path,
    asked: Mapping[str, Any],
    name: str,
    sealing: Sealing,
) -> None:
    """Seal the program in a file. torch itself, running the program, is the reference.

    `asked` are the command's other options, and `name` is the bundle's. Raises `DeclarationError`,
    `GateError`, `BundleError` and `MissingExtra`.
    """
    check_options(asked)
    try:
        from seatrial_export.export import export_pipeline
        from seatrial_export.pipeline import Pipeline
        from seatrial_export.programs.read import read_program
    except ImportError as error:
        raise MissingExtra(f"seatrial adopt {model.name}", "export") from error
    from seatrial_export.adopt.contract_file import read_contract
    from seatrial_export.user_file import UserFiles

    with gate_progress(f"reading {model}") as progress:
        inputs, outputs = read_contract(UserFiles(), asked["contract"], asked["answers"])
        training = asked["training"]
        pipeline = Pipeline(
            name=name,
            version=sealing.declared_version,
            inputs=inputs,
            outputs=outputs,
            model=read_program(model),
            golden=read_rows(asked["golden"]),
            reference=() if training is None else read_rows(training),
            batchable=not asked["rows_alone"],
        )
        bundle = export_pipeline(pipeline, sealing.out, progress, **sealing.arguments())
    show_sealed(bundle, sealing.out, as_json=sealing.as_json)


def check_options(asked: Mapping[str, Any]) -> None:
    """Raise for options that a program does not take, and for those that are missing."""
    mend = (
        "in a pipeline file, model= takes the program too: st.Pipeline(model="
        "torch.export.load(PATH))"
    )
    refuse_options(asked, OWN, "a program of torch's", mend)
    for name, option in (("contract", "--contract FILE.py:ROWS"), ("golden", "--golden ROWS")):
        if asked[name] is None:
            raise click.UsageError(f"{option} is missing")
