"""Run as a script: load a graph, run a batch, print the bytes that it took at its peak.

The bytes are counted beyond the interpreter and its libraries. The script imports nothing of
seatrial, so that the bytes are onnxruntime's.

`python peak_memory.py GRAPH.onnx FEEDS.npz [FOLDER_OF_WEIGHTS]`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort


def status_bytes(field: str) -> int:
    """A size from Linux's own account of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main(graph: str, feeds: str, weights: str = "") -> None:
    """Strings come as fixed-width text, since object arrays would need pickle."""
    with np.load(feeds) as loaded:
        batch = {
            name: loaded[name].astype(object) if loaded[name].dtype.kind == "U" else loaded[name]
            for name in loaded
        }
    before = status_bytes("VmRSS")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if weights:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", weights
        )
    model = Path(graph).read_bytes() if weights else graph
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, batch)
    sys.stdout.write(str(status_bytes("VmHWM") - before))


if __name__ == "__main__":
    main(*sys.argv[1:])
