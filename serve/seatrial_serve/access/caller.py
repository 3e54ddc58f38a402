"""A caller: who asks, and what that one may ask."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.process.token_bucket import TokenBucket

EVERY = ("*",)
MEND = "ask whoever runs this server for another key"
MOST_KEPT = 1024
"""Verdicts that a caller keeps; names of models come from clients."""


class Scope(StrEnum):
    """What a caller may ask for; no scope holds another one."""

    INFER = "infer"
    """Predictions, over every protocol."""
    READ = "read"
    """What is served, in which state, and its contracts: lists, metadata, statistics, OpenAPI."""
    METRICS = "metrics"
    """The Prometheus metrics."""
    FEEDBACK = "feedback"
    """Telling the truth of answers."""
    ADMIN = "admin"
    """Loading and unloading models."""


class Grant(NamedTuple):
    """Scopes, and patterns of the names of the models that they hold for."""

    scopes: frozenset[Scope]
    models: tuple[str, ...] = EVERY


class Use:
    """How often somebody asked, and how fast that one may: shared by all tokens of a subject."""

    __slots__ = ("_rate", "_told", "per_s", "requests", "seen")

    def __init__(self, per_s: float | None = None) -> None:
        """`per_s`: requests a second that may be sent; None: any number."""
        self.per_s = per_s
        self._rate = None if per_s is None else TokenBucket(per_s)
        self.requests = self._told = 0
        """Requests that were let in."""
        self.seen = False
        """Was the first of them told of?"""

    def since(self) -> int:
        """Return how many requests were let in since the last call."""
        since, self._told = self.requests - self._told, self.requests
        return since

    def takes(self) -> bool:
        """Count one request more, if the rate lets it in."""
        if self._rate is not None and not self._rate.take():
            return False
        self.requests += 1
        return True


class Caller:
    """One who asks with a key, a certificate or a token. Use in any thread."""

    __slots__ = ("_verdicts", "client", "grants", "name", "until_s", "use")

    def __init__(
        self,
        client: str,
        name: str,
        grants: Sequence[Grant],
        until_s: float = math.inf,
        use: Use | None = None,
    ) -> None:
        """Make a caller known.

        `client`: what shares go by, the same for each of its requests. `name`: what logs call it.
        `until_s`: Unix time at which it ends. `use`: counts its requests; None: nobody else's.
        """
        self.client: Hashable = client
        self.name, self.grants, self.until_s = name, tuple(grants), until_s
        self.use = use or Use()
        self._verdicts: dict[tuple[Scope, str | None], bool] = {}

    def end(self) -> None:
        """Revoke it: what was kept of it counts no more."""
        self.until_s = 0.0

    @property
    def over(self) -> bool:
        """Has it ended?"""
        return self.until_s <= time.time()

    def may(self, scope: Scope, model: str | None = None) -> bool:
        """May it ask that now, of this model or of no single one?"""
        if self.over:
            return False
        verdict = self._verdicts.get((scope, model))
        if verdict is None:
            verdict = any(
                scope in grant.scopes and (model is None or matches(grant.models, model))
                for grant in self.grants
            )
            if len(self._verdicts) < MOST_KEPT:
                self._verdicts[scope, model] = verdict
        return verdict

    def may_all(self, scope: Scope) -> bool:
        """May it ask that now of every model, whatever its name?"""
        return not self.over and any(
            scope in grant.scopes and grant.models == EVERY for grant in self.grants
        )

    def check(self, scope: Scope, model: str | None = None) -> None:
        """Raise `Refusal` where it may not ask that."""
        if self.may(scope, model):
            return
        if self.over:  # since it was found
            raise EndedKey(self, "one that counts no more")
        had = sorted({scope for grant in self.grants for scope in grant.scopes})
        if scope not in had:
            got = f"one with the scopes {', '.join(had)}" if had else "one without a scope"
            want = f"one with the scope {scope}"
        else:
            allowed = sorted({each for grant in self.grants for each in grant.models})
            got, want = "a model that it is not for", f"one of {', '.join(allowed)}"
        raise Refusal("E_SCOPE", f"key '{self.name}'", got, want, MEND)

    def count(self) -> None:
        """One request more. Raises `Unavailable` above the caller's rate."""
        if not self.use.takes():
            per_s = self.use.per_s or 0.0
            text = f"key '{self.name}': got more than {per_s:g} requests a second, want fewer"
            raise Unavailable("E_RATE", text, max(1.0, 1 / per_s))


class EndedKey(Refusal):
    """A key that counts no more, and whose it is."""

    def __init__(self, caller: Caller, got: str) -> None:
        super().__init__("E_KEY", f"key '{caller.name}'", got, "another", MEND)
        self.caller = caller

    def at(self, where: str) -> EndedKey:  # noqa: ARG002  (its place is its name)
        """See `Refusal`."""
        return EndedKey(self.caller, self.said[0])


def matches(patterns: Sequence[str], model: str) -> bool:
    """Does a model's name fit one of the patterns, of which `*` stands for any characters?"""
    return patterns == EVERY or any(fnmatchcase(model, pattern) for pattern in patterns)
