"""model-name: tells tones from noise, trained on sounds that it makes.

The model is served from WAV, FLAC, OGG or MP3 files of any rate.

Seal it:  seatrial export pipeline.py:pipeline
"""

import io
from typing import Annotated

import numpy as np
import soundfile
import torch
from torch import nn
from torch.nn import functional as F

import seatrial as st

CLASSES = ("noise", "tone")
RATES_HZ = (16_000, 8_000, 44_100)
BANDS = 16


class Recording(st.Row):
    """What a client sends: a file of up to five seconds."""

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
    """What it is answered with."""

    sort: Annotated[str, st.Label(*CLASSES)]


class Net(nn.Module):
    """Mean and spread of each band over time, and a head; padding counts in neither."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2 * BANDS, len(CLASSES))

    def scores(self, sound, sound_length):
        """float32 (batch, frames, bands) in dB, int64 (batch,) -> (batch, classes)."""
        own = torch.arange(sound.shape[1], device=sound.device) < sound_length[:, None]
        mask = own[:, :, None].to(sound.dtype)
        count = sound_length[:, None].to(sound.dtype)
        found = (sound / 40 + 1) * mask
        mean = found.sum(1) / count
        spread = ((found - mean[:, None]) ** 2 * mask).sum(1) / count
        return self.head(torch.cat([mean, torch.sqrt(spread + 1e-4)], 1))

    def forward(self, sound, sound_length):
        """Probabilities, (batch, classes)."""
        return torch.softmax(self.scores(sound, sound_length), 1)


def recorded(sort, place, chance):
    """A sound of 0.2 to 0.5 seconds as a WAV file; read your own files here."""
    rate_hz = RATES_HZ[place % 3]
    times = np.arange(int(chance.uniform(0.2, 0.5) * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * chance.uniform(200, 3_000) * times)
    sound = tone if sort == "tone" else chance.uniform(-1, 1, len(times))
    sound = 0.5 * sound + 0.002 * chance.standard_normal(len(times))
    sink = io.BytesIO()
    soundfile.write(sink, sound.clip(-1, 1), rate_hz, format="WAV")
    return sink.getvalue()


def pipeline():
    """Train, and declare what is to be sealed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that two exports sum in the same order
    chance = np.random.default_rng(0)
    sorts = [CLASSES[place % 2] for place in range(160)]
    samples = [
        st.Sample({"sound": recorded(sort, place, chance)}, truth={"sort": sort})
        for place, sort in enumerate(sorts)
    ]
    held_out, learnt = samples[:40], samples[40:]
    net = Net().eval()
    declared = st.Pipeline(
        name="model-name",
        version="1.0.0",
        inputs=Recording,
        outputs=Heard,
        model=net,
        golden=learnt[:24],
        held_out=held_out,
        refused=[st.Refused({"sound": b"no sound"}, "E_AUDIO_FORMAT")],
        reference=[sample.row for sample in learnt],
    )
    train(net, declared.encode([sample.row for sample in learnt]), targets(learnt))
    answers = declared.call(declared.encode([sample.row for sample in held_out]))["sort"]
    accuracy = (answers.argmax(1) == targets(held_out)).float().mean()
    print(f"accuracy {accuracy:.3f} on {len(held_out)} recordings not trained on")
    return declared


def targets(samples):
    """Class numbers, int64 (samples,)."""
    return torch.tensor([CLASSES.index(sample.truth["sort"]) for sample in samples])


def train(net, feeds, target, epochs=80):
    """A few steps over all sounds; write your own training here."""
    optimiser = torch.optim.Adam(net.parameters(), 3e-2)
    net.train()
    for _ in range(epochs):
        optimiser.zero_grad()
        F.cross_entropy(net.scores(**feeds), target).backward()
        optimiser.step()
    net.eval()
