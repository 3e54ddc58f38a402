"""The worst samples side by side: the raw row, the wanted values and the values got.

The raw row is shown as a person sees it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.kinds.file_kind import FileKind
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.pixel_mode import shown_pixels
from seatrial_contracts.receipt import Trial, WorstRow
from seatrial_parity.printable import printable
from seatrial_parity.report.findings import Findings

SHOWN_SAMPLES = 6
"""Of each variant."""
SHOWN_CHARS = 400
SIDE_PX = 160


@dataclass(frozen=True)
class Shown:
    """One input: its text, or its picture as a data URL."""

    name: str
    text: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Numbers:
    """One output side by side: places (or classes) with the values wanted and got.

    Each side has its label where the output has one.
    """

    output: str
    lines: tuple[tuple[str, float | None, float | None], ...]
    want: str = ""
    got: str = ""


@dataclass(frozen=True)
class WorstSample:
    """A row that a runner answers farthest from the training side."""

    runner: str
    variant: str
    batch_rows: int
    held_out: bool
    row: WorstRow
    slices: tuple[str, ...]
    truth: Mapping[str, Any]
    inputs: tuple[Shown, ...]
    outputs: tuple[Numbers, ...]


def worst_samples(findings: Findings) -> list[WorstSample]:
    """Find the rows of each variant nearest to the allowed error or beyond it.

    Each row stands once, those beyond first.
    """
    found: dict[str, dict[tuple[bool, int], tuple[Trial, WorstRow]]] = {}
    for _, trial in findings.trials:
        of_variant = found.setdefault(trial.variant, {})
        for row in trial.worst:
            known = of_variant.get((trial.held_out, row.sample))
            if known is None or _ratio(row) > _ratio(known[1]):
                of_variant[trial.held_out, row.sample] = trial, row
    ordered = [
        sorted(rows.values(), key=lambda one: (one[0].passed, -_ratio(one[1])))
        for rows in found.values()
    ]
    return [
        _sample(findings, trial, row) for rows in ordered for trial, row in rows[:SHOWN_SAMPLES]
    ]


def _ratio(row: WorstRow) -> float:
    if row.error is None or not row.allowed:
        return float("inf")
    return row.error / row.allowed


def _sample(findings: Findings, trial: Trial, row: WorstRow) -> WorstSample:
    golden = findings.rows(trial.held_out)
    return WorstSample(
        trial.runner,
        trial.variant,
        max(trial.batch_sizes),
        trial.held_out,
        row,
        golden.slices[row.sample],
        golden.truth[row.sample] or {},
        shown_inputs(findings.bundle, golden.rows[row.sample]),
        shown_outputs(findings.bundle, golden, row),
    )


def shown_inputs(bundle: Bundle, raw: Mapping[str, Any]) -> tuple[Shown, ...]:
    """Show each field of a raw row.

    A picture is shown as the host stage decodes it, any other value as the client sent it.
    """
    contract, shown = bundle.contract, []
    values, sent = contract.validate_row(raw), contract.record.flat(raw)
    for field in contract.inputs:
        value, text = values[field.name], plain(sent.get(field.name))
        if value is not None and isinstance(field.kind, Image):
            (pixels,) = field.kind.stage(field.name, bundle.files)(value)
            shown.append(Shown(field.name, picture=picture_url(pixels)))
        elif value is not None and isinstance(field.kind, FileKind):
            shown.append(Shown(field.name, text=field.kind.told(value) or text))
        else:
            shown.append(Shown(field.name, text=text))
    return tuple(shown)


def picture_url(pixels: Array) -> str:
    """`(height, width, channels)` as a small PNG in a data URL, at most `SIDE_PX` wide and high."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(shown_pixels(pixels))
    times = SIDE_PX / max(picture.size)
    size = (max(1, round(picture.width * times)), max(1, round(picture.height * times)))
    picture = picture.resize(
        size, Pillow.Resampling.NEAREST if times > 1 else Pillow.Resampling.BOX
    )
    sink = io.BytesIO()
    picture.save(sink, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"


def plain(value: Any) -> str:
    """A raw value in so many characters; what cannot be seen is spelt out."""
    if value is None:
        return "missing"
    text = value if isinstance(value, str) else str(value)
    seen = printable(text[:SHOWN_CHARS].replace("\n", "\\n"))
    return f"{seen} ... ({len(text):,} characters)" if len(text) > SHOWN_CHARS else seen


def shown_outputs(bundle: Bundle, golden: Golden, row: WorstRow) -> tuple[Numbers, ...]:
    """Show each output that has the right shape.

    The place of the worst error comes first, then those of the largest wanted numbers.
    """
    shown = []
    kinds = {field.name: field.kind for field in bundle.contract.outputs}
    for field in bundle.contract.answer_tensors:
        want, got = golden.answers[row.sample][field.name], row.answers.get(field.name)
        if got is None:
            continue
        kind = kinds.get(field.name)
        classes = kind.classes if isinstance(kind, (Label, Labels)) else ()
        here = row.index if field.name == row.output and row.got is not None else None
        worst = None if here is None else int(np.ravel_multi_index(here, want.shape)) if here else 0
        places = sorted(got, key=lambda place: (place != worst, -abs(want.flat[place])))
        lines = [
            (
                classes[place] if classes else _index(place, want.shape),
                _number(want.flat[place]),
                got[place],
            )
            for place in places
        ]
        winner = kind.decision(want) if kind is not None and kind.decides else ""
        shown.append(Numbers(field.name, tuple(lines), winner, row.labels.get(field.name, "")))
    return tuple(shown)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _index(place: int, shape: tuple[int, ...]) -> str:
    return "".join(f"[{index}]" for index in np.unravel_index(place, shape)) if shape else "value"
