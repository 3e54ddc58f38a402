"""The manifest: what a bundle is and the digest of every file in it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.kinds.kind import MAX_TENSORS, TensorSpec
from seatrial_contracts.needs import Needs
from seatrial_contracts.promise import Promise
from seatrial_contracts.shards import shards_of

ONNX = "onnx"
"""The format that every bundle has a graph of."""
MAX_FILE_BYTES = 2**31 - 1
"""The largest file of a bundle: one protobuf message, so one ONNX graph, holds no more.

Source: Protocol Buffers, "Proto Limits".
"""
DATA_SUFFIX = ".data"
"""How the name of a file with weights of a graph ends, after the graph's own name."""
ENCRYPTION = "encryption.json"
"""Beside the manifest of a bundle whose sealed files are encrypted; no sealed file's name."""
MAX_DATA_BYTES = 2**40
"""The largest file of weights: its shards still fit into a manifest."""
MAX_JSON_BYTES, MAX_JSON_LINES_BYTES = 2**26, 2**30
"""The largest JSON file, parsed as a whole, and the largest JSON Lines file, read by line.

The first bound holds for tokenizers too. The second is larger since golden rows hold images in
base64.
"""
MOST_BYTES = {
    "json": MAX_JSON_BYTES,
    "jsonl": MAX_JSON_LINES_BYTES,
    DATA_SUFFIX.removeprefix("."): MAX_DATA_BYTES,
}
"""Suffix -> the largest file of it; `MAX_FILE_BYTES` for others."""
Short = Annotated[str, Field(max_length=200)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")


def check_name(name: str) -> str:
    """Check a model's name, which is a folder's name and part of a URL.

    A name holds letters, digits, '.', '_' and '-', at most 128 of them, and no '..'.
    """
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            "a name holds letters, digits, '.', '_' and '-', starts with a letter or digit, "
            "and has at most 128 of them"
        )
    return name


def check_version(version: str) -> str:
    """A version: three numbers, as semantic versioning writes them."""
    if not VERSION.fullmatch(version):
        raise ValueError("a version is three numbers: 1.2.0")
    return version


def version_key(version: str) -> tuple[int, ...]:
    """Versions in the order of their numbers."""
    return tuple(int(part) for part in version.split("."))


def check_path(path: str) -> str:
    """Check a file's name inside a bundle.

    A name is relative, with forward slashes, no '.' or '..' parts, and no odd characters.
    """
    parts = path.split("/")
    if not all(NAME.fullmatch(part) for part in parts) or ".." in path or len(parts) > 4:
        raise ValueError("a file's name is relative, with plain parts between forward slashes")
    return path


def data_name(graph: str) -> str:
    """The file that holds the weights of an ONNX graph, if they lie outside of the graph."""
    return f"{graph}{DATA_SUFFIX}"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SealedFile(_Value):
    """Digest and size of one file."""

    sha256: Sha256
    size: int = Field(ge=0, le=MAX_DATA_BYTES, description="in bytes")
    shards: dict[Annotated[str, Field(max_length=600)], Sha256] = Field(
        default={}, exclude_if=lambda shards: not shards
    )
    """`path:start:end` -> digest of each gigabyte of a file that has more than one."""


class Variant(_Value):
    """One graph that answers for the model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    format: str = Field(default=ONNX, pattern=r"^[a-z0-9_]{1,32}$")
    graph: Annotated[str, AfterValidator(check_path)]
    promise: Promise | None = None
    """What this variant promises; None: the contract's tolerance."""
    recipe: Short = ""
    """How it was made of the fp32 graph, as `--variant` takes it; empty for that graph itself."""
    needs: Needs | None = None
    """What opens its graph; None: nothing was read off it, since it is no ONNX graph, say."""


