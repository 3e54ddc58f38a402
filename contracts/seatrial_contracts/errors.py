"""Every error seatrial raises, in one tree.

SeatrialError
|-- Refusal            the caller's input breaks the contract                         (theirs)
|-- DeclarationError   a row class, pipeline file or setting cannot be used as written (theirs)
|-- GateError          the export gate found why a model must not be sealed           (theirs)
|-- BundleError        a bundle on disk is not what was sealed                        (theirs)
|-- MissingExtra       an optional dependency is not installed                        (theirs)
|-- StoreError         a registry or object store cannot be asked, or refuses         (theirs)
|-- Unavailable        overloaded, not ready, draining or too late: try again         (ours)
|   |-- OutOfMemory    a batch was too large for the memory there is                  (ours)
|   `-- TooLate        its deadline passed before its turn came                       (ours)
`-- ModelError         a model failed, or its answer breaks the contract              (ours)

A message says where, what it got, what it wants and, where there is one, the mend.
HTTP status is chosen at the edge alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Self

INPUT = re.compile(r"input '([\w.]+)'")
"""How `where` names an input."""
ROW = re.compile(r"(?:.*, )?row (\d+)")
"""How `where` names a row."""
MOST_CHARS = 500
"""Of what a refusal got, and of what it wants: a contract may have thousands of names.

gRPC's clients take 8 KiB of metadata by default, in which the text travels.
"""
MOST_FAULTS = 100
"""That one refusal lists: a body may hold a hundred thousand."""


def shortened(text: str) -> str:
    """The text within `MOST_CHARS`."""
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 4]} ..."


def printable(text: str) -> str:
    """The text, with control and bidi characters and ends of lines escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def sentence(where: str, got: str, want: str, mend: str | None = None) -> str:
    """`where: got ..., want ...; mend`, with the parts that are empty left out."""
    parts = [part for part in (got and f"got {got}", want and f"want {want}") if part]
    text = f"{where}: {', '.join(parts)}" if parts else where
    return f"{text}; {mend}" if mend else text


class SeatrialError(Exception):
    """The root: what seatrial raises on purpose."""


class Refusal(SeatrialError):
    """The caller's input breaks the contract.

    `code` is stable. The text is printable, and holds no payload, path or library message.
    `listed` are several faults that were found together, this one first; `unlisted` counts those
    beyond `MOST_FAULTS`.
    """

    def __init__(
        self, code: str, where: str, got: str = "", want: str = "", mend: str | None = None
    ) -> None:
        got, want = shortened(got), shortened(want)
        super().__init__(printable(sentence(where, got, want, mend)))
        self.code, self.where = code, where
        self.said = got, want, mend
        """What it got, what it wants, and the mend, if there is one."""
        self.listed: tuple[Refusal, ...] = ()
        self.unlisted = 0

    @classmethod
    def of_all(cls, faults: Sequence[Refusal], found: int) -> Refusal:
        """The first of the faults, which lists them all; `found` counts those beyond as well."""
        first = faults[0]
        if found == 1:
            return first
        return first.adding(f"{found - 1} more to mend").listing(faults[:MOST_FAULTS], found)

    def listing(self, faults: Sequence[Refusal], found: int) -> Self:
        """This refusal, from here on with these faults of so many that were `found`.

        Those behind the first are notes of the exception, which a traceback shows.
        """
        self.listed, self.unlisted = tuple(faults), found - len(faults)
        for each in faults[1:]:
            self.add_note(str(each))
        if self.unlisted:
            self.add_note(f"and {self.unlisted} more")
        return self

    @property
    def faults(self) -> tuple[Refusal, ...]:
        """What is wrong with rows and their inputs, each by itself; empty where it is neither."""
        if self.listed:
            return self.listed
        return () if self.field is None and self.row is None else (self,)

    def described(self) -> dict[str, Any]:
        """The faults as clients see them: `errors`, and `more_errors` where some are unlisted.

        An error is `{"input": ..., "row": ..., "code": ..., "error": ...}`.
        """
        errors = [
            {"input": each.field, "row": each.row, "code": each.code, "error": str(each)}
            for each in self.faults
        ]
        told: dict[str, Any] = {"errors": errors} if errors else {}
        return told | {"more_errors": self.unlisted} if self.unlisted else told

    @property
    def field(self) -> str | None:
        """The input that it is about; None where it is about all of them."""
        named = INPUT.match(self.where)
        return named[1] if named else None

    @property
    def of_a_row(self) -> bool:
        """Is it about one row, so that the others of its request may be answered?"""
        return ROW.fullmatch(self.where) is not None

    @property
    def row(self) -> int | None:
        """The row that it is about; None where it is about no single one."""
        named = ROW.fullmatch(self.where)
        return int(named[1]) if named else None

    def at(self, where: str) -> Refusal:
        """The same refusal, found at `where`: for checks that do not know their field and row."""
        return Refusal(self.code, where, *self.said)

    def in_row(self, row: int) -> Refusal:
        """The same refusal of another row, for checks that saw only some of the rows."""
        by = row - (self.row or 0)
        moved = self.at(re.sub(r"row \d+$", f"row {row}", self.where))
        return self._listed_by(
            moved, lambda each: each if each.row is None else each.in_row(each.row + by)
        )

    def within(self, around: str) -> Refusal:
        """The same refusal, found in something that holds its place."""
        moved = self.at(f"{around}, {self.where}")
        return self._listed_by(moved, lambda each: each.at(f"{around}, {each.where}"))

    def _listed_by(self, moved: Refusal, change: Callable[[Refusal], Refusal]) -> Refusal:
        """`moved` with this one's faults, changed as it is."""
        if not self.listed:
            return moved
        return moved.listing([*map(change, self.listed)], len(self.listed) + self.unlisted)

    def got(self, got: str, mend: str | None = None) -> Refusal:
        """The same refusal, of a value that may be shown."""
        return Refusal(self.code, self.where, got, self.said[1], mend or self.said[2])

    def adding(self, note: str) -> Refusal:
        """The same refusal with one more thing to know."""
        got, want, mend = self.said
        added = Refusal(self.code, self.where, got, want, f"{mend}; {note}" if mend else note)
        return self._listed_by(added, lambda each: each)


