"""OCI registries on the loopback: a small one that can go wrong, and Debian's docker-registry."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

PATHS = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|referrers)/(?P<reference>.+)")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class SmallRegistry:
    """What a registry holds, and how it goes wrong.

    `blob` changes what is sent of a blob; `cut` ends the connection after so many of its bytes.
    `after_manifest` is called once a manifest was sent. `login` is a name and password to want.
    With `lists_referrers` it has the referrers API, `a_page` of descriptors at a time, in the order
    of `order`; `next_page` gives the address of the page of a number.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        """By tag and by digest: media type and bytes."""
        self.blob: Callable[[bytes], bytes] = lambda data: data
        self.cut: int | None = None
        self.after_manifest: Callable[[str], None] = lambda reference: None
        self.login: str | None = None
        self.tokens = False
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request."""
        self.headers: list[dict[str, str]] = []
        self.host = ""
        self.lists_referrers, self.a_page = False, 1000
        self.order: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda found: found
        self.next_page: Callable[[str, int], str] = lambda path, page: f"{path}?page={page}"

    def referrers(self, subject: str) -> list[dict[str, Any]]:
        """The descriptors of the manifests that name a digest as their subject."""
        found = {}
        for media_type, data in self.manifests.values():
            said = json.loads(data)
            if said.get("subject", {}).get("digest") == subject:
                named = ("artifactType", "annotations")
                found[digest_of(data)] = {
                    "mediaType": media_type, "digest": digest_of(data), "size": len(data),
                    **{name: said[name] for name in named if name in said},
                }  # fmt: skip
        return self.order([*found.values()])

    def attach(
        self, subject: str, data: bytes, annotations: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Let another tool attach a Sigstore bundle to what has this digest; its descriptor."""
        self.blobs[digest_of(data)] = data
        notes = {} if annotations is None else {"annotations": annotations}
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SIGSTORE,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json",
                       "digest": digest_of(b"{}"), "size": 2},
            "layers": [{"mediaType": SIGSTORE, "digest": digest_of(data), "size": len(data)}],
            "subject": {"mediaType": INDEX, "digest": subject, "size": 1}, **notes,
        }).encode()  # fmt: skip
        self.manifests[digest_of(manifest)] = (MANIFEST, manifest)
        descriptor = {
            "mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest),
            "artifactType": SIGSTORE, **notes,
        }  # fmt: skip
        if not self.lists_referrers:
            tag = subject.replace(":", "-")
            listed = json.loads(self.manifests.get(tag, ("", b'{"manifests": []}'))[1])
            index = {"schemaVersion": 2, "mediaType": INDEX,
                     "manifests": [*listed["manifests"], descriptor]}  # fmt: skip
            self.manifests[tag] = (INDEX, json.dumps(index).encode())
        return descriptor

    @property
    def layers(self) -> list[str]:
        """The digests of blobs that are tars."""
        return [digest for digest, data in self.blobs.items() if data[257:262] == b"ustar"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: SmallRegistry

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        for key, value in ({"Content-Length": str(len(data))} | named).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def allowed(self) -> bool:
        registry = self.registry
        registry.asked.append((self.command, self.path))
        registry.headers.append(dict(self.headers.items()))
        if registry.login is None:
            return True
        basic = "Basic " + base64.b64encode(registry.login.encode()).decode()
        given = self.headers.get("Authorization", "")
        if self.path.startswith("/token"):
            if given != basic:
                self.answer(401)
            else:
                self.answer(200, b'{"token": "t0ken"}')
            return False
        if given == ("Bearer t0ken" if registry.tokens else basic):
            return True
        realm = f'Bearer realm="http://{registry.host}/token",service="here",scope="s"'
        self.answer(401, WWW_Authenticate=realm if registry.tokens else 'Basic realm="here"')
        return False

    def do_GET(self) -> None:
        if not self.allowed():
            return
        found = PATHS.fullmatch(urlsplit(self.path).path)
        if found is None:
            self.answer(404)
            return
        registry, reference = self.registry, found["reference"]
        if found["kind"] == "referrers":
            self.list_referrers(reference)
            return
        if found["kind"] == "manifests":
            media_type, data = registry.manifests.get(reference, ("", b""))
            if not data:
                self.answer(404)
                return
            self.answer(200, data, Content_Type=media_type, Docker_Content_Digest=digest_of(data))
            registry.after_manifest(reference)
            return
        if reference not in registry.blobs:
            self.answer(404)
            return
        data = registry.blobs[reference]
        is_layer = reference in registry.layers
        data = registry.blob(data) if is_layer else data
        if is_layer and registry.cut is not None and self.command == "GET":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: registry.cut])
            self.close_connection = True
            return
        self.answer(200, data)

    do_HEAD = do_GET

    def list_referrers(self, subject: str) -> None:
        """One page of the referrers; 404 where the registry has no such API."""
        registry, parts = self.registry, urlsplit(self.path)
        if not registry.lists_referrers:
            self.answer(404)
            return
        page = int(parse_qs(parts.query).get("page", ["0"])[0])
        listed = registry.referrers(subject)
        shown = listed[page * registry.a_page :][: registry.a_page]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": shown}
        headers = {"Content_Type": INDEX}
        if len(listed) > (page + 1) * registry.a_page:
            headers["Link"] = f'<{registry.next_page(parts.path, page + 1)}>; rel="next"'
        self.answer(200, json.dumps(index).encode(), **headers)

    def do_POST(self) -> None:
        if self.allowed():
            self.answer(202, Location="/v2/uploads/1?state=x")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed():
            return
        parts = urlsplit(self.path)
        found = PATHS.fullmatch(parts.path)
        if found is None:
            wanted = parse_qs(parts.query)["digest"][0]
            if wanted != digest_of(data):
                self.answer(400)
                return
            self.registry.blobs[wanted] = data
        else:
            kept = (self.headers["Content-Type"], data)
            self.registry.manifests[found["reference"]] = kept
            self.registry.manifests[digest_of(data)] = kept
            subject = json.loads(data).get("subject")
            if subject is not None and self.registry.lists_referrers:
                self.answer(201, Location=self.path, OCI_Subject=subject["digest"])
                return
        self.answer(201, Location=self.path)


@contextmanager
def small_registry() -> Iterator[SmallRegistry]:
    """A small registry that runs in this process."""
    registry = SmallRegistry()
    handler = type("Bound", (Handler,), {"registry": registry})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        registry.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def debian_registry(folder: Path, port: int = 0) -> Iterator[str]:
    """Debian's docker-registry on the loopback; its host and port."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not here: make judges")
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(url: str, within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < end, url
            time.sleep(0.1)
