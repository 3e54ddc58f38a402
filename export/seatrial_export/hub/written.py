"""A pipeline file: what was read off a folder, as text that its user keeps and edits."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

from seatrial_contracts.declared import Declared
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.task import Field, Part, Reading

HEAD = '''"""{name}: {task}, from a folder of Hugging Face's form.

Seal it:  seatrial export {file}:pipeline
"""

from __future__ import annotations

'''
POSITIONAL = ("classes", "labels", "texts")
"""Options that kinds take as their positional arguments."""
OWN_IMPORTS = """from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
"""


def write_pipeline(
    reading: Reading, folder: Path, *, name: str, version: str, task: str, file: Path
) -> str:
    """The text of a pipeline file that makes the same pipeline as the reading."""
    classes = [type(reading.module.value), type(reading.judge.value)]
    parts = [*reading.functions, *classes]
    body = "\n\n".join(
        [
            f"FOLDER = Path({str(folder.resolve())!r})",
            *(
                [TOKENIZER]
                if any(tokenizer_of(field.kind) for field in reading.inputs.values())
                else []
            ),
            "",
            *definitions(reading.functions),
            class_source("Row", "st.Row", "A row, as a client sends it.", reading.inputs),
            "",
            class_source("Answer", "st.Answer", "What the model answers.", reading.outputs),
            "",
            *definitions(classes),
            f"GOLDEN: list[dict[str, Any]] = {rows_source(reading.rows)}",
            "",
            pipeline_source(reading, name, version),
        ]
    )
    wanted = names_in(body)
    return (
        HEAD.format(name=name, task=task, file=file.name)
        + import_block(parts, wanted)
        + "\n\n"
        + re.sub(r"\n{4,}", "\n\n\n", body)
        + "\n"
    )


TOKENIZER = """LOADED = AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
TOKENIZER = LOADED.backend_tokenizer
TOKENIZER.no_padding()
TOKENIZER.no_truncation()"""


def tokenizer_of(kind: Declared) -> bytes | None:
    """The tokenizer that a kind was declared with."""
    return getattr(kind, "_tokenizer_json", None)


def class_source(name: str, base: str, about: str, fields: Mapping[str, Field]) -> str:
    """A row or answer class."""
    lines = [f"class {name}({base}):", f'    """{about}"""', ""]
    for called, field in fields.items():
        shown = annotation_source(field.annotation)
        kept = kind_source(field.kind, field.tokenizer)
        lines.append(
            f"    {called}: Annotated[\n        {shown},\n{indent(kept, ' ' * 8)},\n    ]"
            if "\n" in kept
            else f"    {called}: Annotated[{shown}, {kept}]"
        )
    return "\n".join(lines)


def annotation_source(annotation: Any) -> str:
    """A type as a file spells it."""
    if annotation.__module__ == "numpy":
        return f"np.{annotation.__name__}"
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        return annotation.__name__
    return repr(annotation).replace("typing.", "")


def kind_source(kind: Declared, tokenizer: str = "") -> str:
    """A kind as a declaration spells it, one option a line; `tokenizer` is how its own is made."""
    said = {name: getattr(kind, name) for name in kind.model_fields_set if name != "kind"}
    first = [repr(word) for name in POSITIONAL for word in said.pop(name, ())]
    if tokenizer_of(kind) is not None:
        first.append(f"tokenizer={tokenizer}")
    options = [
        f"{name}={option_source(said[name])}" for name in type(kind).model_fields if name in said
    ]
    called = f"st.{type(kind).__name__}"
    inside = ", ".join((*first, *options))
    if len(inside) < 60:
        return f"{called}({inside})"
    return f"{called}(\n" + "".join(f"    {each},\n" for each in (*first, *options)) + ")"


def option_source(value: Any) -> str:
    """A kind's option: a literal, or a declaration of its own on one line."""
    return " ".join(kind_source(value).split()) if isinstance(value, Declared) else repr(value)


def rows_source(rows: Sequence[RawRow]) -> str:
    """Rows, one a line."""
    return "[\n" + "".join(f"    {dict(row)!r},\n" for row in rows) + "]"


