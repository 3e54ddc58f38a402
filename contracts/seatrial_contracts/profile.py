"""The profile: histograms of a model's reference rows and of the answers to them.

Drift is measured against the profile.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from seatrial_contracts.bins import Bins
from seatrial_contracts.canonical import read_json, readable_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Column, Features, Kind

Counts = NDArray[np.int64]


class Histogram(BaseModel):
    """A feature's bins, and how many reference rows lie in each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bins: Bins
    counts: tuple[Annotated[int, Field(ge=0, le=2**53)], ...] = Field(max_length=256)

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.counts) != len(self.bins.names) or not any(self.counts):
            raise ValueError("a count for each bin, not all of them 0")
        return self

    @property
    def rows(self) -> int:
        """Reference rows."""
        return sum(self.counts)

    @property
    def shares(self) -> list[float]:
        """The share of the reference rows in each bin."""
        return [count / self.rows for count in self.counts]


class Profile(BaseModel):
    """`profile.json`.

    A field is an input's or output's name. If the field is not the value itself, a feature of it
    stands after a dot: `photo.brightness`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    schema_version: int = Field(default=1, alias="schema", ge=1, le=1)
    rows: int = Field(default=0, ge=0, le=2**53)
    """Reference rows; 0 where the pipeline had none, and nothing is known of drift."""
    inputs: dict[str, Histogram] = {}
    outputs: dict[str, Histogram] = {}

    @cached_property
    def fields(self) -> Mapping[str, Histogram]:
        """All of them, inputs first."""
        return self.inputs | self.outputs

    def to_json(self) -> bytes:
        """Sorted, indented, the same bytes for equal profiles."""
        return readable_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The profile that `to_json` wrote. Raises `ValueError`."""
        return cls.model_validate(read_json(data))

    def check(self, contract: Contract) -> None:
        """Check the fields against the contract.

        Raises `ValueError` where a field is none of the contract's, or its bins do not fit its
        kind.
        """
        sides = ((self.inputs, contract.inputs), (self.outputs, contract.outputs))
        for histograms, fields in sides:
            kinds: dict[str, Kind] = {field.name: field.kind for field in fields}
            for name, histogram in histograms.items():
                field, feature = trait_of(name, kinds)
                if field not in kinds or type(histogram.bins) is not type(
                    kinds[field].split(feature, [])
                ):
                    raise ValueError("a profile of other fields than the contract's")


class DriftFeatures:
    """Looks at rows and answers as drift does: features of every field, one value a row."""

    def __init__(self, front: HostStage) -> None:
        contract, files = front.contract, front.files
        self._inputs = [
            (field.name, field.features(files, front.stages[field.name]))
            for field in contract.inputs
        ]
        # A state is looked at once, where it goes in.
        self._outputs = [
            (field.name, field.kind.features(field.name, files, None))
            for field in contract.outputs
            if field.name not in contract.state
        ]
        self._tensors = contract.tensor_names
        self._kinds: dict[str, Kind] = {field.name: field.kind for field in contract.inputs}
        self._kinds |= {field.name: field.kind for field in contract.outputs}

    def inputs(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        """Field -> its values, of validated columns."""
        return features_of(self._inputs, columns)

    def outputs(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        """The same of the model's answers, rows first.

        `columns` holds the graph's tensors. A kind that reads several of them takes a list of
        these columns.
        """
        by_field: dict[str, Column] = {
            name: columns[names[0]] if len(names) == 1 else [columns[each] for each in names]
            for name, names in self._tensors.items()
        }
        return features_of(self._outputs, by_field)

    def profile(
        self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
    ) -> Profile:
        """The profile of validated reference rows and the answers to them."""
        if not rows:
            return Profile()
        return Profile(
            rows=len(rows),
            inputs={
                name: self._histogram(name, values)
                for name, values in self.inputs(columns_of(rows)).items()
            },
            outputs={
                name: self._histogram(name, values)
                for name, values in self.outputs(columns_of(answers)).items()
            },
        )

    def _histogram(self, field: str, values: Column) -> Histogram:
        name, feature = trait_of(field, self._kinds)
        bins = self._kinds[name].split(feature, values)
        return Histogram(bins=bins, counts=tuple(count_by_bin(bins, values).tolist()))

    def count(
        self, profile: Profile, columns: Mapping[str, Column], answers: Mapping[str, Column]
    ) -> dict[str, Counts]:
        """Field -> how many rows lie in each of the profile's bins."""
        seen = self.inputs(columns) | self.outputs(answers)
        return {
            name: count_by_bin(histogram.bins, seen[name])
            for name, histogram in profile.fields.items()
            if name in seen
        }


def features_of(
    readers: Sequence[tuple[str, Features]], columns: Mapping[str, Column]
) -> dict[str, Column]:
    """Field -> its values.

    A feature of a field stands after a dot, the value itself without one.
    """
    return {
        f"{name}.{feature}" if feature else name: values
        for name, read in readers
        for feature, values in read(columns[name]).items()
    }


def trait_of(name: str, fields: Container[str]) -> tuple[str, str]:
    """The field and its trait, of the name of a feature: field names may have dots themselves."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        field = ".".join(parts[:count])
        if field in fields:
            return field, ".".join(parts[count:])
    return name, ""


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def count_by_bin(bins: Bins, values: Column) -> Counts:
    """How many values lie in each bin."""
    return np.bincount(bins.places(values), minlength=len(bins.names))
