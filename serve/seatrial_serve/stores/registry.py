"""An OCI registry over HTTP: manifests, compared with their digests, and blobs.

The protocol is the OCI Distribution Specification 1.1.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from seatrial_contracts.canonical import read_json
from seatrial_contracts.errors import MissingExtra, StoreError
from seatrial_serve.stores.address import InRegistry, is_loopback
from seatrial_serve.stores.artifact import INDEX, MANIFEST
from seatrial_serve.stores.credentials import DOCKER_HUB
from seatrial_serve.stores.received import never
from seatrial_serve.stores.store import Stopped

try:
    import requests
    import urllib3
except ImportError as error:
    raise MissingExtra("an address oci://", "oci") from error

from seatrial_serve.stores.registry_auth import RegistryAuth

log = logging.getLogger("seatrial.stores")
HUB_API = "registry-1.docker.io"
MAX_MANIFEST_BYTES = 4 * 2**20
"""What a registry must take at least, and so the largest there is."""
CONNECT_S, READ_S = 10.0, 60.0
"""How long to wait for a connection, and for the next bytes."""
MAX_PAGES = 100
"""Of one list of referrers."""
REASONS = {
    401: "401: no credentials, or wrong ones",
    403: "403: these credentials may not do that",
    404: "404: nothing of that name or digest",
    429: "429: too many requests",
}


class Sized(Protocol):
    """Bytes in pieces, as often as they are asked for, whose number is known."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Fetched:
    """A manifest as it came, and the digest of those bytes."""

    data: bytes
    media_type: str
    digest: str


class NotWhole(StoreError):
    """What a registry lists or holds is gone, or is not what its digest names."""