def pipeline_source(reading: Reading, name: str, version: str) -> str:
    """The function that declares the pipeline."""
    alone = "" if reading.batchable else "\n        batchable=False,"
    return f'''def pipeline() -> st.Pipeline:
    """Load the weights and declare."""
    model = {reading.module.first}
    return st.Pipeline(
        name={name!r},
        version={version!r},
        inputs=Row,
        outputs=Answer,
        model={part_source(reading.module, "model")}.eval(),
        golden=GOLDEN,
        judge={part_source(reading.judge, reading.judge.first)},{alone}
    )'''


def part_source(part: Part, first: str) -> str:
    """How a file makes a part."""
    options = [f"{name}={value!r}" for name, value in part.options.items()]
    return f"{type(part.value).__name__}({', '.join([first, *options])})"


def definitions(parts: Sequence[Any]) -> Iterator[str]:
    """The text of classes and functions, each behind what it uses of seatrial's files."""
    seen = set[str]()
    for each in parts:
        for text in used(each.__name__, each.__module__, seen):
            yield text
            yield ""


def used(name: str, module: str, seen: set[str]) -> Iterator[str]:
    """The text of a definition of a module, after those that it uses.

    What it imports of others is no definition; what it imports of seatrial's is one.
    """
    source = source_of(module)
    node = {each: node for node in ast.parse(source).body for each in names_of(node)}.get(name)
    if node is None or name in seen or isinstance(node, ast.Import):
        return
    if isinstance(node, ast.ImportFrom):
        if is_ours(str(node.module)):
            yield from used(name, str(node.module), seen)
        return
    seen.add(name)
    for other in sorted(names_in(node)):
        yield from used(other, module, seen)
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
    yield "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def source_of(module: str) -> str:
    """The text of a module that is loaded."""
    return inspect.getsource(sys.modules[module])


def is_ours(module: str) -> bool:
    """Is it one of seatrial's, which a pipeline file does not import?"""
    return module.partition(".")[0].startswith("seatrial")


def modules_of(parts: Sequence[Any]) -> list[str]:
    """The modules of hub folders that these parts come from, and those that these import."""
    found = list(dict.fromkeys(each.__module__ for each in parts))
    for module in found:
        for node in ast.parse(source_of(module)).body:
            if isinstance(node, ast.ImportFrom) and node.module in sys.modules:
                other = str(node.module)
                if other.startswith(__package__ or "") and other not in found:
                    found.append(other)
    return found


def names_of(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a file binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def names_in(code: str | ast.AST) -> set[str]:
    """Every name that code reads."""
    tree = ast.parse(code) if isinstance(code, str) else code
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def import_block(parts: Sequence[Any], wanted: set[str]) -> str:
    """The imports of these names: the standard library's, others', and seatrial itself."""
    found: dict[str, ast.stmt] = {}
    sources = [OWN_IMPORTS, "from transformers import AutoTokenizer"]
    sources += [source_of(module) for module in modules_of(parts)]
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    name = (alias.asname or alias.name).partition(".")[0]
                    module = getattr(node, "module", None) or alias.name
                    if name in wanted and not is_ours(module):
                        found.setdefault(name, single(node, alias))
    lines = {True: set[str](), False: set[str]()}
    merged: dict[str, set[str]] = {}
    for node in found.values():
        if isinstance(node, ast.ImportFrom):
            merged.setdefault(str(node.module), set()).add(ast.unparse(node.names[0]))
        elif isinstance(node, ast.Import):
            lines[is_standard(node.names[0].name)].add(ast.unparse(node))
    for module, names in merged.items():
        lines[is_standard(module)].add(f"from {module} import {', '.join(sorted(names))}")
    order = lambda line: (line.startswith("from"), line)
    blocks = ["\n".join(sorted(lines[part], key=order)) for part in (True, False)]
    return "\n\n".join([*filter(None, blocks), "import seatrial as st"])


def single(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    """One name of an import statement, as a statement of its own."""
    if isinstance(node, ast.ImportFrom):
        return ast.ImportFrom(node.module, [alias], 0)
    return ast.Import([alias])


def is_standard(module: str) -> bool:
    """Is it of the standard library?"""
    return module.partition(".")[0] in sys.stdlib_module_names
