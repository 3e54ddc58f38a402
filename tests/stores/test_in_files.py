"""Bundles below URLs, by way of fsspec: a store in memory, and a web server."""

from __future__ import annotations

import functools
import http.server
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.toys import toy_bundle, toy_golden

from seatrial_contracts.errors import BundleError, DeclarationError, StoreError
from seatrial_serve.process.log import start_log
from seatrial_serve.stores.address import InStore
from seatrial_serve.stores.in_files import push_to_files
from seatrial_serve.stores.resolve import open_address, pull
from seatrial_serve.stores.store import look_at

AT = InStore("memory", "memory://models")


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield
    memory.store.clear()


def test_a_bundle_is_pushed_and_read_back(tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path / "made")
    assert push_to_files(bundle, AT) == "memory://models/toy/1.0.0"
    push_to_files(bundle, AT)
    assert open_address("memory://models/toy/1.0.0").digest == bundle.digest
    assert open_address("memory://models").digest == bundle.digest
    pulled, _ = pull(InStore("memory", "memory://models/toy/1.0.0"), tmp_path / "out")
    assert dict(pulled.files) == dict(bundle.files)


def test_a_folder_of_bundles_is_listed_with_its_labels(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        push_to_files(toy_bundle(tmp_path, version=version), AT)
    push_to_files(toy_bundle(tmp_path, name="other"), AT)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/models/toy/labels.json", b'{"stable": "1.0.0"}')
    memory.pipe_file("/models/toy/2.0.0/contract.json", b"{}")  # being uploaded: no manifest yet
    look = look_at(AT)
    assert {name: sorted(each) for name, each in look.versions.items()} == {
        "toy": ["1.0.0", "1.1.0"],
        "other": ["1.0.0"],
    }
    assert look.selection("toy") == {"labels.json": b'{"stable": "1.0.0"}'}
    assert look.selection("other") == {}
    with pytest.raises(DeclarationError, match=r"got 3 bundles: other/1\.0\.0, toy/1\.0\.0, toy/1"):
        open_address("memory://models")


def test_another_bundle_of_a_version_is_not_overwritten(tmp_path: Path) -> None:
    first = toy_bundle(tmp_path / "first")
    push_to_files(first, AT)
    other = toy_bundle(tmp_path / "other", golden=toy_golden([{"x": 1.5, "word": "a"}] * 3))
    with pytest.raises(BundleError, match="there already"):
        push_to_files(other, AT)
    assert open_address("memory://models").digest == first.digest


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("contract.json", None, "nothing there"),
        ("contract.json", lambda data: data[:-1], "of 'contract.json'"),
        ("contract.json", lambda data: data.replace(b"{", b"[", 1), "other bytes"),
        ("manifest.json", lambda data: data + b" ", "spelling|manifest"),
        ("manifest.json", lambda _: b"{}", "manifest"),
    ],
)
def test_what_is_not_as_it_was_sealed_is_refused(
    name: str, data: object, says: str, tmp_path: Path
) -> None:
    push_to_files(toy_bundle(tmp_path / "made"), AT)
    memory, path = fsspec.filesystem("memory"), f"/models/toy/1.0.0/{name}"
    before = memory.cat_file(path)
    memory.rm_file(path)
    if callable(data):
        memory.pipe_file(path, data(before))
    with pytest.raises((BundleError, StoreError), match=says):
        open_address("memory://models/toy/1.0.0")
    assert not list((tmp_path / "cache").rglob("contract.json"))


def test_a_store_without_a_bundle_is_refused() -> None:
    with pytest.raises(StoreError, match="no bundle"):
        open_address("memory://nowhere")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server over the test's folder."""
    with running_site(Quiet, tmp_path) as url:
        yield url


@contextmanager
def running_site(kind: type[Quiet], folder: Path) -> Iterator[str]:
    handler = functools.partial(kind, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_one_bundle_is_read_off_a_web_server(tmp_path: Path, site: str) -> None:
    bundle = toy_bundle(tmp_path / "made")
    opened = open_address(f"{site}/made/toy/1.0.0")
    assert opened.digest == bundle.digest
    with pytest.raises(StoreError, match="nothing is listed over HTTP"):
        open_address(f"{site}/made")
    with pytest.raises(StoreError, match="a web server"):
        push_to_files(bundle, InStore("http", f"{site}/made"))


def test_a_web_server_that_is_down_is_named_without_credentials(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"ClientConnectorError|Connect") as refused:
        open_address("http://me:s3cret@127.0.0.1:9/toy/1.0.0")
    assert "s3cret" not in str(refused.value)


class Forbidding(Quiet):
    """A store that says 403 of what is absent, as S3 does to whoever may not list."""

    status = 403

    def send_head(self) -> Any:
        if not Path(self.translate_path(self.path)).exists():
            self.send_error(self.status)
            return None
        return super().send_head()


@pytest.fixture
def forbidding(tmp_path: Path) -> Iterator[str]:
    with running_site(Forbidding, tmp_path) as url:
        yield url


def test_a_signature_that_a_store_forbids_counts_as_absent(
    tmp_path: Path, forbidding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = toy_bundle(tmp_path / "made")
    address = f"{forbidding}/made/toy/1.0.0"
    assert open_address(address).digest == bundle.digest
    with pytest.raises(StoreError, match="may read"):
        open_address(f"{forbidding}/made/nothing")
    monkeypatch.setattr(Forbidding, "status", 500)
    with pytest.raises(StoreError, match="500"):
        open_address(address)


class Refused(Exception):
    """As Azure's library has it."""

    status_code = 403


@pytest.mark.parametrize(
    "error",
    [PermissionError("Forbidden"), OSError("Forbidden: b/o/signature"), Refused("Forbidden")],
    ids=["s3", "gs", "az"],
)
def test_the_libraries_of_stores_say_forbidden_in_their_own_ways(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = toy_bundle(tmp_path / "made")
    push_to_files(bundle, AT)
    memory = fsspec.filesystem("memory")
    opened = memory.open

    def open_file(path: str, *args: Any, **options: Any) -> Any:
        try:
            return opened(path, *args, **options)
        except FileNotFoundError:
            raise error from None

    monkeypatch.setattr(type(memory), "open", lambda _, *args, **how: open_file(*args, **how))
    assert open_address("memory://models/toy/1.0.0").digest == bundle.digest


def test_no_line_of_a_library_holds_credentials(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = toy_bundle(tmp_path / "made")
    levels = {name: logging.getLogger(name).level for name in ("", "seatrial")}
    monkeypatch.setattr(logging.root, "handlers", [])
    stream = io.StringIO()
    text = "https://me:s3cret@host/a?sig=s3cret: no answer"
    sink = start_log("debug", stream=stream)
    try:
        address = f"{site}/made/toy/1.0.0".replace("http://", "http://me:s3cret@")
        assert open_address(address).digest == bundle.digest
        library = logging.getLogger("urllib3.connectionpool")
        library.warning("Retrying %s", "https://me:s3cret@host/a?X-Amz-Signature=s3cret")
        library.warning("Retrying: /a?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret")
        logging.getLogger("botocore.auth").debug("s3cret")
        logging.getLogger("azure.identity.aio").warning("one of several tries")
        logging.getLogger("seatrial.stores").debug("our own")
        try:
            raise RuntimeError(text)
        except RuntimeError:
            logging.getLogger("seatrial.stores").exception("not reloaded")
        sink.flush()
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    written = stream.getvalue()
    assert "s3cret" not in written
    assert "https://host/a?..." in written
    assert "one of several tries" not in written
    assert "our own" in written
