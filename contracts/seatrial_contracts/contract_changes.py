"""What changed between two contracts, and whether a client that was right before is right still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.contract import Contract
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds.kind import Kind

MOST_NAMED = 8
"""Words that one difference names."""


@dataclass(frozen=True)
class Difference:
    """One change.

    If a change is `breaking`, a request that was taken may be refused, or an answer may mean or
    look something else.
    """

    place: str
    text: str
    breaking: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def compare_contracts(old: Contract, new: Contract) -> list[Difference]:
    """List every difference, the breaking ones first.

    A contract that only takes more and answers more is safe.
    """
    found = [
        *_inputs(old, new),
        *_outputs(old, new),
        *_request_options(old, new),
        *_limits(old, new),
        *_promises(old, new),
    ]
    return sorted(found, key=lambda difference: not difference.breaking)


def may_replace(old: str, new: str, differences: Sequence[Difference]) -> bool:
    """Whether version `new` may take the place of `old`.

    A breaking version may only do so with a higher major number (semver.org, 8).
    """
    return major(new) > major(old) or not any(difference.breaking for difference in differences)


def major(version: str) -> int:
    """The first number of a version."""
    return int(version.split(".", maxsplit=1)[0])


def _inputs(old: Contract, new: Contract) -> Iterator[Difference]:
    before, after = _by_name(old.inputs), _by_name(new.inputs)
    was, is_ = ({field.name: field for field in each.inputs} for each in (old, new))
    gone, come, kept = _names(before, after)
    for name in gone:
        yield Difference(f"input '{name}'", "removed: a row that holds it is refused", True)
    for name in come:
        yield Difference(f"input '{name}'", _new(is_[name]), not is_[name].optional)
    for name in kept:
        yield from _options(f"input '{name}'", before[name], after[name], after[name].breaks)
        pair = was[name].default, is_[name].default
        if pair[0] != pair[1] or type(pair[0]) is not type(pair[1]):
            yield Difference(f"input '{name}'", f"default {_shown(*pair)}", not is_[name].optional)
    if _moved(before, after):
        yield Difference("inputs", "in another order: rows and tensors are read by name", False)
    if old.file_input is not None and new.file_input is None and old.file_input.name in after:
        yield Difference(
            "raw file as the body", "no longer taken: there are more inputs than one", True
        )


def _new(field: InputField) -> str:
    if field.default is not None:
        return f"new, {field.default!r} where it is left out"
    if field.kind.nullable:
        return "new, may be missing"
    return "new and required: a row without it is refused"


def _outputs(old: Contract, new: Contract) -> Iterator[Difference]:
    before, after = old.answered, new.answered
    gone, come, kept = _names(before, after)
    for name in gone:
        yield Difference(f"output '{name}'", "removed", True)
    for name in come:
        yield Difference(f"output '{name}'", "new", False)
    for name in kept:
        kind = after[name]
        yield from _options(f"output '{name}'", before[name], kind, kind.breaks_answer)
    if _moved(before, after):
        yield Difference(
            "outputs", "in another order: a client may read its tensors by place", True
        )


def _request_options(old: Contract, new: Contract) -> Iterator[Difference]:
    """What requests may choose: those that kinds bring with them are told with their outputs."""
    before, after = ({f.name: f.option for f in each.options} for each in (old, new))
    for name in before:
        if name not in new.known_options:
            yield Difference(f"option '{name}'", "removed: a request that has it is refused", True)
    for name, option in after.items():
        was = before.get(name) or old.known_options.get(name)
        if was is None:
            yield Difference(f"option '{name}'", "new", False)
        elif was != option:
            for part in type(option).model_fields:
                pair = getattr(was, part), getattr(option, part)
                if pair[0] != pair[1]:
                    text = f"{part} {_shown(*pair)}"
                    yield Difference(f"option '{name}'", text, option.breaks(part, was))


def _options(
    place: str, old: Kind, new: Kind, breaks: Callable[[str, Any], bool]
) -> Iterator[Difference]:
    if old.name != new.name:
        yield Difference(place, f"was a {old.name}, is a {new.name}", True)
        return
    for option in type(new).model_fields:
        was, is_ = getattr(old, option), getattr(new, option)
        if was != is_:
            text = new.told_change(option, old) or f"{option} {_shown(was, is_)}"
            yield Difference(place, text, breaks(option, old))


def _limits(old: Contract, new: Contract) -> Iterator[Difference]:
    pairs: dict[str, tuple[int, int]] = {
        "max_rows": (old.limits.max_rows, new.limits.max_rows),
        "max_body_bytes": (old.max_body_bytes, new.max_body_bytes),
        "max_answer_bytes": (old.limits.max_answer_bytes, new.limits.max_answer_bytes),
    }
    for name, (was, is_) in pairs.items():
        if was != is_:
            yield Difference(f"limit {name}", _shown(was, is_), is_ < was)


def _promises(old: Contract, new: Contract) -> Iterator[Difference]:
    """Tolerance and objective are told, and are no part of what a client sends or reads."""
    for name in ("tolerance", "objective"):
        was, is_ = getattr(old, name), getattr(new, name)
        if was != is_:
            yield Difference(name, _shown(was, is_), False)


def _names(
    before: Mapping[str, Kind], after: Mapping[str, Kind]
) -> tuple[list[str], list[str], list[str]]:
    """Part names into those gone, come and kept, in the order of their contract.

    The order makes the notes of one change the same bytes each time.
    """
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    return gone, come, [name for name in after if name in before]


def _moved(before: Mapping[str, Kind], after: Mapping[str, Kind]) -> bool:
    """Where none is gone: does one stand at another place?"""
    return set(before) <= set(after) and list(before) != list(after)[: len(before)]


def _by_name(fields: Sequence[InputField]) -> Mapping[str, Kind]:
    return {field.name: field.kind for field in fields}


def _shown(was: Any, is_: Any) -> str:
    if (
        isinstance(was, tuple)
        and isinstance(is_, tuple)
        and all(isinstance(word, str) for word in (*was, *is_))
    ):
        before, after = set(was), set(is_)
        gone = [word for word in was if word not in after]
        come = [word for word in is_ if word not in before]
        parts = [f"without {_few(gone)}"] * bool(gone) + [f"with {_few(come)}"] * bool(come)
        return " and ".join(parts) or "in another order"
    return f"{_plain(was)} -> {_plain(is_)}"


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_NAMED} more" * (len(words) > MOST_NAMED)
    return ", ".join(map(repr, words[:MOST_NAMED])) + more


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
