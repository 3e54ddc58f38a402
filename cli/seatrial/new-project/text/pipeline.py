"""model-name: tells praise from complaint, trained on sentences that it makes.

Seal it:  seatrial export pipeline.py:pipeline
"""

import random
from typing import Annotated

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional as F

import seatrial as st

CLASSES = ("complaint", "praise")
THINGS = ("delivery", "support", "price", "quality", "screen", "battery", "manual", "box")
GOOD = ("great", "fast", "friendly", "excellent", "fair", "reliable")
BAD = ("broken", "slow", "rude", "terrible", "wrong", "useless")
ENDS = ("", " Thank you.", " I will tell my friends.", " That is all.")


def sentences(count):
    """So many sentences and their classes; put your own in here."""
    chance = random.Random(0)
    made = []
    for place in range(count):
        word = chance.choice(GOOD if place % 2 else BAD)
        text = f"The {chance.choice(THINGS)} was {word}.{chance.choice(ENDS)}"
        made.append((text, CLASSES[place % 2]))
    return made


def word_tokenizer(texts):
    """A tokenizer of the words that the texts hold; a file of your own does as well."""
    split = pre_tokenizers.BertPreTokenizer()
    lower = normalizers.BertNormalizer(lowercase=True)
    words = {w for text in texts for w, _ in split.pre_tokenize_str(lower.normalize_str(text))}
    known = {word: place for place, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *sorted(words)])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = lower, split
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made.to_str().encode()


class Net(nn.Module):
    """The mean of a sentence's words, and a head."""

    def __init__(self, words):
        super().__init__()
        self.words = nn.Embedding(words, 16)
        self.head = nn.Linear(16, len(CLASSES))

    def scores(self, text_ids, text_mask):
        """int64 (batch, tokens), twice -> (batch, classes). Padding has a mask of 0."""
        mask = text_mask.unsqueeze(2).to(torch.float32)
        mean = (self.words(text_ids) * mask).sum(1) / mask.sum(1)
        return self.head(mean)

    def forward(self, text_ids, text_mask):
        """Probabilities, (batch, classes)."""
        return torch.softmax(self.scores(text_ids, text_mask), 1)


def pipeline():
    """Train, and declare what is to be sealed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that two exports sum in the same order
    samples = [st.Sample({"text": t}, truth={"mood": mood}) for t, mood in sentences(300)]
    held_out, learnt = samples[:60], samples[60:]
    tokenizer = word_tokenizer([sample.row["text"] for sample in learnt])

    class Message(st.Row):
        """What a client sends."""

        text: Annotated[str, st.Text(tokenizer=tokenizer, max_chars=2_000, max_tokens=128)]

    class Mood(st.Answer):
        """What it is answered with."""

        mood: Annotated[str, st.Label(*CLASSES)]

    net = Net(Tokenizer.from_str(tokenizer.decode()).get_vocab_size()).eval()
    declared = st.Pipeline(
        name="model-name",
        version="1.0.0",
        inputs=Message,
        outputs=Mood,
        model=net,
        golden=[*learnt[:30], {"text": "unheard-of words"}],
        held_out=held_out,
        refused=[st.Refused({"text": "x" * 2_001}, "E_TEXT_LIMIT")],
        reference=[sample.row for sample in learnt],
    )
    train(declared, learnt)
    answers = [declared.call(declared.encode([sample.row]))["mood"][0] for sample in held_out]
    right = sum(
        CLASSES[int(answer.argmax())] == sample.truth["mood"]
        for answer, sample in zip(answers, held_out, strict=True)
    )
    print(f"accuracy {right / len(held_out):.3f} on {len(held_out)} sentences not trained on")
    return declared


def train(declared, learnt, epochs=10):
    """A few steps; write your own training here."""
    optimiser = torch.optim.Adam(declared.model.parameters(), 2e-2)
    feeds = [declared.encode([sample.row]) for sample in learnt]
    wanted = [torch.tensor([CLASSES.index(sample.truth["mood"])]) for sample in learnt]
    declared.model.train()
    for _ in range(epochs):
        optimiser.zero_grad()
        for feed, target in zip(feeds, wanted, strict=True):
            (F.cross_entropy(declared.model.scores(**feed), target) / len(feeds)).backward()
        optimiser.step()
    declared.model.eval()
