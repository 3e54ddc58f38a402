"""A departure on disk: the node as a model of its own, its values, and a note.

The note holds the command that runs the node again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import readable_json
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.bisect.bisect import Bisection
from seatrial_parity.bisect.departure import Departure

NODE, VALUES, NOTE = "node.onnx", "values.npz", "replay.json"


def save(bundle: Bundle, bisection: Bisection, folder: Path) -> Path:
    """Write a variant's departure into a folder of the variant's name.

    The departure must be there. The folder takes the place of the one that is there.
    """
    departure = bisection.departure
    assert departure is not None, "there is something to save"
    target = folder / bisection.variant
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{bisection.variant}.", dir=folder))
    try:
        (made / NODE).write_bytes(departure.replay.SerializeToString(deterministic=True))
        np.savez(made / VALUES, allow_pickle=False, **arrays(departure))
        (made / NOTE).write_bytes(readable_json(note(bundle, bisection, departure, target)))
        made.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def arrays(departure: Departure) -> dict[str, Any]:
    """The values, under keys that a zip file can hold.

    The note lists which input has which number.
    """
    inputs = {
        f"input_{place}": plain(array) for place, array in enumerate(departure.inputs.values())
    }
    training = {
        f"training_input_{place}": plain(departure.training_inputs[name])
        for place, name in enumerate(departure.inputs)
        if name in departure.training_inputs
    }
    return {**inputs, **training, "got": departure.got, "want": departure.want}


def plain(array: Array) -> Array:
    """Strings as numpy's own text, which needs no pickle."""
    return array.astype(str) if array.dtype.kind == "O" else array


def note(
    bundle: Bundle, bisection: Bisection, departure: Departure, target: Path
) -> Mapping[str, Any]:
    """The note: what departs, where, and the line that runs the node again."""
    origin = departure.origin
    return {
        "run": f"python -m seatrial_parity.bisect.replay {target}",
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "digest": bundle.digest,
            "variant": bisection.variant,
        },
        "golden_row": bisection.sample,
        "graph": departure.role,
        "node": departure.node.name,
        "operator": departure.node.op_type,
        "value": departure.value,
        "modules": list(origin.modules) if origin else [],
        "line": origin.line if origin else "",
        "error": repr(departure.found.worst_error),
        "allowed": departure.found.allowed,
        "index": list(departure.found.index),
        "differs": list(departure.differs),
        "inputs": list(departure.inputs),
    }
