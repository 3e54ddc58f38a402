"""Bounded decoding within a model: greedy, step by step, and greedy CTC.

Both are operations of torch that export for every batch size. The loop of steps is one loop in the
graph, so the graph and the time of its export do not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seatrial_contracts.errors import DeclarationError

State = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, State], tuple[Tensor, State]]
"""Last tokens int64 `(batch,)`, their place int64 `()`, and a state, to scores and the next state.

Scores are `(batch, vocabulary)`. A state is tensors whose types and shapes stay as they are.
"""


def greedy_decode(
    step: Step, state: State, *, rows: int, start: int, end: int, most: int
) -> tuple[Tensor, Tensor]:
    """Decode the tokens with the highest scores, up to `end` or `most` of them.

    `rows` is the batch size. Returned are the tokens, int64 `(batch, most)`, `end` behind the last
    one, and how many of each row come before its `end`, int64 `(batch,)`. The loop ends when every
    row has its `end`; a row's tokens do not depend on the other rows. Where the model is exported,
    `step` is traced once. In plain PyTorch it runs in a Python loop.

    Raises `DeclarationError` for `most` below 1.
    """
    if most < 1:
        raise DeclarationError("st.greedy_decode, most", str(most), "at least 1")
    device = state[0].device if state else None
    tokens = torch.full((rows, most), end, dtype=torch.int64, device=device)
    last = torch.full((rows,), start, dtype=torch.int64, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    place = torch.zeros((), dtype=torch.int64, device=device)
    going = torch.ones((), dtype=torch.bool, device=device)
    places = torch.arange(most, device=device)

    def goes_on(place: Tensor, going: Tensor, *_: Tensor) -> Tensor:
        return going & (place < most)

    def one_more(place: Tensor, _: Tensor, *carried: Tensor) -> State:
        tokens, last, ended, *held = carried
        scores, after = step(last, place, tuple(held))
        chosen = torch.where(ended, end, scores.argmax(-1))
        written = torch.where(places == place, chosen[:, None], tokens)
        over = ended | (chosen == end)
        return (place + 1, ~over.all(), written, chosen, over, *after)

    carried = (place, going, tokens, last, ended, *(each.clone() for each in state))
    _, _, tokens, *_ = looped(goes_on, one_more, carried)
    return tokens, (tokens != end).sum(1)


def looped(goes_on: Callable[..., Tensor], body: Callable[..., State], carried: State) -> State:
    """Run the body while the condition holds: in Python, or as one loop of an exported graph."""
    if torch.compiler.is_exporting():
        loop: Any = torch.while_loop
        made: State = loop(goes_on, body, carried)
        return made
    while bool(goes_on(*carried)):
        carried = body(*carried)
    return carried


def ctc_greedy_decode(
    scores: Tensor, lengths: Tensor | None = None, *, blank: int = 0
) -> tuple[Tensor, Tensor]:
    """Decode CTC scores: the best token of each frame, repeats collapsed, blanks dropped.

    `scores` are `(batch, frames, vocabulary)`; `lengths`, int64 `(batch,)`, says how many frames of
    each row count. Returned are the tokens, int64 `(batch, frames)`, `blank` behind the last one,
    and how many there are, int64 `(batch,)`. Graves et al., Connectionist temporal classification
    (2006), best path decoding.
    """
    best = scores.argmax(-1)
    frames = best.shape[1]
    places = torch.arange(frames, device=best.device)
    before = best.index_select(1, (places - 1).clamp(min=0))
    kept = ((best != before) | (places == 0)) & (best != blank)
    if lengths is not None:
        kept = kept & (places < lengths[:, None])
    count = kept.sum(1)
    # What is dropped goes behind the last frame, where it is cut off.
    target = torch.where(kept, kept.cumsum(1) - 1, frames)
    room = best.new_full((best.shape[0], frames + 1), blank)
    return room.scatter(1, target, best)[:, :frames], count
