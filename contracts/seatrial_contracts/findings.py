"""What Pydantic finds wrong with a row, in our words."""

from __future__ import annotations

from pydantic_core import ErrorDetails

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Kind, described
from seatrial_contracts.records import Record

CODES = {
    "missing": "E_MISSING",
    "extra_forbidden": "E_UNKNOWN_FIELD",
    "finite_number": "E_NONFINITE",
    "literal_error": "E_CATEGORY",
    "greater_than_equal": "E_RANGE",
    "less_than_equal": "E_RANGE",
    "greater_than": "E_RANGE",
    "less_than": "E_RANGE",
    "int_parsing_size": "E_RANGE",
    "string_too_long": "E_TEXT_LIMIT",
    "string_too_short": "E_TEXT_LIMIT",
    "too_long": "E_LIMIT",
    "too_short": "E_LIMIT",
    "string_unicode": "E_ENCODING",
    "json_invalid": "E_JSON",
}
"""Pydantic's error types -> our stable codes; every other type is E_TYPE."""


def describe_finding(
    first: ErrorDetails,
    name: str | None,
    kind: Kind | None,
    place: int | None,
    item: int | None,
    max_rows: int,
    names: list[str],
) -> Refusal:
    """One finding of Pydantic's as a `Refusal`.

    `item` is the place within a value that has items.
    """
    row = f"row {place}" if place is not None else "request body"
    where = row
    want = ""
    if kind is not None:
        parts = [f"input '{name}'", *([f"item {item}"] if item is not None else [])]
        where = ", ".join([*parts, *([row] if place is not None else [])])
        want = kind.want() if item is None else kind.part_want()
    if first["type"] == "seatrial":
        context = first["ctx"]
        if context.get("field") is not None:  # one of several that the input packs
            where = ", ".join(
                [f"input '{context['field']}'", *([row] if place is not None else [])]
            )
        return Refusal(context["code"], where, context["got"], context["want"])
    code = CODES.get(first["type"], "E_TYPE")
    if code == "E_JSON":
        return Refusal(
            "E_JSON", "request body", "no valid JSON", 'an object in UTF-8: {"instances": [{...}]}'
        )
    if place is None and name in ("instances", "inputs"):
        what = "a list of" if name == "instances" else "an object with a list for each input, of"
        size = {"too_long": "E_BATCH", "too_short": "E_EMPTY_BATCH"}.get(first["type"])
        return Refusal(
            size or code if size or code != "E_TYPE" else "E_SCHEMA",
            "request body",
            describe_input(first),
            f"'{name}': {what} 1 to {max_rows} rows",
        )
    if kind is None:
        got = (
            "a field that the contract does not have"
            if code == "E_UNKNOWN_FIELD"
            else describe_input(first)
        )
        wanted = (
            ", ".join(names)
            if place is not None or code != "E_UNKNOWN_FIELD"
            else "'instances' or 'inputs', and 'signature_name'"
        )
        return Refusal(
            code if code == "E_UNKNOWN_FIELD" else "E_SCHEMA",
            row,
            got,
            f"an object with {wanted}",
        )
    if code == "E_MISSING" or (first["input"] is None and code in ("E_TYPE", "E_CATEGORY")):
        return Refusal("E_MISSING", where, "nothing" if code == "E_MISSING" else "null", want)
    if code == "E_CATEGORY" and not isinstance(first["input"], str):  # of a Literal of words
        code = "E_TYPE"
    return Refusal(code, where, describe_input(first), want)


def describe_object(
    first: ErrorDetails, record: Record, item: int | None, place: int | None
) -> Refusal:
    """What is wrong with an object of a row, or with a list of them, as a `Refusal`."""
    parts = [f"input '{record.name}'", *([f"item {item}"] if item is not None else [])]
    where = ", ".join([*parts, *([f"row {place}"] if place is not None else [])])
    code = CODES.get(first["type"], "E_TYPE")
    got = describe_input(first)
    if code == "E_UNKNOWN_FIELD":
        got = "a field that the contract does not have"
    elif code == "E_TYPE" and first["input"] is None:
        code, got = "E_MISSING", "null"
    return Refusal(code, where, got, record.want())


def describe_input(first: ErrorDetails) -> str:
    """Describe the caller's value that a finding is about. See `described`."""
    return "nothing" if first["type"] == "missing" else described(first["input"])
