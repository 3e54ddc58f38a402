"""The drift counters of one version: bound once, so that counting needs no labels."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from prometheus_client import Counter

from seatrial_contracts.bins import UNSEEN_BIN
from seatrial_contracts.profile import Counts, Profile
from seatrial_serve.metrics.families import Families


class DriftCounts:
    """A counter for each bin of a profile, beside the reference's share of the bin.

    All show once there is a first value, the others at 0.
    """

    def __init__(self, profile: Profile, labels: tuple[str, str], families: Families) -> None:
        self._profile, self._labels, self._families = profile, labels, families
        self._lock = threading.Lock()
        self._values: dict[str, list[Counter]] | None = None
        self._over = False

    def _bound(self) -> dict[str, list[Counter]]:
        """Return field -> the counters of its bins.

        It is empty if the version was gone before it counted anything.
        """
        with self._lock:
            if self._values is None:
                self._values = {} if self._over else self._bind()
            return self._values

    def _bind(self) -> dict[str, list[Counter]]:
        families, labels = self._families, self._labels
        for field, spread in self._profile.fields.items():
            for name, share in zip(spread.bins.names, spread.shares, strict=True):
                families.drift_reference.labels(*labels, field, name).set(share)
        return {
            field: [families.drift.labels(*labels, field, name) for name in spread.bins.names]
            for field, spread in self._profile.fields.items()
        }

    def end(self) -> None:
        """The version is gone: what has not begun to count does not begin."""
        with self._lock:
            self._over = True

    def add(self, counts: Mapping[str, Counts], rows: int) -> None:
        """So many of `rows` rows lie in each bin."""
        values = self._bound()
        if not values:
            return
        self._families.drift_rows.labels(*self._labels).inc(rows)
        for field, by_bin in counts.items():
            children = values[field]
            for place in by_bin.nonzero()[0]:
                children[place].inc(int(by_bin[place]))

    def refuse(self, field: str) -> None:
        """A request was refused for a word of this field that is not in its list."""
        spread = self._profile.inputs.get(field)
        if spread is not None and UNSEEN_BIN in spread.bins.names and (values := self._bound()):
            values[field][spread.bins.names.index(UNSEEN_BIN)].inc()
