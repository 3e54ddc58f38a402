"""Bisecting: the first node of a sealed graph that departs from PyTorch.

The values are those of the golden row that departs most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.compare import Comparison, Tolerance, compare_outputs
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.host_stage import EncodedRow, collate
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.manifest import Variant
from seatrial_export.graphs.sealed import read_graph
from seatrial_export.pipeline import Pipeline
from seatrial_parity.bisect.departure import Departure, compare_values
from seatrial_parity.bisect.matched import Matched, all_differences, differences, match
from seatrial_parity.bisect.optimiser import blame_optimiser
from seatrial_parity.bisect.probed import Probed, read_by, run
from seatrial_parity.bisect.traced import Traced
from seatrial_parity.runners.onnx import OnnxRunner
from seatrial_parity.trial import promise_of

Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Bisection:
    """What was found of one variant."""

    variant: str
    sample: int
    """The golden row that departs most, alone."""
    answers: Comparison
    """Its answer against PyTorch's."""
    departure: Departure | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.variant}, golden row {self.sample}: {self.answers}"
        if self.departure is not None:
            yield from self.departure.lines()
        yield from (f"  note    {note}" for note in self.notes)


@dataclass
class _Search:
    """One variant, one row: the graphs in their order, until one departs."""

    bundle: Bundle
    pipeline: Pipeline
    row: EncodedRow
    tolerance: Tolerance
    notes: list[str] = field(default_factory=list)
    prepared: dict[str, Array] = field(default_factory=dict)
    """What the sealed prepare graph made."""

    def in_graph(self, traced: Traced, graph: onnx.ModelProto) -> Departure | None:
        """The first departure in one graph."""
        sealed, fresh = Probed(graph), Probed(traced.fresh)
        matched = match(sealed, fresh)
        self.notes.append(f"{traced.role} graph: {matched.how}")
        feeds, theirs = self.feeds(traced.role), self.training_feeds(traced.role)
        got = sealed.values(feeds)
        want = reference(traced, fresh, self.torch_feeds(traced.role), theirs, self.tolerance)
        if traced.role == "prepare":
            self.prepared = {
                spec.name: got[name]
                for spec, name in zip(
                    self.pipeline.prepared_specs, traced.graph.outputs, strict=True
                )
            }
        compared = [
            (node, value, compare_values(want[twin], got[value], self.tolerance))
            for node in sealed.nodes
            for value in node.output
            if (twin := matched.names.get(value, "")) in want
            and value in got
            and comparable(want[twin], got[value], matched)
        ]
        beyond = [each for each in compared if not each[2].passed]
        if beyond:
            self.notes.append(most_beyond(traced, matched, beyond, len(compared)))
            node, value, found = beyond[0]
            return self.departed(
                traced, sealed, fresh, matched, node, value, found, got | feeds, want | theirs
            )
        none = "nothing in it can be matched to the pipeline; a fault in it cannot be placed"
        said = f"{len(compared)} values compared, none departs" if compared else none
        self.notes.append(f"{traced.role} graph: {said}")
        self.notes += [
            f"{traced.role} graph, though no value shows it: {each}"
            for each in all_differences(sealed, fresh, matched)
        ]
        return None

    def departed(
        self,
        traced: Traced,
        sealed: Probed,
        fresh: Probed,
        matched: Matched,
        node: Any,
        value: str,
        found: Comparison,
        got: Feeds,
        want: Feeds,
    ) -> Departure:
        """The finding, with what shows why."""
        twin = matched.names[value]
        inputs = {name: got[name] for name in read_by(node) if name in got}
        twins = {name: matched.names.get(name, name) for name in inputs}
        theirs = {
            name: want[its].astype(inputs[name].dtype) for name, its in twins.items() if its in want
        }
        model = sealed.alone(node, inputs)
        alone = (
            compare_values(want[twin], run(model, theirs)[value], self.tolerance)
            if len(theirs) == len(inputs)
            else None
        )
        return Departure(
            role=traced.role,
            node=node,
            value=value,
            origin=traced.origins.get(twin),
            found=found,
            alone=alone,
            differs=differences(node, fresh.node_of[twin], sealed, fresh),
            got=got[value],
            want=want[twin],
            replay=model,
            inputs=inputs,
            training_inputs=theirs,
        )

    def feeds(self, role: str) -> dict[str, Array]:
        """What the sealed graph is fed, as the engine feeds it."""
        values = {
            spec.name: value
            for spec, value in zip(self.pipeline.contract.tensors, self.row, strict=True)
        }
        if role == "prepare":
            return {name: np.asarray(values[name]) for name in self.pipeline.prepare_inputs}
        row = values | self.prepared
        return collate(self.pipeline.specs, [tuple(row[spec.name] for spec in self.pipeline.specs)])

    def training_feeds(self, role: str) -> dict[str, Array]:
        """The same with what PyTorch itself prepared: for the fresh export."""
        return (
            self.feeds(role)
            if role == "prepare"
            else collate(self.pipeline.specs, [self.pipeline.prepared(self.row)])
        )

    def torch_feeds(self, role: str) -> dict[str, Any]:
        """What PyTorch is fed."""
        return (
            self.pipeline.prepare_feeds(self.row)
            if role == "prepare"
            else self.pipeline.batch([self.row])
        )


