"""Who answers in a fuzz: the training code, and every runner that is held against it."""

from __future__ import annotations

from typing import Any

import numpy as np

from seatrial_contracts.answer_changes import Answered
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.client_terms import ClientTerms
from seatrial_contracts.compare import Tolerance, compare_outputs, largest, worst_of
from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_contracts.kinds.kind import Array
from seatrial_export.pipeline import Pipeline
from seatrial_parity.runners.runner import Inexpressible, Runner

FAILED = "E_MODEL"
FAILURES = frozenset(
    {FAILED, "E_MODEL_INPUT", "E_QUARANTINED", "E_OUTPUT_CONTRACT", "E_OUTPUT_RANGE"}
)
"""The codes with which a side refuses a row that the model itself cannot take.

The code differs by side: torch raises, onnxruntime blames the value, a server remembers it.
"""
SHOWN_CHARS = 120


class Training:
    """The pipeline, each row alone.

    Answers are kept, since shrinking tries the same rows again and again.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline.calibrated
        self._known: dict[bytes, Answered] = {}
        self._causes: dict[bytes, str] = {}

    def answer(self, row: Any) -> Answered:
        """The numbers, or the code that the row is refused with or fails with."""
        key = canonical_json(row)
        if key not in self._known:
            self._known[key] = self._answer(row, key)
        return self._known[key]

    def cause(self, row: Any) -> str:
        """The reason why the model fails on a row that the contract takes.

        The text is empty where the model answers, or the contract refuses the row.
        """
        self.answer(row)
        return self._causes.get(canonical_json(row), "")

    def _answer(self, row: Any, key: bytes) -> Answered:
        try:
            encoded = self._pipeline.encode_row(row)
        except Refusal as refusal:
            return refusal.code
        try:
            answer = self._pipeline.answer_encoded(encoded)
            self._pipeline.contract.check_outputs(
                {name: array[None] for name, array in answer.items()}, 1
            )
        except ModelError as error:
            self._causes[key] = str(error)
            return error.code
        except Exception as error:  # the user's modules may raise anything
            said = str(error).partition("\n")[0][:SHOWN_CHARS]
            self._causes[key] = f"the model raised {type(error).__name__}: {said}"
            return FAILED
        return answer


class Side:
    """One runner, entered, with what its answers may differ by."""

    def __init__(self, bundle: Bundle, runner: Runner, tolerance: Tolerance) -> None:
        self._runner, self._tolerance = runner, tolerance
        self._contract = contract = bundle.contract
        self._terms = ClientTerms(bundle.make_front()) if contract.mapped else None
        seen = contract.plain_tensors if runner.client_terms else contract.answer_tensors
        self._scale = {tensor.name: loudest(bundle, tensor.name) for tensor in seen}
        self.name = f"{runner.name} {runner.variant}"

    def answers(self, rows: list[Any]) -> list[Answered] | None:
        """The answers to rows that run together, one code for all where they are refused.

        None where this runner cannot take the rows.
        """
        try:
            return list(self._runner.run(rows, len(rows)))
        except Inexpressible:
            return None
        except (Refusal, ModelError, Unavailable) as error:
            return [error.code] * len(rows)

    def difference(self, row: Any, want: Answered, got: Answered) -> str:
        """Describe how two answers to a row differ beyond the allowed error.

        The text is empty where they do not.

        Errors are measured by the scale of the golden answers, so that a small answer is not held
        to a smaller error.
        """
        if isinstance(want, str) and isinstance(got, str):
            alike = want == got or {want, got} <= FAILURES
            return "" if alike else f"refused with {got}, by the training code with {want}"
        if isinstance(want, str):
            return f"answered, by the training code refused with {want}"
        if isinstance(got, str):
            return f"refused with {got}, by the training code answered"
        if self._runner.client_terms:
            got = self._contract.filled(want, got)
        found = []
        got = self._contract.arranged(want, got)
        if self._scale:
            mine = {name: want[name] for name in self._scale}
            found.append(compare_outputs([self._scale, mine], [self._scale, got], self._tolerance))
        if self._terms is not None:
            notes = self._terms.notes([row])
            [mapped] = self._terms.of(notes, [want])
            its: Any = got if self._runner.client_terms else self._terms.of(notes, [got])[0]
            found += self._terms.compare([mapped], [its], self._tolerance)
        worst = worst_of(found)
        return "" if worst.passed else str(worst).partition(", ")[2]


def loudest(bundle: Bundle, output: str) -> Array:
    """The golden answer that holds the largest number."""
    return max((np.asarray(answer[output]) for answer in bundle.golden.answers), key=largest)
