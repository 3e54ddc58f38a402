#!/bin/sh
# In the image's build: the packages of `cpu` or `gpu` and the wheel into /opt/seatrial, without what no server needs, and the SBOM of what is left.
set -eu
source=$PWD
python3 -m venv --without-pip /opt/seatrial
install="/build/bin/pip --python /opt/seatrial/bin/python3 install --no-cache-dir --no-compile --no-deps --only-binary :all:"
$install --require-hashes -r "deploy/image/$1.txt"
$install --no-index /wheels/*.whl
cd /opt/seatrial/lib/python3*/site-packages
rm -rf seatrial_export seatrial_parity onnxruntime/transformers onnxruntime/quantization onnxruntime/tools onnxruntime/datasets
rm -rf hf_xet* huggingface_hub* # tokenizers would download with them, which no server does
find . -depth -type d \( -name tests -o -name include -o -name __pycache__ \) -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.c' -o -name '*.a' \) -delete
/opt/seatrial/bin/python3 -m compileall -q -j 0 . # nothing can be compiled where the root is read-only
cd "$source"
sh deploy/image/sbom.sh /build/bin/cyclonedx-py /opt/seatrial/sbom.cdx.json environment /opt/seatrial/bin/python3
