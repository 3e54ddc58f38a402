"""The generated parts of the docs, as JSON on the standard output: name -> Markdown.

Each is made of the code itself: settings, commands, metrics, codes, schemas, and the names of
`import seatrial as st`. `tools/site/hooks.py` puts them into the pages.

    python tools/site/reference.py | python -m json.tool
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import click
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import seatrial
from seatrial.commands.serve import DEFAULTS, command
from seatrial.main import cli
from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.manifest import Manifest
from seatrial_serve.metrics.families import Families, SupervisorFamilies
from seatrial_serve.process.codes import Code
from seatrial_serve.settings import PREFIX, Settings

COLUMNS = 96
"""The width of help screens, which fits a page beside its table of contents."""
LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "max_length": "at most"}


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(words: str) -> str:
    """What a cell of a table holds: a bar would end it."""
    return words.replace("|", "\\|")


def text(words: str) -> str:
    """A sentence of the code's in Markdown: what is in angle brackets is no tag."""
    return " ".join(words.split()).replace("<", "&lt;").replace("*", "\\*")


def code(value: object) -> str:
    """A value as code."""
    return f"`{value}`"


def settings() -> str:
    """Each setting of `seatrial serve`: flag, variable, type, default, advice."""
    flags = {option.name: option for option in command.params if isinstance(option, click.Option)}
    parts = []
    for name, field in Settings.model_fields.items():
        option = flags.get(name)
        written = "the arguments" if option is None else " or ".join(map(code, spelt(option)))
        facts = [written, code(PREFIX + name.upper()), type_of(field)]
        facts.append(f"default {code(default_of(name, field))}")
        parts += [f"## {name}", " · ".join(facts), text(field.description or "")]
    return "\n\n".join(parts)


def spelt(option: click.Option) -> list[str]:
    """The spellings of an option."""
    return [*option.opts, *option.secondary_opts]


def default_of(name: str, field: FieldInfo) -> str:
    """What a setting is where nobody says."""
    default = DEFAULTS.get(name, field.default)
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return {True: "true", False: "false", None: "none"}.get(default, str(default))  # type: ignore[arg-type]


def type_of(field: FieldInfo) -> str:
    """The type of a setting in words, with its bounds."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return " or ".join(map(code, get_args(annotation)))
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    plain = "`a,b,...`" if get_origin(annotation) is tuple else names.get(annotation, "path")  # type: ignore[call-overload]
    bounds = [
        f"{sign} {getattr(each, name)}"
        for each in field.metadata
        for name, sign in LIMITS.items()
        if getattr(each, name, None) is not None
    ]
    return ", ".join([str(plain), *bounds])


def commands() -> str:
    """Each command with its help screen."""
    return "\n\n".join(screens(cli, click.Context(cli, info_name="seatrial")))


def screens(group: click.Command, context: click.Context) -> Iterator[str]:
    """The help screens of a command and of those below it."""
    context.terminal_width = context.max_content_width = COLUMNS
    path = context.command_path
    level = "#" * min(len(path.split()) + 1, 4)
    yield f"{level} {path}\n\n```text\n{group.get_help(context)}\n```"
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            below = group.get_command(context, name)
            assert below is not None, name
            yield from screens(below, click.Context(below, parent=context, info_name=name))


def metrics() -> str:
    """Each family of metrics: name, type, labels, and what it says."""
    registry = CollectorRegistry()
    Families(registry, shared=False)
    SupervisorFamilies(registry)
    rows = []
    for family in registry._collector_to_names:  # noqa: SLF001  (the library has no list of its families)
        kind = family._type  # type: ignore[attr-defined]  # noqa: SLF001
        name = family._name + ("_total" if kind == "counter" else "")  # type: ignore[attr-defined]  # noqa: SLF001
        labels = ", ".join(family._labelnames)  # type: ignore[attr-defined]  # noqa: SLF001
        rows.append((code(name), kind, labels, text(family._documentation)))  # type: ignore[attr-defined]  # noqa: SLF001
    return table(("metric", "type", "labels", "what it says"), iter(rows))


def codes() -> str:
    """Each code that an answer can carry."""
    rows = (
        (
            f"[`{each}`](../troubleshooting.md#{each.lower()})",
            str(each.status),
            each.kind,
            each.cause,
        )
        for each in Code
    )
    return table(("code", "HTTP", "kind", "cause"), rows)


def manifest() -> str:
    """The JSON Schema of `manifest.json`."""
    return schema_of(Manifest)


def contract() -> str:
    """The JSON Schema of `contract.json`."""
    return schema_of(Contract)


def field_kinds() -> str:
    """Each kind of a field or an answer, with the keys that it has in `contract.json`."""
    parts = []
    common = set(Kind.model_fields)
    for name, kind in sorted(kinds().items()):
        own = {key: each for key, each in properties(kind) if key not in common | {"kind"}}
        roles = " and ".join(sorted(kind.roles))
        parts.append(f"### {name}\n\nFor: {roles}.")
        if own:
            rows = ((code(key), shape_of(each), default(each)) for key, each in own.items())
            parts.append(table(("key", "type", "default"), rows))
    return "\n\n".join(parts)


def properties(model: type[BaseModel]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The properties of a model in its JSON Schema."""
    yield from model.model_json_schema().get("properties", {}).items()


