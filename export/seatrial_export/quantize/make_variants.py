"""Making variants of a model and proving each: all of them are right, or none is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import onnx

from seatrial_contracts.errors import DeclarationError, SeatrialError
from seatrial_contracts.manifest import Variant, data_name
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.run_steps import Progress, silent
from seatrial_export.gate.strip import check_leaks, strip_model
from seatrial_export.graphs.exporter_messages import first_lines, raised_by_us
from seatrial_export.graphs.needs import needs_of
from seatrial_export.graphs.weights import outside_of, sealed_form, stored
from seatrial_export.quantize.prove import prove
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants.recipe import Recipe

LEAST_ROWS = 16
"""Fewer calibration rows leave ranges to chance."""


@dataclass(frozen=True)
class MadeVariant:
    """A variant that was proven: what the manifest says of it, its graph, and its trials."""

    variant: Variant
    graph: bytes
    trials: tuple[Trial, ...]
    data: Path | None = None
    """The file that its weights lie in, where they lie outside of the graph."""


def make_variants(
    subject: Subject, recipes: Sequence[Recipe], progress: Progress = silent
) -> list[MadeVariant]:
    """Make variants of a model, and prove them.

    Raises `DeclarationError` for a variant that this model cannot have, before any is made;
    `GateError` for one that misses its promise.
    """
    for recipe in recipes:
        check_recipe(subject, recipe)
    made = []
    for recipe in recipes:
        progress(f"{recipe.variant}: making")
        graph = make_graph(subject, recipe)
        name = recipe.variant
        variant = Variant(
            name=name,
            graph=graph_name(recipe),
            promise=recipe.promised(subject.contract),
            recipe=str(recipe),
            needs=needs_of(graph),
        )
        progress(f"{recipe.variant}: proving")
        trials = tuple(prove(subject, variant, graph, recipe.APART, recipe.edges))
        sealed, folder = sealed_form(graph)
        data = None if folder is None else data_path(subject, recipe)
        made.append(MadeVariant(variant, sealed, trials, data))
    return made


def check_recipe(subject: Subject, recipe: Recipe) -> None:
    """Check that the graph can have this variant.

    Raises `DeclarationError` where the graph cannot have it, its promise can never be measured, or
    too few rows are there to calibrate it on.
    """
    if recipe.promise is not None:
        recipe.promise.check(subject.contract, truths=subject.truths)
    if recipe.CALIBRATED and len(subject.calibration) < LEAST_ROWS:
        raise DeclarationError(
            f"variant '{recipe.variant}'",
            f"{len(subject.calibration)} calibration rows",
            f"at least {LEAST_ROWS}, better 100 or more",
            "give real rows: Pipeline(reference=...), or --rows FILE.jsonl",
        )
    recipe.check(subject.original)


def graph_name(recipe: Recipe) -> str:
    """The variant's graph in the bundle."""
    return f"graphs/{recipe.variant}.onnx"


def data_path(subject: Subject, recipe: Recipe) -> Path:
    """Where many weights of the variant lie until it is sealed."""
    return subject.scratch.file(PurePosixPath(data_name(graph_name(recipe))).name)


def make_graph(subject: Subject, recipe: Recipe) -> onnx.ModelProto:
    """Make the variant's graph, without notes; same inputs, same bytes.

    Many weights are in the variant's own data file, in the place of the one of an earlier call.
    Raises `DeclarationError` where a library gives up on this graph.
    """
    try:
        model = recipe.transform(subject.original)
    except SeatrialError:
        raise
    except Exception as error:  # quantisers raise errors of all kinds: the graph is beyond them
        if raised_by_us(error):
            raise
        where = f"variant '{recipe.variant}'"
        raise DeclarationError(
            where, f"a graph that cannot have it: {first_lines(error)}", "another variant"
        ) from error
    strip_model(model)
    del model.graph.value_info[:]
    check_same_ports(subject.original.model, model)
    if outside_of(model):
        data_path(subject, recipe).unlink(missing_ok=True)
    made = stored(model, partial(data_path, subject, recipe))
    check_leaks(graph_name(recipe), sealed_form(made)[0])
    return made


def check_same_ports(original: onnx.ModelProto, made: onnx.ModelProto) -> None:
    """Inputs and outputs are the fp32 graph's: name, type, order."""
    for ports in ("input", "output"):
        before, after = (
            [(value.name, value.type.tensor_type.elem_type) for value in getattr(each.graph, ports)]
            for each in (original, made)
        )
        assert before == after, f"a variant changed its {ports}s: this is a bug in seatrial"
