"""Running a saved departure again: `python -m seatrial_parity.bisect.replay FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import numpy as np
import onnx

from seatrial_parity.bisect.probed import run
from seatrial_parity.bisect.saved import NODE, NOTE, VALUES


def replay(folder: Path) -> dict[str, float]:
    """The node in onnxruntime on the inputs it had in the graph and on PyTorch's, each against PyTorch's value: the largest difference."""
    note = json.loads((folder / NOTE).read_text("utf-8"))
    model = onnx.load_from_string((folder / NODE).read_bytes())
    with np.load(folder / VALUES, allow_pickle=False) as values:
        said = {}
        for what, key in (("the graph's inputs", "input"), ("PyTorch's inputs", "training_input")):
            keys = [f"{key}_{place}" for place in range(len(note["inputs"]))]
            if all(each in values for each in keys):
                got = run(model, {name: values[each] for name, each in zip(note["inputs"], keys, strict=True)})
                said[what] = float(np.abs(got[note["value"]].astype(float) - values["want"].astype(float)).max())
    return said


if __name__ == "__main__":
    for inputs, apart in replay(Path(sys.argv[1])).items():
        click.echo(f"on {inputs}: {apart:.3e} from PyTorch's value")
