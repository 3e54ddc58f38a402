"""A model of texts, one of pictures and one of sounds, untrained and sealed in seconds."""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

import seatrial as st

WORDS = ("[PAD]", "[UNK]", "good", "bad", "model", "a")


class Answer(st.Answer):
    """Which of two classes a row is of."""

    kind: Annotated[str, st.Label("one", "other")]


class Net(nn.Module):
    """The mean of what a row holds, to two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(1, 2)

    def classes(self, mean: Tensor) -> Tensor:
        """(batch,) -> probabilities (batch, 2)."""
        return torch.softmax(self.last(mean[:, None]), 1)


class OfTexts(Net):
    """The mean of the ids of a text's words."""

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Both (batch, words)."""
        mask = text_mask.float()
        return self.classes((text_ids.float() * mask).sum(1) / mask.sum(1).clamp(min=1))


class OfPictures(Net):
    """The mean of a picture's pixels."""

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 8, 8, 3)."""
        return self.classes(image.mean((1, 2, 3)))


class OfSounds(Net):
    """The mean strength of a sound's samples."""

    def forward(self, sound: Tensor, sound_length: Tensor) -> Tensor:
        """(batch, samples), and how many of them are a row's own."""
        return self.classes(sound.abs().sum(1) / sound_length.float())


class Small(nn.Module):
    """Any picture to one of 8 x 8 pixels."""

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (height, width, 3) -> float32 (8, 8, 3)."""
        small = nn.functional.interpolate(image.permute(2, 0, 1)[None].float(), (8, 8))
        return small[0].permute(1, 2, 0) / 255


def texts() -> st.Pipeline:
    """Words, by a tokenizer of six."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    kind = st.Text(tokenizer=made.to_str().encode(), max_chars=100, max_tokens=16)

    class Row(st.Row):
        """A text."""

        text: Annotated[str, kind]

    rows = [{"text": text} for text in ("good", "a bad model", "a good good model", "bad")]
    return _pipeline("texts", Row, OfTexts(), rows)


class Picture(st.Row):
    """A picture."""

    image: Annotated[bytes, st.Image(formats=("PNG",), max_pixels=10_000)]


def pictures() -> st.Pipeline:
    """Grey squares."""
    rows = []
    for side in (8, 16, 20, 31):
        file = io.BytesIO()
        Image.new("RGB", (side, side), (side * 5, 90, 90)).save(file, "PNG")
        rows.append({"image": file.getvalue()})
    return _pipeline("pictures", Picture, OfPictures(), rows, Small().eval())


class Sound(st.Row):
    """A sound."""

    sound: Annotated[bytes, st.Audio(rate_hz=16_000, max_seconds=1, min_seconds=0.05)]


def sounds() -> st.Pipeline:
    """Tones, of another rate than the model's too."""
    rows = []
    for rate_hz in (8_000, 16_000, 22_050, 44_100):
        file = io.BytesIO()
        tone = np.sin(np.arange(rate_hz // 4) / 20).astype(np.float32)
        soundfile.write(file, tone, rate_hz, format="WAV")
        rows.append({"sound": file.getvalue()})
    return _pipeline("sounds", Sound, OfSounds(), rows)


def _pipeline(
    name: str,
    row: type[st.Row],
    net: Net,
    rows: list[dict[str, object]],
    prepare: nn.Module | None = None,
) -> st.Pipeline:
    torch.manual_seed(0)
    return st.Pipeline(
        name=name,
        version="1.0.0",
        inputs=row,
        outputs=Answer,
        model=net.eval(),
        prepare=prepare,
        golden=rows,
    )
