"""Text-pair classification, and zero-shot classification by pairs: the class of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from transformers import AutoModelForSequenceClassification

from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.pairs import rows_of_pairs
from seatrial_export.hub.task import Field, Reading, Task
from seatrial_export.hub.tasks.text_classification import classifier_of
from seatrial_export.hub.text import read_text_side


class TextPairClassification(Task):
    """See the module. No folder says that it is one, so that `--task` names it."""

    name = "text-pair-classification"
    texts: ClassVar[tuple[str, str]] = ("text", "text_pair")

    def fits(self, folder: Folder) -> bool:  # noqa: ARG002  (the signature of every task)
        """Never: a head of sequence classification does not tell how many texts it is for."""
        return False

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """Two texts in, what the config's problem type says out."""
        model = folder.model(AutoModelForSequenceClassification)
        text = read_text_side(folder, model)
        pair = TextPair(*self.texts, min_chars=1, **text.pair_options())
        inputs = {"pair": Field(dict[str, str], pair)}
        return classifier_of(
            folder, model, inputs, rows or rows_of_pairs(*self.texts), texts=self.texts
        )


class ZeroShotClassification(TextPairClassification):
    """Classes of entailment of a premise and a hypothesis, by which servers label texts."""

    name = "zero-shot-classification"
    texts = ("premise", "hypothesis")

    def fits(self, folder: Folder) -> bool:
        """A head of sequence classification one of whose classes is entailment."""
        return folder.architecture.endswith("ForSequenceClassification") and any(
            label.lower().startswith("entail") for label in folder.labels
        )
