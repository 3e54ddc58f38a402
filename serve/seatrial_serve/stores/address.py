"""Addresses of bundles: a path, the URL of a store, or a reference in a registry."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from seatrial_contracts.errors import DeclarationError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HOST = r"(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?)"
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"{HOST}/(?P<repository>{PART}(?:/{PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
"""A reference with its registry's name: OCI Distribution Specification 1.1, "Pulling manifests"."""
MAX_CHARS = 2048
EXTRA_OF = {"s3": "s3", "gs": "gcs", "az": "azure", "https": "https", "http": "https"}
"""Scheme of a store -> the extra that brings what reads it."""
MEMORY = "memory"
"""A store inside one process, for tests and notebooks."""
MLFLOW = "mlflow:"
"""What stands before an address that MLflow resolves."""
OF_MLFLOW = re.compile(
    r"models:/(?P<id>m-[0-9a-f]{32})"
    r"|models:/(?P<name>[^/:@?#%\x00-\x1f]{1,256})(?:/(?P<version>[0-9]{1,18})|@(?P<alias>[\w.-]{1,255}))?"
    r"|runs:/(?P<run>[0-9a-f]{32})/(?P<path>[\w. -]+(?:/[\w. -]+)*)"
)
MLFLOW_ADDRESSES = (
    "mlflow:models:/NAME/VERSION, mlflow:models:/NAME@ALIAS, mlflow:models:/m-ID or "
    "mlflow:runs:/ID/PATH"
)
SERVERS = ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI")
"""MLflow's variables that say where models are looked up, the one that counts first."""
ADDRESSES = (
    "a path, oci://HOST/NAME:TAG, mlflow:models:/NAME/VERSION, s3://, gs://, az:// or https://"
)


@dataclass(frozen=True)
class Folder:
    """A folder of this machine."""

    path: Path

    @property
    def shown(self) -> str:
        """What messages call it."""
        return str(self.path)


@dataclass(frozen=True)
class InRegistry:
    """A reference in an OCI registry, by tag or by digest."""

    host: str
    """With its port, where it has one."""
    repository: str
    tag: str | None
    digest: str | None
    """`sha256:` and 64 digits; where both are given, the digest decides."""

    @property
    def shown(self) -> str:
        """What messages call it."""
        tag = f":{self.tag}" if self.tag else ""
        return f"oci://{self.host}/{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"

    def pinned(self, digest: str) -> InRegistry:
        """The same by a digest of its manifest, whatever the tag comes to mean."""
        return InRegistry(self.host, self.repository, None, digest)

    @property
    def reference(self) -> str:
        """The tag or digest, as the registry is asked by it."""
        return self.digest or self.tag or ""


@dataclass(frozen=True)
class InStore:
    """A folder in an object store or behind a web server."""

    scheme: str
    url: str
    """It may hold a password, and is never shown."""

    @property
    def shown(self) -> str:
        """What messages call it: the URL without name and password."""
        return without_credentials(self.url)


@dataclass(frozen=True)
class InMlflow:
    """A model that MLflow keeps: a version, an alias, a logged model, or a run's."""

    uri: str
    """As MLflow has it: `models:/NAME/VERSION`."""
    server: str
    """What MLFLOW_TRACKING_URI says, or the working folder; without name and password."""
    name: str | None = None
    """Of a registered model."""
    version: str | None = None
    alias: str | None = None

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"{MLFLOW}{self.uri} at {self.server}"


Remote = InRegistry | InStore | InMlflow
Address = Folder | Remote


def read_address(text: str) -> Address:
    """The address that a text is.

    Without a scheme it is a path. Raises `DeclarationError` for a scheme that is not known, for a
    reference that is none, for URLs with a query, and for plain HTTP to another machine.
    """
    found = SCHEME.match(text)
    if found is None and not text.startswith(MLFLOW):
        return Folder(Path(text))
    if len(text) > MAX_CHARS:
        raise wrong(text[:64], f"{len(text)} characters", f"at most {MAX_CHARS}")
    if found is None:
        return _in_mlflow(text)
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme == "oci":
        return _in_registry(text, rest)
    parts = urlsplit(text)
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise wrong(text, "a file of another machine", "file:///absolute/path")
        return Folder(Path(unquote(parts.path)))
    if scheme not in EXTRA_OF and scheme != MEMORY:
        raise wrong(text, f"the scheme {scheme}://", ADDRESSES)
    if "?" in rest or "#" in rest:
        raise wrong(text.partition("?")[0].partition("#")[0], "a query", "the folder's own URL")
    if scheme == "http" and not is_loopback(parts.hostname or ""):
        raise wrong(text, "plain HTTP to another machine", "https://")
    return InStore(scheme, text.rstrip("/"))


def is_pinned(address: Address) -> bool:
    """Can it never stand for anything else?"""
    return isinstance(address, InRegistry) and address.digest is not None


def _in_registry(text: str, rest: str) -> InRegistry:
    found = REFERENCE.fullmatch(rest)
    want = "oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST, in lower case"
    if found is None or not is_host(found["host"]):
        raise wrong(text, "no reference with its registry's host", want)
    if found["tag"] is None and found["digest"] is None:
        raise wrong(text, "neither tag nor digest", want)
    return InRegistry(found["host"], found["repository"], found["tag"], found["digest"])


def _in_mlflow(text: str) -> InMlflow:
    uri = text.removeprefix(MLFLOW)
    found = OF_MLFLOW.fullmatch(uri)
    if found is None:
        raise wrong(text, "none of MLflow's own forms", MLFLOW_ADDRESSES)
    said = next(filter(None, map(os.environ.get, SERVERS)), str(Path.cwd()))
    return InMlflow(uri, without_credentials(said), found["name"], found["version"], found["alias"])


def is_host(host: str) -> bool:
    """Is the first part of a reference a host, and not the first part of a name?"""
    return "." in host or ":" in host or host == "localhost"


def is_loopback(host: str) -> bool:
    """Does a host, which may have a port, name this machine alone?"""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host
    name = name.partition(":")[0] if name.count(":") == 1 else name
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def without_credentials(url: str) -> str:
    """A URL without the name and password before its host, and without its query."""
    return re.sub(r"(?<=://)[^/@]*(?:@[^/@]*)*@", "", url).partition("?")[0]


def wrong(text: str, got: str, want: str) -> DeclarationError:
    """The error about an address, which is shown without credentials."""
    return DeclarationError(f"address '{without_credentials(text)}'", got, want)
