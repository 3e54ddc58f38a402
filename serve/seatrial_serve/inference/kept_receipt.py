"""Receipts of passed load gates in the user's cache: with one, a restart replays one golden row."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seatrial_contracts.canonical import canonical_json, readable_json, sha256
from seatrial_contracts.measures import Count
from seatrial_contracts.plain_file import NotPlainFile
from seatrial_contracts.receipt import MAX_RECEIPT_BYTES, Time, Trial, installed_versions
from seatrial_serve.inference.engine import Engine
from seatrial_serve.inference.pace import Pace
from seatrial_serve.process.machine import machine_key
from seatrial_serve.process.private_cache import NotPrivate, read_private, write_private
from seatrial_serve.runtimes.runtime import RuntimeOptions

log = logging.getLogger("seatrial.load_gate")
PACKAGES = ("seatrial", "numpy", "pillow", "soundfile", "soxr", "tokenizers", "pydantic")
"""Beside the runtime: whatever validates, reads and encodes rows."""
MAX_TRIALS, MAX_SIZES = 16, 32


class KeptReceipt(BaseModel):
    """What a passed load gate found, and what it found it with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    made_at: Time
    facts: Mapping[str, str]
    """What must be the same, or the receipt says nothing: see `receipt_facts`."""
    trials: Annotated[tuple[Trial, ...], Field(min_length=1, max_length=MAX_TRIALS)]
    seconds: Annotated[
        dict[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]],
        Field(max_length=MAX_SIZES),
    ]
    """Rows -> seconds of a batch of them."""
    length: Annotated[int, Field(ge=1)]
    """Padded length of those rows."""
    elements: tuple[Count, Count]
    row: Count
    """The golden row to be replayed."""

    @model_validator(mode="after")
    def _whole(self) -> KeptReceipt:
        if 1 not in self.seconds or not all(trial.passed for trial in self.trials):
            raise ValueError("a passed gate, with the time of one row")
        return self

    @property
    def pace(self) -> Pace:
        """What a batch costs."""
        return Pace(self.seconds, self.length)


def receipt_facts(
    engine: Engine, options: RuntimeOptions, signer: str = ""
) -> dict[str, str] | None:
    """What a receipt of this engine is about: bundle, variant, provider, versions and machine.

    `signer`: whose signature of the bundle was verified, which it names then.

    None where receipts are neither kept nor trusted: for a remote runtime, which may change behind
    this process; on cards, whose drivers do not say what they change; and where the system does not
    tell one machine from another. None of an encrypted bundle too: a receipt holds numbers of the
    answers to golden rows, and would lie plain in the cache.
    """
    machine = machine_key()
    if engine.remote or engine.slots is not None or machine is None:
        return None
    if engine.bundle.encryption is not None:
        return None
    signed = {"signer": signer} if signer else {}
    settings = [
        options.providers,
        options.provider_options,
        options.intra_op_threads,
        options.cache is not None,
    ]
    return {
        "digest": engine.bundle.digest, "variant": engine.variant, "provider": engine.provider,
        "runtime": engine.runtime_version, "settings": canonical_json(settings).decode().strip(),
        "machine": machine, "python": platform.python_version(), **signed,
        **installed_versions(PACKAGES),
    }  # fmt: skip


class KeptReceipts:
    """The receipts of a cache folder that is this user's alone to write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, facts: Mapping[str, str]) -> KeptReceipt | None:
        """The receipt of a gate that was passed with these facts; None if none can be trusted."""
        try:
            data = read_private(self._folder, name_of(facts), MAX_RECEIPT_BYTES)
            kept = KeptReceipt.model_validate_json(data)
        except FileNotFoundError:
            return None
        except NotPrivate as error:
            log.warning("no kept receipt is trusted: %s", error)
            return None
        except (OSError, NotPlainFile, ValidationError):
            log.warning("a kept receipt cannot be read and is made anew")
            return None
        return kept if kept.facts == facts else None

    def keep(self, receipt: KeptReceipt) -> None:
        """Keep a receipt for the next start; where it cannot be kept, the log says so."""
        data = readable_json(json.loads(receipt.model_dump_json(by_alias=True)))
        if len(data) > MAX_RECEIPT_BYTES:
            log.info("the load gate's receipt is not kept: it has %d bytes", len(data))
            return
        try:
            write_private(self._folder, name_of(receipt.facts), data)
        except NotPrivate as error:
            log.warning("the load gate's receipt is not kept: %s", error)
        except OSError as error:
            log.info("the load gate's receipt is not kept: %s", error.strerror)


def name_of(facts: Mapping[str, str]) -> str:
    """The file of a receipt about these facts."""
    return f"{sha256(canonical_json(dict(facts)))}.json"
