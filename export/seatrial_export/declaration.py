"""A user's declaration of a model, wherever the model comes from.

The declaration holds rows and answers, golden rows, and the values that follow from them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from seatrial_contracts.calibration import Calibration
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Contract, Limits, Objective
from seatrial_contracts.declaration import check_rounding, contract_from_rows, float32_by_default
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.golden import Refused, wire_row
from seatrial_contracts.host_stage import EncodedRow, HostStage
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.manifest import Origin, check_name, check_version
from seatrial_contracts.options import Options
from seatrial_contracts.own_rows import own_rows, validate_own
from seatrial_contracts.promise import Promise
from seatrial_contracts.row import Answer, Row
from seatrial_contracts.sample import RawRow, Sample, samples_of
from seatrial_export.variants.recipe import Recipe

OwnRows = Sequence[RawRow | Sample] | Any
"""Raw rows, or samples, or a data frame of pandas or polars with a column for each field."""
NAME_WANT = (
    "letters, digits, '.', '_' and '-', a letter or digit first, 128 of them at most, no '..'"
)
VERSION_WANT = "three numbers, as text"
GOLDEN_WANT = "at least two raw rows, edge cases too"
SHAPE_ROWS = 16
"""Golden rows that are looked at for which sizes `prepare` fixes and which it leaves to vary."""


def specs_seen(made: Sequence[Mapping[str, Array]]) -> tuple[TensorSpec, ...]:
    """Specify the outputs of a per-row step from those that it made of several rows.

    Sizes that are equal are fixed, others vary.
    """
    specs = []
    for name, first in made[0].items():
        sizes = [set(column) for column in zip(*(row[name].shape for row in made), strict=True)]
        dims = tuple(
            f"{name}_{axis}" if len(seen) > 1 else next(iter(seen))
            for axis, seen in enumerate(sizes)
        )
        specs.append(TensorSpec(name=name, dtype=first.dtype.name, dims=dims))
    return tuple(specs)


def mended_name(value: Any) -> str:
    """The nearest thing to a value that can be a model's name."""
    words = re.sub(r"[^A-Za-z0-9._-]+|\.\.+", "-", str(value)).strip("._-")
    return words[:128] or "my-model"


def mended_version(value: Any) -> str:
    """The nearest thing to a value that can be a version."""
    numbers = [str(int(each)) for each in re.findall(r"[0-9]+", str(value))[:3]]
    return ".".join([*numbers, "0", "0", "0"][:3])


