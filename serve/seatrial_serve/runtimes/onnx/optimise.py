"""Run as a script: write a large graph as onnxruntime's optimiser leaves it, and end.

Weights in the kernels' order are in memory beside the mapped ones meanwhile, so this is a process
of its own. `python optimise.py FOLDER_OF_WEIGHTS ENTRIES < GRAPH`, where the entries are the
session's configuration, one `key=value` a line, the path of the new graph first.
"""

from __future__ import annotations

import sys

import onnxruntime as ort


def main(data: str, entries: str) -> None:
    """Raises what onnxruntime raises."""
    ort.disable_telemetry_events()
    path, *lines = entries.splitlines()
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.optimized_model_filepath = path
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", data)
    for line in lines:
        settings.add_session_config_entry(*line.split("=", 1))
    ort.InferenceSession(sys.stdin.buffer.read(), settings, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main(*sys.argv[1:])