class DeclarationError(SeatrialError):
    """A row class, a pipeline file or a setting cannot be used as written."""

    def __init__(self, where: str, got: str = "", want: str = "", mend: str | None = None) -> None:
        super().__init__(sentence(where, got, want, mend))


class GateError(SeatrialError):
    """A step of the export gate found why this model must not be sealed, and how to mend it."""

    def __init__(self, step: str, cause: str, mend: str) -> None:
        super().__init__(f"export gate, {step}: {cause}\n  mend: {mend}")
        self.step, self.cause, self.mend = step, cause, mend


class BundleError(SeatrialError):
    """A bundle on disk is not what was sealed. `code` is stable, the text printable."""

    def __init__(
        self, code: str, where: str, got: str = "", want: str = "", mend: str | None = None
    ) -> None:
        super().__init__(printable(sentence(where, got, want, mend)))
        self.code = code


class MissingExtra(SeatrialError):
    """An optional dependency is not installed; the message is the pip line that mends it.

    The line is for a clone: there is no release yet, and the name is not ours in any index.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional part that is not installed; "
            f"in the clone of seatrial, run: pip install '.[{extra}]'"
        )


class StoreError(SeatrialError):
    """A registry or object store cannot be asked, or refuses.

    The text names the store without credentials, and holds no library message.
    """

    def __init__(self, where: str, got: str = "", want: str = "", mend: str | None = None) -> None:
        super().__init__(printable(sentence(where, got, want, mend)))


class Unavailable(SeatrialError):
    """Overloaded, not ready, draining or too late.

    `retry_after_s` is the time in seconds after which another try makes sense.
    """

    def __init__(self, code: str, text: str, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.code, self.retry_after_s = code, retry_after_s


class OutOfMemory(Unavailable):
    """A batch needs more memory than there is; a smaller one may run."""

    def __init__(self, text: str) -> None:
        super().__init__("E_OOM", text)


class TooLate(Unavailable):
    """The deadline of a request passed before its turn came."""

    def __init__(self) -> None:
        super().__init__("E_DEADLINE", "the deadline passed before its turn came")


class ModelError(SeatrialError):
    """A model failed, or its answer breaks the contract."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
