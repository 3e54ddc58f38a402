"""Read an artifact back by oras and by KServe's storage initializer, which runs outside of us.

    read_back.py HOST/NAME:TAG FOLDER

Prints JSON: what oras found, and the files that KServe laid into FOLDER, by digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["KSERVE_OCI_INSECURE_REGISTRY"] = "1"

import oras.client
from kserve_storage import Storage

reference, folder = sys.argv[1], Path(sys.argv[2])
client = oras.client.OrasClient(insecure=True)
index = client.get_manifest(reference)
name = reference.rpartition(":")[0]
manifests = [client.get_manifest(f"{name}@{each['digest']}") for each in index["manifests"]]
blob = folder / "layer.tar"
digest = manifests[-1]["layers"][0]["digest"]
client.download_blob(f"{name}@{index['manifests'][-1]['digest']}", digest, str(blob))
Storage.download(f"oci://{reference}", str(folder / "models"))
told = {
    "index": index["mediaType"],
    "artifact_types": [each.get("artifactType") for each in manifests],
    "layer": digest,
    "read": "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest(),
    "files": {
        str(path.relative_to(folder / "models")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "models").rglob("*"))
        if path.is_file()
    },
}
print(json.dumps(told))
