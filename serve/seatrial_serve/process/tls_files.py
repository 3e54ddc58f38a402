"""The files of TLS: where they lie, and who may connect."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class TlsFiles(NamedTuple):
    """Where certificate and key lie, and who may connect."""

    certificate: Path
    """The server's certificate, then those of who issued it, in PEM."""
    key: Path
    client_ca: Path | None = None
    """Authorities of clients' certificates, in PEM; None where clients need none."""
    required: bool = True
    """With `client_ca`: is a client without a certificate turned away?"""
