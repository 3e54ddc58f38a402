"""A kept failure: one small file from which a request can be run again.

The request failed or came too late.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seatrial_contracts.canonical import readable_json
from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_contracts.golden import wire_value
from seatrial_contracts.kinds.category import MISSING, MISSING_INTEGER
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_contracts.receipt import Machine, installed_versions, now, this_machine
from seatrial_serve.models.request import rows_of
from seatrial_serve.models.request_record import RequestRecord

PACKAGES = ("seatrial", "onnxruntime", "numpy")
MAX_FILE_BYTES = 64 * 2**20
SUFFIX = ".failure.json"
KEPT_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z-.+-[a-z0-9_]{8}\.failure\.json")
"""What `KeptFailure.write` names its files."""
Form = Literal["redacted", "encrypted", "plain"]


class KeptFailure(BaseModel):
    """One request.

    If the form is plain, `rows` are its rows as JSON carries them. Else they are the same encrypted
    (age, in base64), or what kinds of values they hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, alias="schema")
    model: str
    version: str
    digest: str
    variant: str
    provider: str
    batch_rows: int
    """Most rows in a batch of that server."""
    request_id: str
    route: str
    code: str
    status: int
    seconds: float
    objective_s: float | None
    timings: dict[str, float]
    shape: str
    """What all rows of its first batch had in common."""
    mates: tuple[tuple[int, int], ...]
    """Rows and padded length of each request in that batch, itself among them.

    They are empty if the request did not come so far.
    """
    machine: Machine
    kept_at: str
    form: Form
    rows: Any

    @classmethod
    def read(cls, path: Path) -> KeptFailure:
        """The one in a file. Raises `DeclarationError` where it holds none."""
        try:
            return cls.model_validate_json(read_plain_file(path.resolve(), MAX_FILE_BYTES))
        except OSError as error:
            got = error.strerror or "no file"
        except NotPlainFile as error:
            got = str(error)
        except ValidationError:
            got = "something else"
        raise DeclarationError(
            f"kept failure '{path.name}'", got, "a file that --keep-failures wrote"
        )

    def write(self, folder: Path) -> Path:
        """Write it into `folder`, for its owner alone; it appears whole or not at all.

        Raises `OSError`.
        """
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".failure.")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(readable_json(self.model_dump(mode="json", by_alias=True)))
                file.flush()
                os.fsync(file.fileno())
            unique = temporary.rpartition(".")[2]
            target = (
                folder
                / f"{self.kept_at.replace(':', '')}-{self.model}-{self.version}-{unique}{SUFFIX}"
            )
            Path(temporary).rename(target)
        except BaseException:  # whatever ends it, nothing half-written stays
            Path(temporary).unlink(missing_ok=True)
            raise
        return target

    def raw_rows(self, identity: str | None) -> list[Any]:
        """Return the rows as a client would send them.

        Raises `DeclarationError` if they were redacted, or if `identity`, an age secret key, does
        not open them.
        """
        if self.form == "redacted":
            raise DeclarationError(
                "kept failure",
                "rows that were redacted",
                "rows to run",
                "keep them encrypted: --keep-failures-key age1...",
            )
        rows = self.rows
        if self.form == "encrypted":
            if identity is None:
                mend = "name its file: --identity KEY"
                raise DeclarationError("kept failure", "encrypted rows", "the secret key", mend)
            try:
                rows = orjson.loads(decrypt(base64.b64decode(self.rows, validate=True), identity))
            except (TypeError, ValueError):  # no base64, or no JSON in it
                rows = None
        if not isinstance(rows, list) or not rows:
            raise DeclarationError(
                "kept failure", "no rows", "a list of them", "a file that --keep-failures wrote"
            )
        return rows


def kept_files(folder: Path) -> list[Path]:
    """Return the kept failures in a folder, the newest first, and nothing else that lies there.

    They are ordered by their names, which begin with their time.
    """
    return sorted(
        (file for file in folder.iterdir() if KEPT_NAME.fullmatch(file.name)), reverse=True
    )


def keep(record: RequestRecord, form: Form, recipient: str | None) -> KeptFailure:
    """What is kept of a request that came as far as its rows."""
    assert record.model is not None
    assert record.given is not None
    model, bundle = record.model, record.model.bundle
    batch = record.batches[0] if record.batches else None
    return KeptFailure(
        model=bundle.name,
        version=bundle.version,
        digest=bundle.digest,
        variant=model.engine.variant,
        provider=model.engine.provider,
        batch_rows=model.batcher.rule.most_rows,
        request_id=record.request_id,
        route=record.route,
        code=record.code,
        status=record.status,
        seconds=record.seconds,
        objective_s=model.contract.objective.p99_s,
        timings=record.timings,
        shape=str(batch.shape) if batch else "",
        mates=batch.mates if batch else (),
        machine=this_machine(installed_versions(PACKAGES)),
        kept_at=now(),
        form=form,
        rows=_formed(record, form, recipient),
    )


def _formed(record: RequestRecord, form: Form, recipient: str | None) -> Any:
    assert record.model is not None
    assert record.given is not None
    rows = rows_of(record.given)
    if form == "redacted":
        return [{name: redacted(value) for name, value in row.items()} for row in rows]
    kinds = {field.name: field.kind for field in record.model.contract.inputs}
    wire = [
        record.model.contract.record.nested(
            {name: sent(kinds[name], value) for name, value in row.items()}
        )
        for row in rows
    ]
    if form == "plain":
        return wire
    assert recipient is not None
    return base64.b64encode(encrypt(orjson.dumps(wire), recipient)).decode()


def sent(kind: Kind, value: Any) -> Any:
    """Return a validated value as a client would send it in JSON.

    In columns, what is missing is NaN, an empty word or the least number, and a whole number may be
    a float.
    """
    if value is None:
        return None
    plain = wire_value(kind.json_value(value))
    is_nan = plain != plain  # noqa: PLR0124  (NaN is what differs from itself)
    missing = is_nan or plain in (MISSING, MISSING_INTEGER)
    if kind.nullable and not kind.marks_missing and missing:
        return None
    return (
        int(plain)
        if isinstance(plain, float) and isinstance(kind, Number) and kind.whole
        else plain
    )


def redacted(value: Any) -> str:
    """What kind of value it is, and how large."""
    if isinstance(value, (str, bytes)):
        return f"{'text' if isinstance(value, str) else 'bytes'} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return "missing" if value is None else type(value).__name__


def encrypt(data: bytes, recipient: str) -> bytes:
    """Encrypt data so that the recipient alone, an age public key, opens it.

    Raises `DeclarationError` if the recipient is no such key.
    """
    pyrage = _pyrage()
    try:
        return bytes(pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(recipient)]))
    except pyrage.RecipientError:
        raise DeclarationError(
            "setting 'keep_failures_key'",
            "another value",
            "an age public key, age1...",
            "make a pair: age-keygen",
        ) from None


def decrypt(data: bytes, identity: str) -> bytes:
    """Opened with an age secret key: the text of a key file. Raises `DeclarationError`."""
    pyrage = _pyrage()
    keys = [
        line.strip() for line in identity.splitlines() if line.strip().startswith("AGE-SECRET-KEY-")
    ]
    try:
        return bytes(pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(key) for key in keys]))
    except (pyrage.IdentityError, pyrage.DecryptError):
        raise DeclarationError(
            "--identity", "a key that does not open it", "the secret key of its recipient"
        ) from None


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise MissingExtra("encrypting kept failures", "age") from error
    return pyrage
