"""Making variants of a model and proving each: all of them are right, or none is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from seatrial_contracts.errors import DeclarationError, SeatrialError
from seatrial_contracts.manifest import Variant
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.run_steps import Progress, silent
from seatrial_export.gate.strip import check_leaks, strip_model
from seatrial_export.graphs.exporter_messages import first_lines, raised_by_us
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
            graph=f"graphs/{name}.onnx",
            promise=recipe.promised(subject.contract),
            recipe=str(recipe),
        )
        progress(f"{recipe.variant}: proving")
        made.append(
            MadeVariant(
                variant, graph, tuple(prove(subject, variant, graph, recipe.APART, recipe.edges))
            )
        )
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


def make_graph(subject: Subject, recipe: Recipe) -> bytes:
    """Make the variant's graph, without notes; same inputs, same bytes.

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
    data: bytes = model.SerializeToString(deterministic=True)
    check_leaks(f"graphs/{recipe.variant}.onnx", data)
    return data


def check_same_ports(original: onnx.ModelProto, made: onnx.ModelProto) -> None:
    """Inputs and outputs are the fp32 graph's: name, type, order."""
    for ports in ("input", "output"):
        before, after = (
            [(value.name, value.type.tensor_type.elem_type) for value in getattr(each.graph, ports)]
            for each in (original, made)
        )
        assert before == after, f"a variant changed its {ports}s: this is a bug in seatrial"
