"""Judges objects of Kubernetes by kubernetes-validate, in that package's own environment.

It reads a JSON list of objects, and writes what is wrong with them by each of the three newest
versions that it knows.

python tests/deploy/ask_kubernetes.py < objects.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from kubernetes_validate.utils import ValidationError, all_versions, validate


def wrong(each: dict[str, Any], version: str) -> str:
    """What is wrong, or nothing."""
    try:
        validate(each, version, strict=True)
    except ValidationError as error:
        return f"{each['kind']} {'.'.join(map(str, error.path))}: {error.message[:200]}"
    return ""


if __name__ == "__main__":
    objects = json.load(sys.stdin)
    versions = [version.removesuffix(".0") for version in dict.fromkeys(all_versions())][-3:]
    print(json.dumps({v: [text for each in objects if (text := wrong(each, v))] for v in versions}))
