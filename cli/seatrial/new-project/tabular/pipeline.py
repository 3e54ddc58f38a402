"""model-name: trained on train.csv. The contract is in rows.py: write bounds and units there.

Seal it:  seatrial export pipeline.py:pipeline
"""

from pathlib import Path

import pandas as pd
import torch
from rows import Answer, Row
from torch import nn
from torch.nn import functional as F

import seatrial as st

TABLE = Path(__file__).with_name("train.csv")
TARGET = "left"
ANSWER = "left"
SENT = ("plan", "age_days", "spent", "active")
NUMBERS = ("age_days", "spent", "active")
TIMES = ()  #: time
WIDTH = 3
WORDS = {"plan": 4}
CLASSES = ("no", "yes")


class Net(nn.Module):
    """Impute, scale, embed: all of it is in the graph, so that nothing is written twice."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("std", torch.ones(WIDTH))
        # One more than there are words: a missing one has a code of its own.
        self.words = nn.ModuleList(nn.Embedding(n, 4) for n in WORDS.values())
        outputs = max(1, len(CLASSES))
        width = 2 * WIDTH + 4 * len(WORDS)
        self.body = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, outputs))

    def numbers(self, fields):
        """float32 (batch, WIDTH), NaN where a value is missing."""
        columns = []
        for name in NUMBERS:
            column = fields[name]
            if name in TIMES:  #: time
                column = column // 3_600_000_000  # hours: float32 holds no microseconds  #: time
            column = column.to(torch.float32)
            if f"{name}_present" in fields:  # a flag or date that may be missing
                column = torch.where(fields[f"{name}_present"], column, torch.nan)
            columns.append(column if column.ndim == 2 else column[:, None])
        return torch.cat(columns, 1)

    def fit(self, fields):
        """Take the mean and the spread of what it is trained on."""
        values = self.numbers(fields)
        self.mean.copy_(values.nanmean(0).nan_to_num(0.0))
        self.std.copy_((values - self.mean).square().nanmean(0).nan_to_num(0.0).sqrt().clamp(1e-6))

    def scores(self, **fields):
        """(batch, classes) before the softmax."""  #: label
        """(batch, 1) in the unit of the target."""  #: number
        parts = [embed(fields[name]) for embed, name in zip(self.words, WORDS, strict=True)]
        if NUMBERS:
            values = self.numbers(fields)
            missing = values.isnan()
            scaled = torch.where(missing, torch.zeros_like(values), (values - self.mean) / self.std)
            parts += [scaled, missing.to(torch.float32)]
        return self.body(torch.cat(parts, 1))

    def forward(self, **fields):
        """Probabilities, (batch, classes)."""  #: label
        """One number for each row, (batch,)."""  #: number
        return torch.softmax(self.scores(**fields), 1)  #: label
        return self.scores(**fields)[:, 0]  #: number


def pipeline():
    """Train on four fifths of the table, and declare what is to be sealed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that two exports sum in the same order
    table = pd.read_csv(TABLE).dropna(subset=[TARGET]).sample(frac=1, random_state=0)
    known = table[TARGET].astype(str).tolist()  #: label
    known = table[TARGET].astype(float).tolist()  #: number
    rows = st.rows_of_frame(table[[*SENT]])
    samples = [
        st.Sample(row, truth={ANSWER: truth}) for row, truth in zip(rows, known, strict=True)
    ]
    held_out, learnt = samples[: len(samples) // 5], samples[len(samples) // 5 :]
    net = Net().eval()
    declared = st.Pipeline(
        name="model-name",
        version="1.0.0",
        inputs=Row,
        outputs=Answer,
        model=net,
        golden=learnt[:40],
        held_out=held_out,
        refused=[st.Refused({**rows[0], "no_such_field": 1}, "E_UNKNOWN_FIELD")],
        reference=[sample.row for sample in learnt],
    )
    train(net, declared.encode([sample.row for sample in learnt]), targets(learnt))
    test(declared, held_out)
    return declared


def targets(samples):
    """Class numbers, int64 (samples,)."""  #: label
    """The values to be learnt, float32 (samples,)."""  #: number
    return torch.tensor([CLASSES.index(sample.truth[ANSWER]) for sample in samples])  #: label
    return torch.tensor([sample.truth[ANSWER] for sample in samples])  #: number


def train(net, feeds, target, epochs=100):
    """A few steps over the whole table; write your own training here."""
    net.fit(feeds)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    net.train()
    for _ in range(epochs):
        optimiser.zero_grad()
        F.cross_entropy(net.scores(**feeds), target).backward()  #: label
        F.mse_loss(net.scores(**feeds)[:, 0], target).backward()  #: number
        optimiser.step()
    net.eval()


def test(declared, held_out):
    """Say how good it is on rows that it was not trained on."""
    answers = declared.call(declared.encode([sample.row for sample in held_out]))[ANSWER]
    accuracy = (answers.argmax(1) == targets(held_out)).float().mean()  #: label
    print(f"accuracy {accuracy:.3f} on {len(held_out)} rows not trained on")  #: label
    error = (answers - targets(held_out)).abs().mean()  #: number
    print(f"mean absolute error {error:.4g} on {len(held_out)} rows not trained on")  #: number
