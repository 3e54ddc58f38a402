#!/bin/sh
# Installs NVIDIA's Triton server (Python backend alone, from nvidia-pytriton) into the folder $1, with an environment for its models: FOLDER/{DIST,V,B}.
# Its models import seatrial from this checkout; numpy stays below 2, since Triton 2.51 makes empty outputs of newer arrays.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$folder"
rm -rf V B
python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target DIST nvidia-pytriton==0.7.0
python3 -m venv V
V/bin/pip install --quiet --disable-pip-version-check 'numpy<2' onnxruntime pydantic tokenizers pillow prometheus-client orjson soundfile soxr
site=$(V/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n%s\n' "$root/contracts" "$root/serve" > "$site/seatrial.pth"
mkdir -p B/python
cp -r DIST/pytriton/tritonserver/backends/python/. B/python/
cp "DIST/pytriton/tritonserver/python_backend_stubs/$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')/triton_python_backend_stub" B/python/
