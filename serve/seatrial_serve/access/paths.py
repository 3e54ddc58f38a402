"""Which scope a request over HTTP needs, and for which model. This is the one place that says so.

The paths are those of `api/` and `console/`. A path that is not listed needs `read`, so that
nobody without a key learns which paths there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from seatrial_serve.access.caller import Scope

SLASHES = re.compile("//+")
PROBES = ("/v2/health/live", "/v2/health/ready", "/ping", "/health")
"""Health: open. Without a key it says whether, and not why."""
PAGES = ("/", "/docs")
FILES = ("/console/static/", "/docs-static/")
"""Pages and their files: open. They hold nothing of this server, and ask for a key themselves."""
METRICS = "/metrics"
READS = ("GET", "HEAD")
MODEL = re.compile(r"/v[12]/models/(?P<name>[^/:]+)(?P<rest>.*)", re.DOTALL)
ADMINISTERED = re.compile(r"/v2/repository/models/(?P<name>[^/]+)(?P<rest>/.*)?", re.DOTALL)
MOUNTED = re.compile(r"/models/(?P<name>[^/]+)(?P<rest>/invoke)?")
"""SageMaker's paths to one of several models."""
TASK = re.compile(r"/hf/(?P<name>[^/]+)")
ABOUT_ALL = "/v2/models/stats"
"""Stands where a path names a model, and is about all of them."""
VERBS = {":predict": Scope.INFER, ":feedback": Scope.FEEDBACK, "/infer": Scope.INFER}
"""How a path to a model, its version or its label ends."""
INDEX = "/v2/repository/index"
ACTIONS = {"/load": "load", "/unload": "unload"}
OTHER = "another"
"""A call of administration that is none of this server's."""


class Needed(NamedTuple):
    """What a request needs; `scope` None: it is open."""

    scope: Scope | None
    model: str | None = None
    action: str = ""
    """What a request for the scope `admin` does, as the audit log calls it."""


OPEN = Needed(None)


class Paths:
    """The scopes of a server's paths."""

    def __init__(self, asked: Iterable[str], probes: Iterable[str] = ()) -> None:
        """`asked`: whole paths that take rows by POST; `probes`: health's, beside `PROBES`."""
        self._asked, self._open = frozenset(asked), frozenset((*PROBES, *PAGES, *probes))
        self.needed = lru_cache(maxsize=1024)(self._needed)
        """What a method and a path, percent-decoded, need."""

    def _needed(self, method: str, path: str) -> Needed:
        # the framework's router ends paths with `$`, before which a line may end
        tidy = SLASHES.sub("/", path).rstrip("/").removesuffix("\n").rstrip("/") or "/"
        if method in READS:
            if tidy in self._open or tidy.startswith(FILES):
                return OPEN
            if tidy == METRICS:
                return Needed(Scope.METRICS)
        named = of_a_model(method, tidy)
        # an operator's path may be one to a model, which the model's own route answers first
        if tidy in self._asked and (
            named is None or (method == "POST" and named.scope is Scope.READ)
        ):
            return Needed(Scope.INFER)
        if named is not None:
            return named
        if tidy.startswith("/v2/repository") and tidy != INDEX:
            return Needed(Scope.ADMIN, None, OTHER)
        if tidy == "/models" and method not in READS:
            return Needed(Scope.ADMIN, None, "load" if method == "POST" else OTHER)
        return Needed(Scope.READ)


def of_a_model(method: str, tidy: str) -> Needed | None:
    """What a path that names a model needs; None for one that names none."""
    for pattern in (ADMINISTERED, MODEL, TASK, MOUNTED):
        match = pattern.fullmatch(tidy)
        if match is not None:
            scope = scope_of(pattern, match, method)
            action = action_of(match, method) if scope is Scope.ADMIN else ""
            return Needed(scope, None if tidy == ABOUT_ALL else match["name"], action)
    return None


def scope_of(pattern: re.Pattern[str], match: re.Match[str], method: str) -> Scope:
    """The scope of a path that names a model."""
    if pattern is ADMINISTERED:
        return Scope.ADMIN
    if pattern is TASK:
        return Scope.INFER
    if pattern is MOUNTED:
        if match["rest"]:
            return Scope.INFER
        return Scope.READ if method in READS else Scope.ADMIN
    return next((scope for end, scope in VERBS.items() if match["rest"].endswith(end)), Scope.READ)


def action_of(match: re.Match[str], method: str) -> str:
    """What a request to a path of administration does."""
    if match.re is ADMINISTERED:
        return ACTIONS.get(match["rest"], OTHER) if method == "POST" else OTHER
    return "unload" if method == "DELETE" else OTHER
