"""Running a saved departure again: `python -m seatrial_parity.bisect.replay FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import onnx

from seatrial_parity.bisect.probed import run
from seatrial_parity.bisect.saved import NODE, NOTE, VALUES


def replay(folder: Path) -> dict[str, float]:
    """Run the node in onnxruntime on its inputs in the graph and on PyTorch's.

    Each result is the largest difference from PyTorch's value.
    """
    note = json.loads((folder / NOTE).read_text("utf-8"))
    model = onnx.load_from_string((folder / NODE).read_bytes())
    with np.load(folder / VALUES, allow_pickle=False) as values:
        said = {}
        for what, key in (("the graph's inputs", "input"), ("PyTorch's inputs", "training_input")):
            keys = [f"{key}_{place}" for place in range(len(note["inputs"]))]
            if all(each in values for each in keys):
                got = run(
                    model,
                    {name: values[each] for name, each in zip(note["inputs"], keys, strict=True)},
                )
                said[what] = float(
                    np.abs(got[note["value"]].astype(float) - values["want"].astype(float)).max()
                )
    return said


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Run again what `seatrial parity --bisect` saved in FOLDER.

    Where nothing departed, it saved nothing.
    """
    if not (folder / NOTE).is_file():
        raise click.ClickException(
            f"{folder}: got no {NOTE}, want a folder that seatrial parity --bisect saved"
        )
    for inputs, apart in replay(folder).items():
        click.echo(f"on {inputs}: {apart:.3e} from PyTorch's value")


if __name__ == "__main__":
    main()