def shape_of(schema: Mapping[str, Any]) -> str:
    """A property's type in a few words."""
    if "$ref" in schema:
        return code(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return " or ".join(code(json.dumps(each)) for each in schema["enum"])
    for each in ("anyOf", "oneOf"):
        if each in schema:
            return " or ".join(dict.fromkeys(shape_of(part) for part in schema[each]))
    if schema.get("type") == "array":
        return f"list of {shape_of(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def default(schema: Mapping[str, Any]) -> str:
    """A property's default."""
    return code(json.dumps(schema["default"])) if "default" in schema else "required"


def schema_of(model: type[BaseModel]) -> str:
    """A model's JSON Schema as a block of JSON."""
    return f"```json\n{json.dumps(model.model_json_schema(by_alias=True), indent=2)}\n```"


def python() -> str:
    """The names of `import seatrial as st` in their groups, each with its docstring.

    `:::` lines are mkdocstrings'.
    """
    said = re.split(r"\n\n", seatrial.__doc__ or "")
    groups = next(part for part in said if part.startswith("Declare:"))
    homes = {name: module for module, names in seatrial.HOMES.items() for name in names}
    parts, listed = [], []
    for line in re.sub(r"\n    ", " ", groups).splitlines():
        group, _, names = line.partition(": ")
        parts.append(f"## {group}")
        for name in names.split(", "):
            listed.append(name)
            members = json.dumps(members_of(getattr(seatrial, name)))
            parts.append(
                f"::: {homes[name]}.{name}\n    options:\n      heading: st.{name}\n"
                f"      toc_label: {name}\n      members: {members}"
            )
    assert sorted(listed) == sorted(seatrial.__all__)
    return "\n\n".join(parts)


WITH_METHODS = (
    "Bundle",
    "Client",
    "AsyncClient",
    "ThreadServer",
    "Parity",
    "Versions",
    "Quantized",
)
"""Classes whose methods a user calls. Of the others, the fields are what a user gives."""


def members_of(value: object) -> list[str]:
    """The members of a class that are shown: its fields, and methods if users call any."""
    if not isinstance(value, type):
        return []
    fields = [*getattr(value, "model_fields", {}), *getattr(value, "__dataclass_fields__", {})]
    called = [name for name in vars(value) if value.__name__ in WITH_METHODS and name[0] != "_"]
    return list(dict.fromkeys([*(name for name in fields if name != "kind"), *called]))


PARTS: tuple[Callable[[], str], ...] = (
    settings, commands, metrics, codes, contract, field_kinds, manifest, python,
)  # fmt: skip


def parts() -> dict[str, str]:
    """Each generated part by the name that a page gives it."""
    return {part.__name__: part() for part in PARTS}


if __name__ == "__main__":
    json.dump(parts(), sys.stdout)