REFERENCES = {
    "pytorch": "PyTorch",
    "scikit-learn": "scikit-learn",
    "callable": "a function of the user's",
    "none": "none but the graph itself",
}
NO_REFERENCE = (
    "no independent reference: the golden answers are the graph's own, "
    "so they do not prove that it is right"
)


class Origin(_Value):
    """Where a model comes from, and who says what it must answer."""

    source: Literal["exported", "adopted"] = "exported"
    """From a pipeline, or a graph that another tool made."""
    producer: str = Field(default="", max_length=200)
    """The tool that made the graph, and its version, as the graph names it: "pytorch 2.3.1".

    The text is empty where the graph names no tool.
    """
    reference: Literal["pytorch", "scikit-learn", "callable", "none"] = "pytorch"
    """What made the golden answers; "none": the graph itself."""

    def __str__(self) -> str:
        producer = f", made by {self.producer}" if self.producer else ""
        return f"{self.source}{producer}; reference: {REFERENCES[self.reference]}"

    @property
    def warning(self) -> str:
        """The warning of receipts whose golden answers have no independent reference; else empty.

        Such answers prove that the graph answers alike everywhere, and not that it is right.
        """
        return NO_REFERENCE if self.reference == "none" else ""


def prepared_name(name: str) -> str:
    """The prepare graph's own name of what it makes; no field's name holds a dot."""
    return f"prepared.{name}"


class Prepare(_Value):
    """The per-row graph between the host stage and the model: what it takes and what it gives."""

    graph: Annotated[str, AfterValidator(check_path)]
    inputs: tuple[Short, ...] = Field(max_length=MAX_TENSORS)
    outputs: tuple[TensorSpec, ...] = Field(max_length=MAX_TENSORS)
    needs: Needs | None = None
    """What opens its graph."""

    @property
    def graph_outputs(self) -> list[str]:
        """The graph's own names of its outputs, in order.

        One graph cannot have an input and an output of one name.
        """
        return [prepared_name(spec.name) for spec in self.outputs]


class Manifest(_Value):
    """`manifest.json`. Its bytes are canonical JSON, and their SHA-256 is the bundle's digest."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: Annotated[str, AfterValidator(check_name)]
    version: Annotated[str, AfterValidator(check_version)]
    batchable: bool
    """False: rows are never run together, since one row's answer would depend on the others."""
    variants: tuple[Variant, ...] = Field(min_length=1, max_length=64)
    prepare: Prepare | None = None
    origin: Origin = Origin()
    made_with: dict[Short, Short] = Field(default={}, max_length=64)
    git_commit: Short | None = None
    waivers: dict[Short, Annotated[str, Field(max_length=4096)]] = Field(default={}, max_length=64)
    """Steps of the export gate that the author waived, each with the reason given."""
    files: dict[Annotated[str, AfterValidator(check_path)], SealedFile] = Field(max_length=1024)

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        if len({variant.name for variant in self.variants}) < len(self.variants):
            raise ValueError("two variants of one name")
        if ENCRYPTION in self.files:
            raise ValueError(f"a sealed file '{ENCRYPTION}', which names something else")
        for name, file in self.files.items():
            suffix = name.rpartition(".")[2]
            most = MOST_BYTES.get(suffix, MAX_FILE_BYTES)
            if file.size > most:
                raise ValueError(
                    f"'{name}' of {file.size} bytes, more than the {most} that are read"
                )
            if file.shards.keys() != {shard.name for shard in shards_of(name, file.size)}:
                raise ValueError(f"'{name}' without a digest of each of its gigabytes")
        return self

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest: what names this bundle for ever."""
        return sha256(self.to_json())

    def graph_bytes(self, graph: str) -> int:
        """Size of a graph, with the weights that lie outside of it."""
        outside = self.files.get(data_name(graph))
        return self.files[graph].size + (outside.size if outside else 0)

    def variant(self, name: str) -> Variant:
        """The variant of this name. Raises `KeyError`."""
        return {variant.name: variant for variant in self.variants}[name]
