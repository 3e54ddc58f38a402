"""Sounds: tells tones, sweeps, clicks and noise apart, trained on sounds that it makes itself.

The model is served from WAV, FLAC, OGG or MP3 files of any rate.

Seal it:  seatrial export examples/sounds/pipeline.py:pipeline --out bundles
Ask it:   curl -s localhost:8000/v1/models/sounds:predict -H 'Content-Type: audio/wav' \
              --data-binary @whistle.wav
"""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st

CLASSES = ("tone", "sweep", "clicks", "noise")
RATES_HZ = (16_000, 8_000, 22_050, 44_100, 48_000)
FORMATS = ("WAV", "FLAC", "OGG", "MP3")
BANDS = 32


class Recording(st.Row):
    """A recording of up to five seconds, of any rate, mono or stereo."""

    sound: Annotated[
        bytes,
        st.Audio(
            rate_hz=16_000,
            max_seconds=5,
            min_seconds=0.05,
            normalize="peak",
            log_mel=st.LogMel(n_fft=400, hop_length=160, n_mels=BANDS, fmax=3_800.0),
        ),
    ]


class Heard(st.Answer):
    """Which sort of sound it is."""

    sort: Annotated[str, st.Label(*CLASSES)]


class SoundNet(nn.Module):
    """Two convolutions over time; mean and spread of what they find; a head.

    Frames beyond a row's own are 0 before and after each convolution, so that no row sees how long
    its mates are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, 32, 5, padding=2)
        self.second = nn.Conv1d(32, 32, 5, padding=2)
        self.head = nn.Linear(64, len(CLASSES))

    def scores(self, sound: Tensor, length: Tensor) -> Tensor:
        """float32 (batch, frames, bands) in dB, int64 (batch,) -> (batch, classes)."""
        own = torch.arange(sound.shape[1], device=sound.device) < length[:, None]
        mask = own[:, None].to(sound.dtype)
        found = (sound.transpose(1, 2) / 40 + 1) * mask
        for layer in (self.first, self.second):
            found = torch.relu(layer(found)) * mask
        count = length[:, None].to(sound.dtype)
        mean = found.sum(2) / count
        spread = ((found - mean[:, :, None]) ** 2 * mask).sum(2) / count
        return self.head(torch.cat([mean, torch.sqrt(spread + 1e-4)], 1))

    def forward(self, sound: Tensor, sound_length: Tensor) -> Tensor:
        """Probabilities, (batch, classes)."""
        return torch.softmax(self.scores(sound, sound_length), 1)


def made(sort: str, rate_hz: int, chance: np.random.Generator) -> np.ndarray:
    """A sound of 0.2 to 0.6 seconds: float32 from -1 to 1, on a floor of faint noise."""
    times = np.arange(int(chance.uniform(0.2, 0.6) * rate_hz)) / rate_hz
    low, high = sorted(chance.uniform(200, 3_000, 2))
    if sort == "tone":
        sound = np.sin(2 * np.pi * low * times)
    elif sort == "sweep":
        climb = (high - low + 500) / times[-1]
        sound = np.sin(2 * np.pi * (low * times + climb * times**2 / 2))
    elif sort == "clicks":
        gap = int(rate_hz * chance.uniform(0.03, 0.08))
        sound = np.where(np.arange(len(times)) % gap < rate_hz // 2_000, 1.0, 0.0)
    else:
        sound = chance.uniform(-1, 1, len(times))
    level = chance.uniform(0.1, 0.9)
    return (level * (sound + 0.003 * chance.standard_normal(len(times)))).astype(np.float32)


def encoded(sound: np.ndarray, rate_hz: int, form: str = "WAV") -> bytes:
    """Samples as a file."""
    sink = io.BytesIO()
    soundfile.write(sink, sound.clip(-1, 1), rate_hz, format=form)
    return sink.getvalue()


def make_samples(count: int) -> list[st.Sample]:
    """As many of each sort, in files of several formats and rates; their slices are the formats."""
    chance = np.random.default_rng(0)
    samples = []
    for place in range(count):
        sort, form = CLASSES[place % 4], FORMATS[place // 4 % 4]
        rate_hz = 16_000 if form == "OGG" else RATES_HZ[place // 16 % 5]
        row = {"sound": encoded(made(sort, rate_hz, chance), rate_hz, form)}
        samples.append(st.Sample(row, truth={"sort": sort}, slices=(form,)))
    return samples


def edge_sounds() -> list[st.Sample]:
    """Silence, full scale, the shortest, the longest, stereo."""
    times = np.arange(80_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 700 * times)).astype(np.float32)
    sounds = {
        "silence": np.zeros(4_000, np.float32),
        "full scale": np.sign(tone[:4_000]),
        "shortest": tone[:800],
        "longest": tone,
        "stereo": np.stack([tone[:4_000], 0 * tone[:4_000]], 1),
    }
    return [
        st.Sample({"sound": encoded(sound, 16_000)}, slices=("edges", name))
        for name, sound in sounds.items()
    ]


def refused_sounds() -> list[st.Refused]:
    """Files that nobody should get an answer to, by code."""
    tone = np.zeros((8_000, 1), np.float32)
    data = encoded(tone, 16_000)
    bad = {
        "E_AUDIO": data[: len(data) // 2],
        "E_AUDIO_FORMAT": b"no sound at all",
        "E_AUDIO_SHORT": encoded(tone[:100], 16_000),
        "E_AUDIO_LENGTH": encoded(np.zeros(16_000 * 6, np.float32), 16_000, "FLAC"),
        "E_AUDIO_CHANNELS": encoded(np.repeat(tone, 6, 1), 16_000),
    }
    return [st.Refused({"sound": data}, code) for code, data in bad.items()]


def train(net: SoundNet, feeds: dict[str, Tensor], target: Tensor, epochs: int = 8) -> None:
    """Seeded mini-batches."""
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for places in torch.randperm(len(target), generator=order).split(32):
            optimiser.zero_grad()
            scores = net.scores(feeds["sound"][places], feeds["sound_length"][places])
            F.cross_entropy(scores, target[places]).backward()
            optimiser.step()


def classes_of(samples: list[st.Sample]) -> Tensor:
    """Their sorts as class numbers."""
    return torch.tensor([CLASSES.index(sample.truth["sort"]) for sample in samples])


def pipeline() -> st.Pipeline:
    """Train, report and declare."""
    torch.manual_seed(0)
    # More threads sum in another order, and the weights would differ in their last bits.
    torch.set_num_threads(1)
    samples = make_samples(400)
    fitted, held_out = samples[:320], samples[320:]
    net = SoundNet().eval()
    rows = [sample.row for sample in fitted]
    declared = st.Pipeline(
        name="sounds",
        version="1.0.0",
        inputs=Recording,
        outputs=Heard,
        model=net,
        golden=[*samples[:32], *edge_sounds()],
        held_out=held_out,
        promise=st.Promise(accuracy=0.9, min_slice_rows=20),
        refused=refused_sounds(),
        reference=rows[:200],
        objective=st.Objective(p99_s=0.1),
    )
    train(net, declared.encode(rows), classes_of(fitted))
    winners = declared.call(declared.encode([sample.row for sample in held_out]))["sort"].argmax(1)
    accuracy = (winners == classes_of(held_out)).float().mean()
    print(f"sounds: accuracy {accuracy:.3f} on {len(held_out)} recordings not trained on")
    return declared
