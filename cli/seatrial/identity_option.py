"""`--identity` of the commands that open bundles: SEATRIAL_IDENTITY, for one call."""

from __future__ import annotations

import os
from pathlib import Path

import click

from seatrial_contracts.identities import COMMAND_VARIABLE, FILE_VARIABLE


def _name(_context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    """Let this process, and those that it starts, open encrypted bundles by a file."""
    if value is not None:
        os.environ.pop(COMMAND_VARIABLE, None)
        os.environ[FILE_VARIABLE] = str(value)


identity_option = click.option(
    "--identity",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_name,
    expose_value=False,
    help="A file of secret keys that open an encrypted bundle: age identities, or an SSH private "
    f"key.  [{FILE_VARIABLE}; {COMMAND_VARIABLE} names a command that writes one]",
)
