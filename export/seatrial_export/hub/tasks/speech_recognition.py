"""Speech recognition by CTC: the text that is said in a sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCTC, AutoTokenizer

from seatrial_contracts.kinds.transcript import Transcript
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import MEND_DOWNLOAD, fault
from seatrial_export.hub.folder import Folder, quiet, told
from seatrial_export.hub.samples import Heard, samples_of
from seatrial_export.hub.sounds import ALONE, UNREAD, read_audio_side, rows_of_sounds
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import VOCABULARIES
from seatrial_export.hub.transcripts import ctc_tokenizer

TRIED = (1, 7, 60, 300)
"""Lengths of the paths on which the tokenizers are tried."""


class GreedyCtc(nn.Module):
    """A model of transformers with a CTC head, and the best token of each frame behind it.

    Repeats are collapsed, then blanks are dropped (Graves et al. 2006, section 3.1).
    """

    def __init__(self, model: Any, blank: int, most_ids: int) -> None:
        super().__init__()
        self.model, self.blank, self.most_ids = model, blank, most_ids

    def forward(self, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tokens of the text, int64, (batch, most_ids), filled up with -1."""
        mask = audio_mask.long()
        ids = self.model(input_values=audio, attention_mask=mask).logits.argmax(-1)
        frames = self.model._get_feat_extract_output_lengths(mask.sum(-1))  # noqa: SLF001  (none is public)
        before = torch.cat([torch.full_like(ids[:, :1], -1), ids[:, :-1]], 1)
        is_frame = torch.arange(ids.shape[1]) < frames[:, None]
        kept = (ids != self.blank) & (ids != before) & is_frame
        place = torch.where(kept, kept.long().cumsum(1) - 1, self.most_ids)
        filled = torch.full((ids.shape[0], self.most_ids + 1), -1)
        tokens: Tensor = filled.scatter(1, place, ids)[:, : self.most_ids]
        return tokens


class SpeechRecognitionPipeline:
    """What transformers' own pipeline answers to a file, read by soundfile and soxr."""

    name = f"transformers {transformers.__version__}, automatic-speech-recognition"

    def __init__(self, folder: Path) -> None:
        self.folder, self.heard = folder, Heard(folder, AutoModelForCTC)

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        return transformers.pipeline(
            "automatic-speech-recognition", model=self.heard.model,
            feature_extractor=self.heard.extractor,
            tokenizer=AutoTokenizer.from_pretrained(self.folder, local_files_only=True),
            device="cpu",
        )  # fmt: skip

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Texts."""
        rate = self.heard.extractor.sampling_rate
        return [
            {"text": self.pipeline(samples_of(row["audio"], rate).copy())["text"]} for row in rows
        ]


class SpeechRecognition(Task):
    """See the module."""

    name = "automatic-speech-recognition"

    def fits(self, folder: Folder) -> bool:
        """A CTC head."""
        return folder.architecture.endswith("ForCTC")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One sound in, the text out that is said in it."""
        auto = AutoModelForCTC
        side = read_audio_side(folder)
        model: Any = folder.model(auto, spare=UNREAD)
        classes = int(model.config.vocab_size)
        frames = model._get_feat_extract_output_lengths(side.kind.most_samples)  # noqa: SLF001  (none is public)
        tokenizer = loaded_tokenizer(folder, classes)
        blank = int(tokenizer.pad_token_id)
        spelt = Transcript(tokenizer=ctc_tokenizer(folder.root, classes), max_ids=int(frames))
        check_spelt(folder, tokenizer, spelt, classes)
        field = Field(str, spelt, f"ctc_tokenizer(FOLDER, {classes})")
        return Reading(
            inputs={"audio": Field(bytes, side.kind)},
            outputs={"text": field},
            module=Part.of(GreedyCtc, model, folder.loads(auto), blank=blank, most_ids=int(frames)),
            judge=Part.of(SpeechRecognitionPipeline, folder.path, "FOLDER"),
            rows=rows or rows_of_sounds(),
            notes=[ALONE] if side.alone else [],
            batchable=not side.alone,
            functions=(ctc_tokenizer,),
        )


def loaded_tokenizer(folder: Folder, classes: int) -> Any:
    """The folder's tokenizer, which has a token for each class and one that is the blank.

    Raises `DeclarationError`.
    """
    mend = "the vocabulary has to be the one that the head was trained with"
    if not any((folder.root / name).exists() for name in VOCABULARIES):
        raise fault(folder.path, "no vocabulary", "vocab.json", MEND_DOWNLOAD)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder.root, local_files_only=True)
            words = [str(each) for each in tokenizer.convert_ids_to_tokens(list(range(classes)))]
    except Exception as error:  # transformers' own kinds, of no common class
        got = f"a tokenizer that transformers does not load: {told(error)}"
        raise fault(folder.path, got, "vocab.json", MEND_DOWNLOAD) from error
    [(word, count)] = Counter(words).most_common(1)
    if count > 1:
        got = f"a head of {classes} classes, of which {count} are {word[:60]!r}"
        raise fault(folder.path, got, "a token of its own for each class", mend)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= classes:
        raise fault(folder.path, "a tokenizer whose padding is no class of the head",
                    "the blank of CTC as its pad_token", mend)  # fmt: skip
    return tokenizer


def check_spelt(folder: Folder, tokenizer: Any, spelt: Transcript, classes: int) -> None:
    """Raise `DeclarationError` where the folder's tokenizer makes other texts of drawn paths."""
    some = np.random.default_rng(0)
    for length in TRIED:
        path = some.integers(0, classes, length).repeat(some.integers(1, 4, length))
        kept = [
            int(token) for token, _ in groupby(path.tolist()) if token != tokenizer.pad_token_id
        ]
        got = spelt.describe([np.array(kept, np.int64)], None, {})
        if got != tokenizer.decode(path.tolist(), skip_special_tokens=False):
            raise fault(
                folder.path, f"{type(tokenizer).__name__}, which makes other texts",
                "tokens that are joined, a word delimiter between words",
                "write a pipeline with st.Transcript and a tokenizer.json of your own",
            )  # fmt: skip