class Registry:
    """One repository of a registry. Use `with`."""

    def __init__(self, address: InRegistry, stopped: Stopped = never) -> None:
        self.where = address.shown
        self._stopped = stopped
        host = HUB_API if address.host == DOCKER_HUB else address.host
        scheme = "http" if is_loopback(host) else "https"
        self._base = f"{scheme}://{host}/v2/{address.repository}/"
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers["User-Agent"] = "seatrial"
        self._auth = RegistryAuth(address, self._base)

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._session.close()

    def digest_of(self, reference: str) -> str | None:
        """The digest of a tag's manifest, where the registry names it. Raises `StoreError`."""
        with self._ask("HEAD", f"manifests/{reference}", headers=accepting()) as reply:
            found: str | None = reply.headers.get("Docker-Content-Digest")
        return found

    def manifest(self, reference: str) -> Fetched:
        """The manifest of a tag or digest.

        Raises `StoreError`, and `NotWhole` where it is gone, or other bytes came for a digest.
        """
        with self._ask("GET", f"manifests/{reference}", headers=accepting(), stream=True) as reply:
            data = self._read(reply.raw, MAX_MANIFEST_BYTES + 1)
            media_type = reply.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if len(data) > MAX_MANIFEST_BYTES:
            raise NotWhole(self.where, f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
        if ":" in reference and digest != reference:
            raise NotWhole(self.where, f"another manifest, {digest[:23]}", reference[:23])
        return Fetched(data, media_type, digest)

    @contextmanager
    def blob(self, digest: str, size: int) -> Iterator[Blob]:
        """A blob's bytes, which are not compared with its digest. Raises `StoreError`."""
        with self._ask("GET", f"blobs/{digest}", stream=True) as reply:
            yield Blob(partial(self._read, reply.raw), self.where, size)

    def has_blob(self, digest: str) -> bool:
        """Is it there? Raises `StoreError`."""
        with self._ask("HEAD", f"blobs/{digest}", ok=(200, 404)) as reply:
            return reply.status_code == 200

    def put_blob(self, digest: str, blob: Sized) -> None:
        """Upload a blob in one request, unless it is there. Raises `StoreError`."""
        if self.has_blob(digest):
            return
        with self._ask("POST", "blobs/uploads/", ok=(202,)) as reply:
            place = urljoin(reply.url, reply.headers.get("Location", ""))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(blob))}
        query = {"digest": digest}
        with self._ask("PUT", place, ok=(201,), params=query, data=blob, headers=headers):
            pass

    def whole_blob(self, digest: str, size: int) -> bytes:
        """A small blob, compared with its digest. Raises `StoreError`, and `NotWhole`."""
        data = b""
        with self.blob(digest, size) as blob:
            while len(data) < size:
                data += blob.read(size - len(data))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise NotWhole(self.where, "a blob of other bytes", digest[:23])
        return data

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> bool:
        """Upload a manifest under a tag or its digest. Raises `StoreError`.

        Returns whether the registry lists it among the referrers of its subject.
        """
        headers = {"Content-Type": media_type}
        path = f"manifests/{reference}"
        with self._ask("PUT", path, ok=(201,), data=data, headers=headers) as reply:
            return "OCI-Subject" in reply.headers

    def referrers(self, subject: str) -> list[dict[str, Any]]:
        """Descriptors of what names a digest as its subject, in no order. Raises `StoreError`."""
        listed = self._listed(f"referrers/{subject}")
        return self.tagged_referrers(subject) if listed is None else listed

    def tagged_referrers(self, subject: str) -> list[dict[str, Any]]:
        """As `referrers`, by the tag that takes their place where a registry lists none."""
        return self._listed(f"manifests/{referrers_tag(subject)}") or []

    def _listed(self, path: str) -> list[dict[str, Any]] | None:
        """The descriptors of an index, on all of its pages; None where there is no such path."""
        found: list[dict[str, Any]] = []
        for _ in range(MAX_PAGES):
            with self._ask("GET", path, ok=(200, 404), headers=accepting(), stream=True) as reply:
                if reply.status_code == 404:
                    return None
                data = self._read(reply.raw, MAX_MANIFEST_BYTES + 1)
                following = reply.links.get("next", {}).get("url")
                path = urljoin(reply.url, following or "")
            found += self._descriptors(data)
            if following is None:
                return found
            if urlsplit(path)[:2] != urlsplit(self._base)[:2]:
                raise StoreError(self.where, "a page of its referrers elsewhere", "its own address")
        got = f"more than {MAX_PAGES} pages of referrers"
        raise StoreError(self.where, got, "fewer signatures and attestations of one bundle")

    def _descriptors(self, data: bytes) -> list[dict[str, Any]]:
        """The descriptors of an index."""
        try:
            found = read_json(data[:MAX_MANIFEST_BYTES])
        except ValueError:
            found = None
        listed = found.get("manifests") if isinstance(found, dict) else None
        if not isinstance(listed, list):
            raise StoreError(self.where, "a list of referrers that is none", "an index of JSON")
        return [each for each in listed if isinstance(each, dict)]

    @contextmanager
    def _ask(
        self, method: str, path: str, *, ok: Iterable[int] = (200,), **how: Any
    ) -> Iterator[requests.Response]:
        """One request, and one more with credentials if the registry wants some."""
        how = {"auth": self._auth, "timeout": (CONNECT_S, READ_S), **how}
        how["allow_redirects"] = True  # a HEAD too
        how["headers"] = {"Accept-Encoding": "identity", **how.get("headers", {})}
        url = urljoin(self._base, path)
        with self._naming_faults():
            reply = self._session.request(method, url, **how)
            if reply.status_code == 401 and self._auth.answer(reply, self._session):
                reply.close()
                reply = self._session.request(method, url, **how)
        with reply:
            if reply.status_code not in ok:
                status = reply.status_code
                mend = self._auth.mend if status in (401, 403) else None
                fault = NotWhole if status == 404 else StoreError
                raise fault(self.where, REASONS.get(status, f"status {status}"), mend=mend)
            yield reply

    def _read(self, raw: Any, size: int) -> bytes:
        """At most `size` bytes of a body; less than `size` at its end alone."""
        if self._stopped():
            raise StoreError(self.where, "told to stop while fetching")
        with self._naming_faults():
            data: bytes = raw.read(size, decode_content=False)
        return data

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        """Turn what the HTTP library raises into `StoreError`, without its text."""
        want = "a registry that answers"
        try:
            yield
        except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
            log.debug("%s: %s", self.where, cause_of(error))
            mend = "REQUESTS_CA_BUNDLE names a file of further authorities"
            raise StoreError(self.where, "a certificate not trusted here", want, mend) from error
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            log.debug("%s: %s", self.where, cause_of(error))
            raise StoreError(self.where, "no answer in time", want) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            log.debug("%s: %s", self.where, cause_of(error))
            raise StoreError(self.where, f"no connection ({cause_of(error)})", want) from error


def referrers_tag(subject: str) -> str:
    """The tag that lists the referrers of a digest where a registry does not."""
    return subject.replace(":", "-", 1)


class Pieces:
    """Bytes in one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return iter((self._data,))

    def __len__(self) -> int:
        return len(self._data)


class Blob:
    """A blob as it arrives, of a known size. Whoever reads it verifies what is in it."""

    def __init__(self, read: Callable[[int], bytes], where: str, size: int) -> None:
        self._read, self._where, self._size, self._left = read, where, size, size

    def read(self, size: int) -> bytes:
        """At most `size` bytes, and at least one.

        Raises `StoreError`, and `NotWhole` where the registry has fewer bytes.
        """
        data = self._read(min(size, self._left))
        self._left -= len(data)
        if not data:
            got = f"{self._size - self._left} of {self._size} bytes of a layer"
            raise NotWhole(self._where, got, "all of them")
        return data


def accepting() -> Mapping[str, str]:
    """The header for what can be read of manifests."""
    return {"Accept": f"{INDEX}, {MANIFEST}"}


def cause_of(error: BaseException) -> str:
    """The innermost cause of a library's error, by the name of its class or the system's text."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [each for each in (*error.args, error.__cause__, error.__context__)
                 if isinstance(each, BaseException)]  # fmt: skip
        reason = getattr(error, "reason", None)
        if isinstance(reason, BaseException):
            inner.insert(0, reason)
        if not inner:
            break
        error = inner[0]
    strerror = getattr(error, "strerror", None)
    return strerror if isinstance(strerror, str) else type(error).__name__
