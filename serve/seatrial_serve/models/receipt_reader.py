"""The receipts beside a bundle as clients see them.

Anybody may have written them, so reading them can hold up nobody else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import BundleError
from seatrial_contracts.receipt import ERROR_EDGES
from seatrial_contracts.receipts_folder import newest_files, read_receipt
from seatrial_serve.process.background import BackgroundWorker

SINGLE_ROWS: Any = {"trials": {"__all__": {"worst", "flipped"}}}
"""What receipts say of single rows. It stays beside the bundle: the rows may be somebody's."""
MAX_KEPT_BYTES = 16 * 2**20
"""Most bytes of JSON that are kept for the next look, all bundles together.

The JSON that was longest out of sight goes first.
"""
MAX_WAITING = 16
WAIT_S = 2.0
"""How long a look waits for the disk."""


class Told(NamedTuple):
    """What one folder said: receipts as JSON, the newest first, and what could not be read."""

    stamps: tuple[Any, ...]
    receipts: bytes
    error: str


class ReceiptReader:
    """Reads in one thread of its own, one folder after another.

    It parses none twice that has not changed.

    A disk that does not answer holds up this thread alone, and a look for `WAIT_S` seconds.
    """

    def __init__(self) -> None:
        self._aside: BackgroundWorker[tuple[Bundle, Future[Told]]] | None = None
        self._kept: OrderedDict[Path, Told] = OrderedDict()

    async def told(self, bundle: Bundle) -> dict[str, Any]:
        """Return the receipts beside a bundle, the newest first.

        They may come while the bundle is served. `receipts_error` is there if some cannot be read.
        """
        if self._aside is None:
            self._aside = BackgroundWorker("receipts", self._answer, MAX_WAITING)
        future: Future[Told] = Future()
        try:
            if not self._aside.offer((bundle, future)):
                raise TimeoutError
            told = await asyncio.wait_for(asyncio.wrap_future(future), WAIT_S)
        except TimeoutError:
            told = Told((), b"[]", "receipts: got no answer from the disk in time; look again")
        shown = {"receipts": orjson.Fragment(told.receipts), "error_edges": ERROR_EDGES}
        return shown | ({"receipts_error": told.error} if told.error else {})

    def _answer(self, asked: tuple[Bundle, Future[Told]]) -> None:
        bundle, future = asked
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._told(bundle))
        except Exception as error:  # raised where somebody waits for it: that one is answered too
            future.set_exception(error)

    def _told(self, bundle: Bundle) -> Told:
        try:
            files = newest_files(bundle.path)
        except BundleError as error:
            return Told((), b"[]", str(error))
        stamps = (bundle.digest, *(file.stamp for file in files))
        told = self._kept.pop(bundle.path, None)
        if told is None or told.stamps != stamps:
            told = Told(stamps, *read(bundle.digest, [file.path for file in files]))
        self._kept[bundle.path] = told
        while sum(len(each.receipts) for each in self._kept.values()) > MAX_KEPT_BYTES:
            self._kept.popitem(last=False)
        return told


def read(digest: str, paths: list[Path]) -> tuple[bytes, str]:
    """Return the receipts about this digest as a JSON array, and what could not be read.

    The newest comes first; receipts are without single rows.
    """
    found: list[tuple[str, bytes]] = []
    errors: list[str] = []
    for path in paths:
        try:
            receipt = read_receipt(path)
        except BundleError as error:
            errors.append(str(error))
            continue
        if receipt.digest == digest:
            told = receipt.model_dump_json(by_alias=True, exclude=SINGLE_ROWS).encode()
            found.append((receipt.made_at, told))
    found.sort(key=lambda one: one[0], reverse=True)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return b"[" + b",".join(told for _, told in found) + b"]", errors[0] + more if errors else ""
