"""A pipeline file of tokens and classes, as a user writes it; VARIANTS stands for more options."""

from __future__ import annotations

FILE = (
    '''
"""A pipeline as a user writes it: tokens to two classes."""
import torch
from torch import nn
import numpy as np
import seatrial as st

class Row(st.Row):
    x: st.Tensor[np.float32, 1:40, 32]

class Answer(st.Answer):
    kind: st.Label("a", "b", "c")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 3)

    def forward(self, x):
        hidden = torch.relu(self.second(torch.relu(self.first(x))))
        return torch.softmax(self.last(hidden.mean(1)), 1)

torch.manual_seed(0)
torch.set_num_threads(1)
rows = [{"x": torch.randn(2 + i % 9, 32).numpy()} for i in range(60)]
pipeline = st.Pipeline(
    name="tokens", version="1.0.0", inputs=Row, outputs=Answer, model=Net().eval(),
    golden=rows[:20], held_out=[
        st.Sample(row, truth={"kind": "a"}, slices=("short" if len(row["x"]) < 5 else "long",))
        for row in rows[20:50]
    ], reference=rows, VARIANTS
)
'''.replace("    kind: st.Label", "    kind: Annotated[str, st.Label")
    .replace('"c")\n', '"c")]\n')
    .replace("import torch\n", "from typing import Annotated\nimport torch\n", 1)
)
