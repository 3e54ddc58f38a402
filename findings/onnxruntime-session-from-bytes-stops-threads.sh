#!/usr/bin/env bash
# onnxruntime stops every other Python thread while it parses a model that was given as bytes, and then holds the bytes as well.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; Linux, CPU provider.
# Given: a model of 160 MB of weights, opened as InferenceSession(bytes) and as InferenceSession(path), while a second thread
#   sleeps a tenth of a millisecond again and again.
# Want: the second thread goes on in both cases, as it does while the session is initialised and while it runs.
# Seen: from a path the second thread is never stopped for long. From bytes it is stopped for as long as the parser takes, some
#   0.5 ms for each megabyte: a server that loads a model beside others answers nobody meanwhile. The session holds the bytes until
#   it ends, beside its own copy of the weights: its process is larger by the size of the model.
# Way out: a path; for bytes that lie on no disk, os.memfd_create and /proc/self/fd/N.
# Exit: 0 where this is seen, 1 where onnxruntime behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat > opened.py <<'PYTHON'
import gc
import sys
import threading
import time
from pathlib import Path

import onnxruntime as ort

model = Path("large.onnx").read_bytes() if sys.argv[1] == "bytes" else "large.onnx"
pauses, over = [], threading.Event()


def beat():
    last = time.perf_counter()
    while not over.is_set():
        time.sleep(0.0001)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now


thread = threading.Thread(target=beat)
thread.start()
settings = ort.SessionOptions()
settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
over.set()
thread.join()
del model
gc.collect()
size = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Anonymous"))
print(max(pauses), int(size.split()[1]) / 1024)
PYTHON
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

chance = np.random.default_rng(0)
weights = [numpy_helper.from_array(chance.standard_normal((2000, 2000)).astype(np.float32), f"w{n}") for n in range(10)]
nodes = [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(10)]
ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2000]) for name in ("x0", "x10")]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "large.onnx")


def seen(form):
    runs = [subprocess.run([sys.executable, "opened.py", form], capture_output=True, text=True, check=True) for _ in range(5)]
    pauses, sizes = zip(*(map(float, run.stdout.split()) for run in runs))
    return min(pauses), min(sizes)


(bytes_s, bytes_mb), (path_s, path_mb) = seen("bytes"), seen("path")
print(f"onnxruntime {ort.__version__}: longest pause of another thread {bytes_s * 1e3:.0f} ms from bytes, {path_s * 1e3:.0f} ms from a path")
print(f"memory of the process {bytes_mb:.0f} MB from bytes, {path_mb:.0f} MB from a path")
sys.exit(0 if bytes_s > 3 * path_s and bytes_s > 0.03 and bytes_mb - path_mb > 100 else 1)
PYTHON
