"""Libraries of stores whose log nobody needs: they write a line or a stack for each of their tries.

What they raise in the end is in an error of ours.
"""

from __future__ import annotations

import logging

REPEATING = ("gcsfs", "azure")
"""Their loggers."""


def quieten() -> None:
    """Keep their lines off standard error, where no log was started. Others' handlers get them."""
    for name in REPEATING:
        logging.getLogger(name).addHandler(logging.NullHandler())


def is_told(line: logging.LogRecord) -> bool:
    """Does a line belong into the server's log?"""
    return line.name.partition(".")[0] not in REPEATING
