"""The one clock of the server: monotonic, so that a jump of the wall clock expires nothing."""

from __future__ import annotations

from time import monotonic as now_s

__all__ = ["now_s"]
