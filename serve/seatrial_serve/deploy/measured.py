"""What a server with one bundle takes, as it was measured on one machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.canonical import readable_json
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_contracts.receipt import Digest, Time

MEASURED = "measured.json"
MAX_FILE_BYTES = 2**16
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Bytes = Annotated[int, Field(ge=0)]


class Measured(BaseModel):
    """The figures that requests, limits, probes and grace are derived from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str
    version: str
    digest: Digest
    """The bundle's."""
    made_at: Time
    processor: str
    cores: Annotated[int, Field(ge=1)]
    """Threads that ran the model."""
    start_s: Seconds
    """From the start of the process to readiness, with an empty cache and the whole load gate."""
    resident_bytes: Bytes
    """The most memory that the server and its processes held, under load too."""
    cache_bytes: Bytes
    """What the server left in its cache: optimised graphs and the load gate's receipt."""
    bundle_bytes: Bytes
    request_rows: Annotated[int, Field(ge=1)]
    """Rows of each request of the load: as many as a batch has that pays."""
    requests: Annotated[int, Field(ge=1)]
    """How many were answered."""
    slowest_answer_s: Seconds
    """The longest time from a request to its answer, with one request more than cores."""

    def to_json(self) -> bytes:
        """For a file that people read."""
        return readable_json(json.loads(self.model_dump_json(by_alias=True)))


def write_measured(folder: Path, measured: Measured) -> Path:
    """Keep the figures beside what was derived from them. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(folder / MEASURED, measured.to_json())


def read_measured(folder: Path) -> Measured | None:
    """The figures that were kept; None where there are none. Raises `DeclarationError`."""
    path = folder / MEASURED
    try:
        return Measured.model_validate_json(read_plain_file(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        return None
    except (NotPlainFile, OSError, ValidationError):
        mend = "remove it: the bundle is measured anew"
        raise DeclarationError(str(path), "no figures", "those of an earlier run", mend) from None