def check_golden(golden: Any, noun: str) -> None:
    """Raise `DeclarationError` where golden rows are none, or too few."""
    where = f"{noun} golden"
    if isinstance(golden, Mapping | BaseModel):
        raise DeclarationError(
            where, "one row", GOLDEN_WANT, "put rows in a list: golden=[ROW, ROW]"
        )
    if isinstance(golden, str | Path):
        mend = f'golden=pandas.read_csv("{golden}"), or read_json'
        raise DeclarationError(where, f"'{golden}'"[:60], GOLDEN_WANT, mend)
    if not hasattr(golden, "__len__"):
        got = f"a {type(golden).__name__}"
        raise DeclarationError(where, got, GOLDEN_WANT, "golden=list(ROWS)")
    if len(golden) < 2:
        got = f"{len(golden)} row{'' if len(golden) else 's'}"
        mend = "golden=[ROW, ROW], each as a client sends it: a dict with a value for each field"
        raise DeclarationError(where, got, GOLDEN_WANT, mend)


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelDeclaration(ABC):
    """A model's name, contract and proof.

    Rows are raw rows in a list, or a data frame with a column for each field. None, NaN,
    `pandas.NA` and `NaT` are missing values.

    `golden` are raw rows that become the bundle's proof, `held_out` further ones that were not
    trained on; both may be samples, which also say what is true and which slices a row belongs to.
    `promise` is what is kept beyond the tolerance, on all rows and on each slice. `refused` are raw
    rows that must be refused, each with its code; `reference` are raw rows like those of training,
    which drift is measured against and static quantisation measures its ranges on. `variants` are
    further graphs: names ("int8_per_token", "int8:calibration=percentile") or values
    (`st.Int8(keep=(...))`). `waive` maps a step of the gate to the reason why it does not hold for
    this model; the manifest keeps both.
    """

    name: str
    version: str
    inputs: type[Row]
    outputs: type[Answer]
    options: type[Options] | None = None
    golden: OwnRows = ()
    held_out: OwnRows = ()
    reference: OwnRows = ()
    refused: Sequence[Refused] = ()
    limits: Limits = field(default_factory=Limits)
    tolerance: Tolerance = field(default_factory=Tolerance)
    promise: Promise | None = None
    objective: Objective = field(default_factory=Objective)
    batchable: bool = True
    variants: Sequence[str | Recipe] = ()
    waive: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, value, check, want, mended in (
            ("name", self.name, check_name, NAME_WANT, mended_name),
            ("version", self.version, check_version, VERSION_WANT, mended_version),
        ):
            try:
                check(value)
            except (ValueError, TypeError):
                raise DeclarationError(
                    f"{self.noun} {what}", repr(value)[:60], want, f'{what}="{mended(value)}"'
                ) from None
        check_golden(self.golden, self.noun)

    @property
    def noun(self) -> str:
        """What messages call it."""
        return type(self).__name__.lower()

    @property
    @abstractmethod
    def origin(self) -> Origin:
        """Where the model comes from, and who says what it must answer."""

    @property
    @abstractmethod
    def prepare_inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the per-row step takes; none where there is no such step."""

    @property
    @abstractmethod
    def prepared_specs(self) -> tuple[TensorSpec, ...]:
        """What the per-row step makes."""

    @cached_property
    def contract(self) -> Contract:
        """Read off the row and answer classes."""
        return contract_from_rows(
            self.inputs,
            self.outputs,
            options=self.options,
            limits=self.limits,
            tolerance=self.tolerance,
            objective=self.objective,
        )

    @cached_property
    def _float32_by_default(self) -> frozenset[str]:
        return float32_by_default(self.inputs)

    @cached_property
    def front_files(self) -> Mapping[str, bytes]:
        """What the host stage and the answers need, as the bundle will carry it."""
        return {
            path: data
            for field in self.contract.all_fields
            for path, data in field.kind.front_files(field.name).items()
        }

    @cached_property
    def front(self) -> HostStage:
        """The host stage."""
        return HostStage(self.contract, self.front_files)

    @cached_property
    def categories(self) -> Mapping[str, Category]:
        """The category fields, which the graph looks up itself."""
        looked_up = {field.graph_name: field.kind.looked_up for field in self.contract.inputs}
        return {name: kind for name, kind in looked_up.items() if isinstance(kind, Category)}

    @cached_property
    def golden_samples(self) -> tuple[Sample, ...]:
        """The golden rows, each a sample."""
        return samples_of(self._own(self.golden, "golden"))

    @cached_property
    def held_out_samples(self) -> tuple[Sample, ...]:
        """The held-out rows, each a sample."""
        return samples_of(self._own(self.held_out, "held_out"))

    @cached_property
    def reference_rows(self) -> Sequence[Any]:
        """The reference rows, as raw rows."""
        return self._own(self.reference, "reference")

    def _own(self, rows: OwnRows, which: str) -> Sequence[Any]:
        """Rows as they were declared, as raw rows. Raises `Refusal` for a frame's odd column."""
        try:
            return own_rows(rows, self.contract)
        except Refusal as refusal:
            raise refusal.within(f"{self.noun} {which}") from None

    @property
    def whole_promise(self) -> Promise | None:
        """The promise of the fp32 graph: the declared promise, and the tolerance with it.

        None where there is the tolerance alone.
        """
        if self.promise is None:
            return None
        return self.promise.model_copy(
            update={"tolerance": self.promise.tolerance or self.tolerance}
        )

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """Temperatures that are part of the graph."""
        return ()

    @cached_property
    def encoded_golden(self) -> list[EncodedRow]:
        """The golden rows after the host stage.

        Raises `Refusal` that names the row which the contract refuses.
        """
        return self._encoded(self.golden_samples, "golden")

    @cached_property
    def encoded_held_out(self) -> list[EncodedRow]:
        """The held-out rows after the host stage.

        Raises `Refusal` that names the row which the contract refuses.
        """
        return self._encoded(self.held_out_samples, "held_out")

    def _encoded(self, samples: Sequence[Sample], which: str) -> list[EncodedRow]:
        try:
            rows = [
                validate_own(self.contract, sample.row, place)
                for place, sample in enumerate(samples)
            ]
            sent = [wire_row(sample.row) for sample in samples]
            for spec in self.contract.inputs:
                values = [row[spec.name] for row in rows]
                spec.kind.check_rows(values, self.front_files, spec.name)
                if spec.name in self._float32_by_default:
                    check_rounding(spec.name, values)
                for name in self._float32_by_default & set(spec.kind.column_names):
                    check_rounding(name, [row.get(name) for row in sent])
            for place, row in enumerate(sent):
                self._check_body(row, place)
            return [self.front.encode_row(row, place) for place, row in enumerate(rows)]
        except Refusal as refusal:
            raise refusal.within(f"{self.noun} {which}") from None
        except DeclarationError as error:
            raise DeclarationError(f"{self.noun} {which}, {error}") from None

    def _check_body(self, row: object, place: int) -> None:
        """Raise `DeclarationError` where no request has room for the row as JSON carries it."""
        most = self.contract.max_body_bytes
        bytes_ = len(canonical_json({"instances": [row]}))
        if bytes_ > most:
            mend = f"limits=st.Limits(max_body_bytes={bytes_}) or more"
            raise DeclarationError(
                f"row {place}",
                f"{bytes_} bytes as a request",
                f"at most {most}, max_body_bytes",
                mend,
            )

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs.

        These are the contract's tensors, with those that `prepare` takes replaced by those that
        `prepare` makes.
        """
        kept = tuple(spec for spec in self.contract.tensors if spec.name not in self.prepare_inputs)
        return kept + self.prepared_specs

    def encode_row(self, row: RawRow, place: int | None = None) -> EncodedRow:
        """Take one raw row through the contract and the host stage.

        Raises `Refusal` that names row `place`, where given.
        """
        return self.front.encode_row(validate_own(self.contract, row, place), place)
