"""A client of one model as one Python file, typed from the contract, which needs httpx alone.

The file is `standalone.py` with the types of a contract in it.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seatrial_client.described import Described

TEMPLATE = Path(__file__).with_name("standalone.py")
TYPES = re.compile(r"# types: .*?# end of types\n", re.DOTALL)
JsonSchema = dict[str, Any]
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
MOST_CHARS = 96
"""Of a comment: a line holds four more."""


def written_client(about: Described) -> str:
    """The text of the file."""
    types = _Types()
    row, answer = types.of("Row", about.row_schema), types.of("Answer", about.answer_schema)
    assert (row, answer) == ("Row", "Answer"), "this is a bug in seatrial"
    constants = (
        f"MODEL = {json.dumps(about.name)}",
        f"MAX_ROWS = {about.max_rows}",
        f"MAX_BODY_BYTES = {about.max_body_bytes}",
    )
    text = TEMPLATE.read_text("utf-8")
    whole = TYPES.sub(lambda _: "\n".join((*types.lines, "", *constants, "")), text)
    head = (
        f'"""A client of the model {about.name}, typed from the contract of version '
        f"{about.version}.\n\nWritten by `seatrial client`. It needs httpx, and the standard "
        'library.\n"""\n'
    )
    _, _, rest = whole.partition('"""\n')
    names = ", ".join(sorted({"Any", "TypedDict", "overload", *types.used}))
    return head + rest.replace("from typing import Any, overload", f"from typing import {names}")


@dataclass
class _Types:
    """The types of schemas, each named object's as lines of a module."""

    lines: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Of `typing`."""
    _names: set[str] = field(default_factory=set)

    def of(self, name: str, schema: JsonSchema) -> str:
        """The type of a value by its schema; a named object is called `name`."""
        if "anyOf" in schema:
            parts = [self.of(name, each) for each in schema["anyOf"]]
            return " | ".join(dict.fromkeys(parts))
        if "enum" in schema:
            self.used.add("Literal")
            return f"Literal[{', '.join(map(_literal, schema['enum']))}]"
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(self.of(name, {**schema, "type": each}) for each in kind)
        if kind == "object" and "properties" in schema:
            return self._object(name, schema)
        if kind == "array":
            return f"list[{self.of(name, schema.get('items', {}))}]"
        if schema.get("contentEncoding") == "base64":
            return "bytes | str"
        return PLAIN.get(str(kind), "Any")

    def _object(self, name: str, schema: JsonSchema) -> str:
        own = name
        while own in self._names:
            own += "_"
        self._names.add(own)
        required = set(schema.get("required", ()))
        fields: list[tuple[str, str, str]] = []
        for key, each in schema["properties"].items():
            annotation = self.of(f"{own}{_camel(key)}", each)
            if key not in required:
                self.used.add("NotRequired")
                annotation = f"NotRequired[{annotation}]"
            fields.append((key, annotation, _told(each)))
        self.lines += ["", *self._written(own, fields), ""]
        return own

    def _written(self, name: str, fields: list[tuple[str, str, str]]) -> Iterator[str]:
        if all(key.isidentifier() and not keyword.iskeyword(key) for key, _, _ in fields):
            yield f"class {name}(TypedDict):"
            for key, annotation, told in fields:
                yield from ([f"    # {told}"] if told else [])
                yield f"    {key}: {annotation}"
            if not fields:
                yield "    pass"
            return
        yield f"{name} = TypedDict("
        yield f"    {json.dumps(name)},"
        yield "    {"
        for key, annotation, told in fields:
            yield from ([f"        # {told}"] if told else [])
            yield f"        {_literal(key)}: {_literal(annotation)},"
        yield "    },"
        yield ")"


def _told(schema: JsonSchema) -> str:
    """What a right value is, in one line of a comment."""
    parts = [schema, *schema.get("anyOf", ())]
    text = next((str(part["x-want"]) for part in parts if "x-want" in part), "")
    text = " ".join(text.split())
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 4]} ..."


def _literal(value: Any) -> str:
    """A word or number as Python writes it; a word in ASCII, with its quotes escaped."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"\W+|_", name, flags=re.ASCII) if part)
