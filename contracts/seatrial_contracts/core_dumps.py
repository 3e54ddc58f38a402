"""A process whose memory reaches no core dump, and no other process of its user."""

from __future__ import annotations

import ctypes
import resource
import sys

PR_SET_DUMPABLE = 4
"""Source: <linux/prctl.h>."""


def forbid_core_dumps() -> None:
    """Let this process leave no core dump from here on.

    On Linux it is also not dumpable (prctl(2)): a program that the kernel pipes dumps to gets none,
    and only root attaches to it or reads its memory. Programs that it starts are as others.
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
