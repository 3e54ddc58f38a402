"""Hugging Face's tasks over contracts: which tasks a model does follows from its kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from seatrial_contracts.errors import Refusal
from seatrial_serve.api.tasks.labels import (
    AudioClassification,
    ImageClassification,
    TextClassification,
)
from seatrial_serve.api.tasks.pictures import ImageSegmentation, ObjectDetection
from seatrial_serve.api.tasks.spans import QuestionAnswering, TokenClassification
from seatrial_serve.api.tasks.speech import AutomaticSpeechRecognition
from seatrial_serve.api.tasks.task import Task
from seatrial_serve.api.tasks.vectors import FeatureExtraction, SentenceSimilarity
from seatrial_serve.api.tasks.zero_shot import ZeroShotClassification
from seatrial_serve.models.described import KnownModel

TASKS: Sequence[type[Task[Any]]] = (
    FeatureExtraction, SentenceSimilarity, TextClassification, TokenClassification,
    QuestionAnswering, ZeroShotClassification, ImageClassification, ObjectDetection,
    ImageSegmentation, AudioClassification, AutomaticSpeechRecognition,
)  # fmt: skip
_known: WeakKeyDictionary[KnownModel, Sequence[type[Task[Any]]]] = WeakKeyDictionary()
"""Which tasks each model does. A `Task` itself would hold its model for ever."""


def tasks_of(model: KnownModel) -> Sequence[Task[Any]]:
    """The tasks that a model does; which ones is looked for once."""
    found = _known.get(model)
    if found is None:
        found = _known[model] = [each for each in TASKS if _does(model, each)]
    return [task(model) for task in found]


def _does(model: KnownModel, task: type[Task[Any]]) -> bool:
    try:
        task(model)
    except Refusal:
        return False
    return True


def task_for(model: KnownModel, inputs: Any) -> Task[Any]:
    """The task of the model that takes these inputs. Raises `Refusal`."""
    known = tasks_of(model)
    if not known:
        want = f"one that does one of: {', '.join(each.name for each in TASKS)}"
        raise Refusal("E_UNSUPPORTED", "model", "one that does no task", want)
    found = [each for each in known if each.takes(inputs)] or known[:1]
    if len(found) > 1:
        got = f"one that does several tasks: {', '.join(each.name for each in found)}"
        raise Refusal("E_UNSUPPORTED", "model", got, "one that does one", "ask it over V1 or V2")
    return found[0]
