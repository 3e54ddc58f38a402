#!/bin/sh
# Write a CycloneDX SBOM (JSON, 1.6): of what an environment holds, or of what a lock pins; the same input gives the same bytes.
# Usage: sbom.sh CYCLONEDX_PY OUT environment PYTHON | sbom.sh CYCLONEDX_PY OUT requirements LOCK
set -eu
"$1" "$3" --pyproject pyproject.toml --mc-type application --spec-version 1.6 --output-format JSON --output-reproducible --output-file "$2" "$4"