def bisect(
    bundle: Bundle, variant: Variant, pipeline: Pipeline, traced: Mapping[str, Traced]
) -> Bisection:
    """Name the first departure of one variant.

    Raises `DeclarationError` for a variant that is no ONNX, `ModelError` where a graph does not
    run.
    """
    if variant.format != "onnx":
        raise DeclarationError(
            "--bisect", f"variant '{variant.name}' of format {variant.format}", "an ONNX graph"
        )
    with OnnxRunner(bundle, variant.name) as runner:
        got = runner.run(bundle.golden.rows, 1)
        promise = promise_of(bundle, runner)
    tolerance = (
        promise.tolerance
        if promise is not None and promise.tolerance
        else bundle.contract.tolerance
    )
    want = pipeline.answer(bundle.golden.rows)
    near = [*map(bundle.contract.arranged, want, got)]
    sample, answers = worst_row(want, near, tolerance)
    search = _Search(bundle, pipeline, pipeline.encode_row(bundle.golden.rows[sample]), tolerance)
    for role, graph in traced.items():
        sealed = (
            bundle.manifest.prepare.graph
            if role == "prepare" and bundle.manifest.prepare
            else variant.graph
        )
        departure = search.in_graph(graph, read_graph(bundle, sealed))
        if departure is not None:
            break
    if departure is None and not answers.passed:
        blame = blame_optimiser(
            Probed(read_graph(bundle, variant.graph)), search.feeds("model"), tolerance
        )
        search.notes.append(
            blame
            or "the answers depart, and no value before them does: see the error's own place above"
        )
    return Bisection(variant.name, sample, answers, departure, tuple(search.notes))


def worst_row(
    want: Sequence[Feeds], got: Sequence[Feeds], tolerance: Tolerance
) -> tuple[int, Comparison]:
    """The row whose answer departs most, for what is allowed of it."""
    found = compare_outputs(want, got, tolerance)
    return found.sample or 0, found


def comparable(want: Array, got: Array, matched: Matched) -> bool:
    """Whether two values can be compared: numbers on both sides.

    Where nodes differ, the shapes must be alike too, since a name may then mean something else.
    """
    return (
        numeric(want)
        and numeric(got)
        and (matched.same_nodes or want.shape == got.shape or want.size == got.size == 1)
    )


def most_beyond(
    traced: Traced, matched: Matched, beyond: Sequence[tuple[Any, str, Comparison]], compared: int
) -> str:
    """Describe how many values depart, and the module of the worst departure.

    The first departure is not always the worst.
    """
    _, value, found = max(beyond, key=lambda each: each[2].ratio)
    origin = traced.origins.get(matched.names[value])
    place = f" in {' and '.join(origin.modules)}" if origin else ""
    return (
        f"{traced.role} graph: {len(beyond)} of {compared} compared values depart, "
        f"most '{value}'{place}, by {found.ratio:.3g} times what is allowed"
    )


def numeric(values: Array) -> bool:
    """Numbers or flags, not strings."""
    return values.dtype.kind in "fiub"


def reference(
    traced: Traced, fresh: Probed, torch_feeds: Any, feeds: Feeds, tolerance: Tolerance
) -> dict[str, Array]:
    """PyTorch's values by the fresh export's names.

    The values between them are those of the fresh export as long as it agrees with PyTorch itself.
    """
    own = traced.values(torch_feeds)
    made = fresh.values(feeds)
    known, waiting = dict(own), dict[str, Array]()
    for name in (name for node in fresh.nodes for name in node.output if name in made):
        if name not in own:
            waiting[name] = made[name]
            continue
        if numeric(made[name]) and not compare_values(own[name], made[name], tolerance).passed:
            return known
        known |= waiting
        waiting.clear()
    return known | waiting
