"""An embedding: a vector, whole or cut, in one of several forms, by a prompt of its own."""

from __future__ import annotations

import binascii
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.compare import Answers, Comparison, Tolerance, compare_arrays
from seatrial_contracts.declared import is_none
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array, Column, Features, JsonSchema, Kind, Stage
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.options import Option
from seatrial_contracts.recall import recall_at_10
from seatrial_contracts.vector_forms import (
    BITS,
    FORM_TYPES,
    MAX_SIZE,
    RANGED,
    Ranges,
    VectorForm,
    in_form,
    restored,
)

Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Share = Annotated[float, Field(ge=0, le=1)]
PromptName = Annotated[str, Field(min_length=1, max_length=64)]
FLOAT32, NO_PROMPT = "float32", "none"
LENGTH_TOLERANCE = 0.01
"""How far the length of a normalised vector may be from 1: bfloat16 keeps it to 0.004."""
MAX_PROMPTS, MAX_MEASURED = 64, 512


class FormMeasure(BaseModel):
    """What a cut or a form keeps of the whole float32 vector."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    dimensions: Size
    form: VectorForm
    cosine: Annotated[float, Field(ge=-1, le=1)]
    """Mean cosine to the whole float32 vector, the dimensions that were cut taken as 0."""
    recall_at_10: Share | None
    """Of the nearest rows by cosine, once restored from the form; None where rows were too few."""
    rows: Annotated[int, Field(ge=1, le=2**31)]
    """How many rows it was measured on."""


class Embedding(MappedKind):
    """`Annotated[list[float], Embedding(384, normalized=True, dimensions=(256, 128))]`.

    The model answers float32 vectors, shape `(batch, size)`; of length 1 with `normalized`.
    `dimensions` are shorter sizes that a request may choose by the option `dimensions`: the vector
    is cut, and normalised again. `forms` are those of the option `form`; `float32` is the first and
    the default. `ranges` bound int8 and uint8: one for the whole vector and one for each of
    `dimensions`. The export seals those of the reference rows where none are declared.
    `prompts` are texts that are put before the text `of` by the option `prompt`; without the option
    `default_prompt` is, or nothing where none is named; `"prompt": "none"` puts nothing there.
    `least_cosine` and `least_recall_at_10` are promised of every cut and form; the export measures
    them, on held-out rows where there are some, and seals what it `measured`.
    In JSON a vector is a list of numbers, or base64 of its little-endian bytes with the option
    `encoding`.
    """

    kind: Literal["embedding"] = "embedding"
    size: Size = 1
    normalized: bool = False
    dimensions: Annotated[tuple[Size, ...], Field(strict=False, max_length=64)] = ()
    forms: Annotated[tuple[VectorForm, ...], Field(strict=False, max_length=6)] = ("float32",)
    prompts: Annotated[
        dict[PromptName, Annotated[str, Field(max_length=4096)]], Field(max_length=MAX_PROMPTS)
    ] = {}
    default_prompt: Annotated[PromptName | None, Field(exclude_if=is_none)] = None
    of: Annotated[str, Field(max_length=128)] | None = None
    ranges: Annotated[tuple[Ranges, ...], Field(strict=False, max_length=65)] = ()
    least_cosine: Share | None = None
    least_recall_at_10: Share | None = None
    measured: Annotated[tuple[FormMeasure, ...], Field(strict=False, max_length=MAX_MEASURED)] = ()

    def __init__(self, size: int | None = None, /, **options: Any) -> None:
        super().__init__(**(options if size is None else {"size": size} | options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation != list[float]:
            raise DeclarationError("st.Embedding", str(annotation), "list[float]")
        if "size" not in self.model_fields_set:
            raise DeclarationError("st.Embedding", "no size", "st.Embedding(384)")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        cuts, forms = self.dimensions, self.forms
        if self.nullable:
            raise DeclarationError("st.Embedding", "a vector that may be missing", "list[float]")
        if len(set(cuts)) != len(cuts) or any(cut >= self.size for cut in cuts):
            want = f"different sizes below {self.size}, which a request gets without a choice"
            raise DeclarationError("st.Embedding", f"dimensions {cuts}"[:80], want)
        if forms[:1] != (FLOAT32,) or len(set(forms)) != len(forms):
            raise DeclarationError("st.Embedding", f"forms {forms}", "'float32' first, each once")
        if self.prompts and self.of is None:
            raise DeclarationError(
                "st.Embedding", "prompts", 'the text that they stand before: of="text"'
            )
        if NO_PROMPT in self.prompts:
            raise DeclarationError("st.Embedding", f"a prompt '{NO_PROMPT}'", "another name")
        if self.default_prompt is not None and self.default_prompt not in self.prompts:
            got, known = f"default_prompt {self.default_prompt!r}", ", ".join(self.prompts)
            raise DeclarationError("st.Embedding", got, f"one of its prompts: {known or 'none'}")
        if self.ranges and len(self.ranges) != len(self.all_sizes):
            raise DeclarationError(
                "st.Embedding", f"{len(self.ranges)} ranges", f"one for each of {self.all_sizes}"
            )
        for ranges, size in zip(self.ranges, self.all_sizes, strict=False):
            ranges.check(size)

    @property
    def all_sizes(self) -> tuple[int, ...]:
        """All that a request may choose of; the whole vector's first."""
        return (self.size, *self.dimensions)

    def annotation(self) -> Any:
        return list[float]

    def want(self) -> str:
        return f"{self.size} numbers" + (" of length 1 together" if self.normalized else "")

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.size,)

    @property
    def about(self) -> str | None:
        return self.of

    def check_about(self, kind: Kind) -> None:
        if self.prompts and kind.datatype != "BYTES":
            raise DeclarationError("prompts", f"before an input of kind {kind.name}", "a text")

    def own_options(self) -> Mapping[str, Option]:
        found = {"encoding": _words("float", "base64")}
        if self.dimensions:
            found["dimensions"] = Option(self.size, choices=self.all_sizes)
        if len(self.forms) > 1:
            found["form"] = _words(*self.forms)
        if self.prompts:
            words = (NO_PROMPT, *self.prompts)
            found["prompt"] = Option(self._default_prompt, type="string", choices=words)
        return found

    def prompt(self, options: OptionValues) -> str:
        return self.prompts.get(options.get("prompt", self._default_prompt), "")

    def whole_options(self) -> OptionValues:
        """Golden rows are answered as they are: nothing is put before their texts."""
        return {} if self.default_prompt is None else {"prompt": NO_PROMPT}

    @property
    def _default_prompt(self) -> str:
        return self.default_prompt or NO_PROMPT

    @property
    def is_bounded(self) -> bool:
        return self.normalized

    @property
    def breach(self) -> str:
        return "a vector whose length is not the 1 that the contract promises"

    def breaks_answer(self, option: str, old: Self) -> bool:
        """Further sizes, forms and prompts are safe; vectors of other ranges do not compare."""
        if option in ("dimensions", "forms"):
            return not set(getattr(old, option)) <= set(getattr(self, option))
        if option == "prompts":
            return not old.prompts.items() <= self.prompts.items()
        if option == "ranges":
            return bool(old.ranges) and self.ranges[: len(old.ranges)] != old.ranges
        safe = ("least_cosine", "least_recall_at_10", "measured")
        return option not in safe and super().breaks_answer(option, old)

    def outside(self, array: Array) -> Array:
        """Vectors that are not of length 1, or that cannot be normalised once they are cut.

        The answer is one bool for each vector, not one for each number.
        """
        lengths = np.sqrt(np.einsum("...i,...i->...", array, array))
        bad: Array = np.abs(lengths - 1) > LENGTH_TOLERANCE
        for cut in self.dimensions:
            bad = bad | ~array[..., :cut].any(-1)
        return np.asarray(bad)

    def cut(self, vectors: Array, size: int) -> Array:
        """Vectors, shape `(..., size)`, cut to one of `all_sizes`, and normalised again."""
        if size == self.size:
            return vectors
        vectors = vectors[..., :size]
        if not self.normalized:
            return vectors
        lengths: Array = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors / lengths

    def formed(self, vectors: Array, size: int, form: str) -> Array:
        """Vectors cut to one of `all_sizes`, in one of `forms`."""
        ranges = self.ranges[self.all_sizes.index(size)] if form in RANGED else None
        return in_form(self.cut(vectors, size), form, ranges)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (AnswerTensor(name, "FP32", (self.size,)),)

    def tensors_for(self, name: str, options: OptionValues) -> tuple[AnswerTensor, ...]:
        form, size = options.get("form", FLOAT32), options.get("dimensions", self.size)
        length = (size + 7) // 8 if form in BITS else size
        return (AnswerTensor(name, V2_DATATYPES[FORM_TYPES[form]], (length,)),)

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        size, form = options.get("dimensions", self.size), options.get("form", FLOAT32)
        is_whole = size == self.size and form == FLOAT32
        return (arrays[0] if is_whole else self.formed(arrays[0], size, form),)

    def written(self, values: Arrays) -> Any:
        return values[0]

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        (values,) = self.client(arrays, note, options)
        return in_base64(values) if options.get("encoding") == "base64" else values

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (np.array(value, np.float32),)

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Number by number, as every tensor is compared."""
        return compare_arrays(want[0], got[0], tolerance, 1.0)

    @property
    def is_sealed(self) -> bool:
        return bool(self.ranges) or not RANGED & set(self.forms)

    def sealed(self, name: str, reference: Answers, held_out: Answers) -> Self:
        """It with the ranges of the reference rows, and with what is measured of cuts and forms.

        Raises `DeclarationError` where a promise is broken, or no row shows it.
        """
        kind = self
        if not self.is_sealed:
            if len(reference) < 2:
                raise DeclarationError(
                    "st.Embedding", "int8 or uint8 without ranges",
                    "reference rows, whose ranges are sealed", "or declare ranges",
                )  # fmt: skip
            vectors = np.stack([answer[name] for answer in reference])
            made = tuple(Ranges.of(self.cut(vectors, size)) for size in self.all_sizes)
            kind = self.model_copy(update={"ranges": made})
        pairs = [(size, form) for size in kind.all_sizes for form in kind.forms]
        vectors = np.stack([answer[name] for answer in held_out])
        measured = tuple(kind.measure(vectors, *pair) for pair in pairs[1:])
        for each in measured:
            kind.check_promise(each)
        return kind.model_copy(update={"measured": measured})

    def measure(self, vectors: Array, size: int, form: VectorForm) -> FormMeasure:
        """What a cut and form keep of vectors, shape `(rows, size)`."""
        values = self.formed(vectors, size, form)
        ranges = self.ranges[self.all_sizes.index(size)] if form in RANGED else None
        back = restored(values, form, size, ranges)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(back, axis=1)
        cosines = (vectors[:, :size] * back).sum(1) / np.where(lengths == 0, 1, lengths)
        recall = recall_at_10(vectors, back)
        return FormMeasure(
            dimensions=size,
            form=form,
            cosine=round(float(np.clip(cosines.mean(), -1, 1)), 6),
            recall_at_10=None if recall is None else round(recall, 6),
            rows=len(vectors),
        )

    def check_promise(self, found: FormMeasure) -> None:
        """Raise `DeclarationError` where a cut or form keeps less than is promised."""
        for name in ("cosine", "recall_at_10"):
            least, got = getattr(self, f"least_{name}"), getattr(found, name)
            if least is not None and (got is None or got < least):
                shown = "no number: too few rows" if got is None else f"{got:g}"
                raise DeclarationError(
                    f"{found.dimensions} dimensions as {found.form}",
                    f"{name} {shown} of {found.rows} rows",
                    f"at least {least:g}",
                    "promise less, or do not offer it",
                )

    def json_schema(self) -> JsonSchema:
        return {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "maxItems": self.size},
                {"type": "string", "contentEncoding": "base64"},
            ]
        }

    def example(self) -> Any:
        return [1.0] + [0.0] * (self.size - 1)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How the numbers of a vector lie, and its length where that is not always 1."""

        def features(values: Column) -> Mapping[str, Column]:
            vectors = np.asarray(values, np.float64)
            found = {"mean": vectors.mean(1), "largest": np.abs(vectors).max(1)}
            return found if self.normalized else found | {"length": np.linalg.norm(vectors, axis=1)}

        return features


def _words(*choices: str) -> Option:
    return Option(choices[0], type="string", choices=choices)


def in_base64(values: Array) -> str:
    """An array's little-endian bytes in base64."""
    if sys.byteorder != "little":
        values = values.byteswap()
    return binascii.b2a_base64(np.ascontiguousarray(values).data, newline=False).decode()
