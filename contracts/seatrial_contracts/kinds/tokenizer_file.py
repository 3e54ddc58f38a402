"""A `tokenizer.json`: read, loaded once for all who read texts alike, and its unknown token."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import DeclarationError, MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHARED: WeakValueDictionary[tuple[str, str], Tokenizer] = WeakValueDictionary()
"""SHA-256 of a file and how texts are read with it -> the tokenizer, as long as somebody has it."""
LOADING = Lock()
UNIGRAMS_UNKNOWN = re.compile(rb'(?<!\\)"unk_id"\s*:\s*(\d+)')
"""The id, in the file of a Unigram: no text of the file has this unescaped."""


def shared_tokenizer(file: bytes, reads: str, set_up: Callable[[Tokenizer], None]) -> Tokenizer:
    """The tokenizer of a file as `set_up` leaves it, which nobody changes any more.

    All who say the same of how they read share it. One of 250,000 entries takes half a second of
    processor time to load, while no other Python runs, and hundreds of megabytes. Raises as
    `load_tokenizer` does.
    """
    key = sha256(file), reads
    with LOADING:
        tokenizer = SHARED.get(key)
        if tokenizer is None:
            tokenizer = load_tokenizer(file)
            set_up(tokenizer)
            SHARED[key] = tokenizer
        return tokenizer


def read_tokenizer(path: str | Path) -> bytes:
    """The file's bytes. Raises `DeclarationError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        where = f"tokenizer '{path}'"
        raise DeclarationError(
            where, error.strerror or "no file", "a readable tokenizer.json"
        ) from None


def own_options(tokenizer: bytes) -> dict[str, Any]:
    """A `tokenizer.json`'s own values for options that are not set: sides and the padding's id.

    Raises `DeclarationError`.
    """
    try:
        file = json.loads(tokenizer)
        padding, truncation = file.get("padding") or {}, file.get("truncation") or {}
        sides = [str(part.get("direction", "right")).lower() for part in (padding, truncation)]
        return {
            "padding_side": sides[0],
            "truncation_side": sides[1],
            "pad_id": int(padding.get("pad_id", 0)),
        }
    except (ValueError, AttributeError, TypeError):
        raise DeclarationError(
            "tokenizer", "a file that is no JSON object", "a tokenizer.json"
        ) from None


def load_tokenizer(data: bytes) -> Tokenizer:
    """The tokenizer, with the padding and truncation of its file taken off."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtra("a text field", "text") from None
    try:
        tokenizer = Tokenizer.from_str(data.decode())  # `from_buffer` takes up to twice as long
    except Exception:  # the library raises nothing narrower; its words may hold the file's
        raise DeclarationError(
            "tokenizer", "a file that tokenizers cannot read", "a tokenizer.json"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def unknown_id(tokenizer: Tokenizer, file: bytes) -> int:
    """The id of the token for words outside the vocabulary; `file` is the tokenizer's own.

    The id is -1 where there is no such token, as in byte-level vocabularies.
    """
    model = tokenizer.model
    if not hasattr(model, "unk_token"):  # Unigram
        found = UNIGRAMS_UNKNOWN.search(file)
        return -1 if found is None else int(found[1])
    word = model.unk_token
    found_id = None if word is None else tokenizer.token_to_id(word)
    return -1 if found_id is None else found_id
