"""The tasks, in the order in which a folder is tried for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from seatrial_export.hub.task import Task


@cache
def tasks() -> Sequence[Task]:
    """Every task; the more special ones first."""
    from seatrial_export.hub.tasks.audio_classification import AudioClassification
    from seatrial_export.hub.tasks.depth_estimation import DepthEstimation
    from seatrial_export.hub.tasks.feature_extraction import FeatureExtraction
    from seatrial_export.hub.tasks.fill_mask import FillMask
    from seatrial_export.hub.tasks.image_classification import ImageClassification
    from seatrial_export.hub.tasks.image_feature_extraction import ImageFeatureExtraction
    from seatrial_export.hub.tasks.image_segmentation import ImageSegmentation
    from seatrial_export.hub.tasks.object_detection import ObjectDetection
    from seatrial_export.hub.tasks.question_answering import QuestionAnswering
    from seatrial_export.hub.tasks.sentence_similarity import SentenceSimilarity
    from seatrial_export.hub.tasks.speech_recognition import SpeechRecognition
    from seatrial_export.hub.tasks.text_classification import TextClassification
    from seatrial_export.hub.tasks.text_pair_classification import (
        TextPairClassification,
        ZeroShotClassification,
    )
    from seatrial_export.hub.tasks.text_ranking import TextRanking
    from seatrial_export.hub.tasks.text_tower import TextFeatureExtraction
    from seatrial_export.hub.tasks.token_classification import TokenClassification

    return (
        SentenceSimilarity(),
        AudioClassification(),
        SpeechRecognition(),
        TextRanking(),
        ZeroShotClassification(),
        TextClassification(),
        TextPairClassification(),
        TokenClassification(),
        QuestionAnswering(),
        FillMask(),
        ImageClassification(),
        ObjectDetection(),
        ImageSegmentation(),
        DepthEstimation(),
        ImageFeatureExtraction(),
        TextFeatureExtraction(),
        FeatureExtraction(),
    )
