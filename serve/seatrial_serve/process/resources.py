"""How many threads run models: planned from the cores that this process may really use."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class ThreadPlan:
    """One session with `intra_op` threads of its own, called by `runs` threads at once.

    Measured best on small CPUs: one session, one thread inside, as many callers as cores; a second
    session adds nothing.
    """

    runs: int
    intra_op: int = 1


def plan_threads(cores: int) -> ThreadPlan:
    """The plan for so many cores."""
    return ThreadPlan(runs=max(1, cores))


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return the usable cores, rounded up, at least 1.

    They are bounded by affinity and by the cgroup's CPU limit (v2 `cpu.max`, v1
    `cpu.cfs_quota_us`).
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = cgroup_limit(cgroup)
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def cgroup_limit(cgroup: Path) -> float | None:
    """Cores' worth of time that the cgroup grants; None where it sets no limit."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def plan_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory for requests: at most 2 GiB.

    They are a quarter of what the process is granted.
    """
    return min(granted_bytes(cgroup) // 4, 2**31)


def granted_bytes(cgroup: Path = CGROUP) -> int:
    """The memory of the machine, or what the cgroup grants of it.

    That is `memory.max` in version 2 and `memory.limit_in_bytes` in version 1.
    """
    granted = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        try:
            granted = min(granted, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return granted
