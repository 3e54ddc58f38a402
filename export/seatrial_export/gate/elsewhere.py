"""Another time, machine and environment, shown to the user's code alone.

torch's and Python's own code still read the true ones.
"""

from __future__ import annotations

import builtins
import datetime
import operator
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from seatrial_export.graphs.exporter_messages import is_users

Lies = list[tuple[Any, Any, Any]]
"""Owner, name, and the stand-in.

Without an owner, the stand-in replaces only names that the user's modules hold.
"""
HOURS_AHEAD = (24 * 365 * 7 + 5, 24 * 100 + 11, 24 * 3 + 17, 24 * 1500 + 23)
"""Years, months and days of the week that differ, and hours from each quarter of the day."""
OTHER_NAME = "elsewhere"


def users_call() -> bool:
    """Was the function that asks this called by the user's code?"""
    return is_users(sys._getframe(2).f_code.co_filename)  # noqa: SLF001  (the one way to ask)


def told(real: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """`real` for everybody else, `other` for the user's code."""

    def answer(*arguments: Any, **options: Any) -> Any:
        return (other if users_call() else real)(*arguments, **options)

    return answer


def clock(hours: int) -> Lies:
    """The clock that many hours ahead."""
    ahead, real_time, real_ns = hours * 3600, time.time, time.time_ns
    delta = datetime.timedelta(hours=hours)

    def later(real: Callable[..., Any]) -> Callable[..., Any]:
        return told(
            real, lambda seconds=None: real(real_time() + ahead if seconds is None else seconds)
        )

    class Date(datetime.date):
        @classmethod
        def today(cls) -> Any:
            return super().today() + delta

    class DateTime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return super().now(tz) + delta

        @classmethod
        def today(cls) -> Any:
            return super().now() + delta

        @classmethod
        def utcnow(cls) -> Any:
            return super().now(datetime.UTC).replace(tzinfo=None) + delta

    plain = {"time": lambda: real_time() + ahead, "time_ns": lambda: real_ns() + ahead * 10**9}
    real_steady, real_fine = time.monotonic, time.perf_counter
    steady = {
        "monotonic": lambda: real_steady() + ahead,
        "perf_counter": lambda: real_fine() + ahead,
    }
    lies: Lies = [
        (time, name, told(getattr(time, name), other)) for name, other in (plain | steady).items()
    ]
    lies += [(time, name, later(getattr(time, name))) for name in ("localtime", "gmtime", "ctime")]
    calendar = ModuleType("datetime")
    vars(calendar).update(vars(datetime) | {"datetime": DateTime, "date": Date})
    # in the module itself they would break every C extension that is imported meanwhile
    return [
        *lies,
        (None, datetime.datetime, DateTime),
        (None, datetime.date, Date),
        (None, datetime, calendar),
    ]


def card() -> Lies:
    """A card where there is none, and none where there is one."""
    there = torch.cuda.is_available()
    return [
        (torch.cuda, "is_available", told(torch.cuda.is_available, lambda: not there)),
        (torch.cuda, "device_count", told(torch.cuda.device_count, lambda: 0 if there else 1)),
    ]


def seed(change: Callable[[int], int]) -> Lies:
    """Another hash seed: each hash of a text is what `change` makes of the true one."""
    other = lambda value: change(hash(value)) if isinstance(value, (str, bytes)) else hash(value)
    return [(builtins, "hash", told(hash, other))]


def machine() -> Lies:
    """Another process on another machine: its names and numbers, and where objects lie."""
    return [
        *seed(lambda value: value + 1),  # another remainder by any number
        (builtins, "id", told(id, lambda value: id(value) + 64)),
        (os, "getpid", told(os.getpid, lambda: os.getpid() + 1)),
        (os, "cpu_count", told(os.cpu_count, lambda: (os.cpu_count() or 1) + 1)),
        (
            torch,
            "get_num_threads",
            told(torch.get_num_threads, lambda real=torch.get_num_threads: real() + 1),
        ),
        (
            torch,
            "is_grad_enabled",
            told(torch.is_grad_enabled, lambda real=torch.is_grad_enabled: not real()),
        ),
        (socket, "gethostname", told(socket.gethostname, lambda: OTHER_NAME)),
        (platform, "node", told(platform.node, lambda: OTHER_NAME)),
    ]


@contextmanager
def elsewhere(lies: Lies, *, empty_environment: bool = False) -> Iterator[None]:
    """Put the stand-ins in their places within.

    A stand-in also replaces whatever a module of the user's holds by a name of its own.
    """
    owned = [
        (owner, name, vars(owner)[name], other) for owner, name, other in lies if owner is not None
    ]
    swapped = [(real, other) for _, _, real, other in owned]
    swapped += [(real, other) for owner, real, other in lies if owner is None]
    others = {id(real): other for real, other in swapped}
    places = [
        (space, key, old)
        for space in spaces()
        for key, old in list(space.items())
        if id(old) in others
    ]
    with mock.patch.dict(os.environ, clear=empty_environment):
        try:
            for owner, name, _, other in owned:
                setattr(owner, name, other)
            for space, key, old in places:
                space[key] = others[id(old)]
            yield
        finally:
            for owner, name, real, _ in owned:
                setattr(owner, name, real)
            for space, key, old in places:
                space[key] = old


def spaces() -> list[dict[str, Any]]:
    """The globals of the user's modules."""
    found: list[ModuleType] = list(sys.modules.values())
    return [
        vars(module)
        for module in found
        if isinstance(module, ModuleType) and is_users(getattr(module, "__file__", None) or "<")
    ]


CHANGES: Mapping[str, Callable[[], Lies]] = {
    **{f"the clock ({hours} hours ahead)": partial(clock, hours) for hours in HOURS_AHEAD},
    "the environment (emptied)": list,
    "whether there is a card": card,
    "the process (hash(), id(), its number, names, threads and gradients)": machine,
    "hash() (of the other sign)": partial(seed, operator.invert),
}
"""What is changed -> how."""


@contextmanager
def changed_to(name: str) -> Iterator[None]:
    """Inside, one of `CHANGES` holds."""
    with elsewhere(CHANGES[name](), empty_environment="environment" in name):
        yield
