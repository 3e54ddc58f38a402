"""The drift counters of one version: bound once, so that counting needs no labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import Counter, Gauge

from seatrial_contracts.bins import UNSEEN_BIN
from seatrial_contracts.profile import Counts, Profile


class DriftCounts:
    """A counter for each bin of a profile, from 0 on, beside the reference's share of it."""

    def __init__(
        self, profile: Profile, labels: tuple[str, str], *, values: Counter, reference: Gauge, rows: Counter
    ) -> None:
        self._labels, self._profile = labels, profile
        self._rows = rows.labels(*labels)
        self._values = {
            field: [values.labels(*labels, field, name) for name in spread.bins.names]
            for field, spread in profile.fields.items()
        }
        for field, spread in profile.fields.items():
            for name, share in zip(spread.bins.names, spread.shares, strict=True):
                reference.labels(*labels, field, name).set(share)

    def add(self, counts: Mapping[str, Counts], rows: int) -> None:
        """So many of `rows` rows lie in each bin."""
        self._rows.inc(rows)
        for field, by_bin in counts.items():
            children = self._values[field]
            for place in by_bin.nonzero()[0]:
                children[place].inc(int(by_bin[place]))

    def refuse(self, field: str) -> None:
        """A request was refused for a word of this field that is not in its list."""
        spread = self._profile.inputs.get(field)
        if spread is not None and UNSEEN_BIN in spread.bins.names:
            self._values[field][spread.bins.names.index(UNSEEN_BIN)].inc()

    def references(self) -> Iterator[tuple[str, ...]]:
        """The labels of each reference share."""
        for field, spread in self._profile.fields.items():
            for name in spread.bins.names:
                yield (*self._labels, field, name)
