"""Usual mistakes of newcomers: each message has a mend, which works when it is followed.

The text that a mend says to write is taken out of the message, and put in the place of the wrong
text. What was refused then is taken.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import seatrial as st
from seatrial_export.check_declared import check_declared

ALONE = {"fresh process": "the tests have no time for it"}
HOUSE = """
from typing import Annotated, Literal
import numpy as np
import torch
from pydantic import BaseModel
from torch import nn, Tensor
import seatrial as st

class House(st.Row):
    size: Annotated[float, st.Number(ge=0, le=500)]
    town: Literal["Oslo", "Bergen"]

class Price(st.Answer):
    price: float

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.town, self.head = nn.Embedding(2, 3), nn.Linear(4, 1)

    def forward(self, size: Tensor, town: Tensor):
        price = self.head(torch.cat([size[:, None], self.town(town)], 1))[:, 0]
        return price

WEIGHTS = Model().state_dict()
MODEL = Model().eval()
ROW = {"size": 50.0, "town": "Oslo"}
pipeline = st.Pipeline(
    name="house", version="1.0.0", inputs=House, outputs=Price, model=Model().eval(),
    golden=[ROW, {"size": 80.0, "town": "Bergen"}],
)
"""
PAIR = """
import numpy as np
import torch
from typing import Annotated, Literal
from torch import nn, Tensor
import seatrial as st

class Prepare(nn.Module):
    def forward(self, a: Tensor, b: Tensor):
        x = torch.stack([a, b]).double()
        return {"x": x}

class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor):
        return self.head(x).softmax(-1)

NAMES = ["small", "large"]

class Pair(st.Row):
    a: float
    b: float

class Sort(st.Answer):
    sort: Annotated[str, st.Label("small", "large")]

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, a: Tensor, b: Tensor):
        sort = self.head(torch.stack([a, b], -1)).softmax(-1)
        return sort

pipeline = st.Pipeline(
    name="pair", version="1.0.0", inputs=Pair, outputs=Sort, model=Model().eval(),
    golden=[{"a": 0.5, "b": 2.0}, {"a": 1.5, "b": -1.0}],
)
"""


class Mistake(NamedTuple):
    """A pipeline file with a mistake, and its mend."""

    name: str
    right: str
    wrong: str
    """What stands in the place of `right`."""
    said: str
    """Where, got and want, as the message begins."""
    mend: str
    """The text of the message that is to be written."""
    at: str
    """What it is written in the place of."""
    new: str = ""
    """What is written, where the mend has names such as ROW or x to be filled in."""
    file: str = HOUSE
    sealed: bool = False
    """Does the gate find it, so that the whole gate must pass once it is mended?"""


MISTAKES = [
    Mistake(
        "version=1", 'version="1.0.0"', "version=1",
        "pipeline version: got 1, want three numbers, as text", 'version="1.0.0"', "version=1",
    ),
    Mistake(
        "a version of two numbers", 'version="1.0.0"', 'version="v1.2"',
        "pipeline version: got 'v1.2', want three numbers", 'version="1.2.0"', 'version="v1.2"',
    ),
    Mistake(
        "a name with a space", 'name="house"', 'name="My House"',
        "pipeline name: got 'My House', want letters, digits,", 'name="My-House"',
        'name="My House"',
    ),
    Mistake(
        "st.Number(min=0)", "ge=0,", "min=0,",
        "st.Number: got an option 'min', want one of description, dtype, ge, le", "ge=0", "min=0",
    ),
    Mistake(
        "ge above le", "ge=0, le=500", "ge=500, le=0",
        "House.size: st.Number: got a number from 500 to 0, want bounds", "ge=0, le=500",
        "ge=500, le=0",
    ),
    Mistake(
        "a misspelt argument", "golden=", "goldens=",
        "got TypeError: Pipeline.__init__() got an unexpected keyword argument 'goldens', want",
        "golden=", "goldens=",
    ),
    Mistake(
        "no golden rows", '    golden=[ROW, {"size": 80.0, "town": "Bergen"}],', "    #",
        "pipeline golden: got 0 rows, want at least two raw rows", "golden=[ROW, ROW]", "#",
        "golden=[ROW, ROW],",
    ),
    Mistake(
        "one golden row without a list", 'golden=[ROW, {"size": 80.0, "town": "Bergen"}]',
        "golden=ROW", "pipeline golden: got one row, want at least two raw rows",
        "golden=[ROW, ROW]", "golden=ROW",
    ),
    Mistake(
        "a generator for golden rows", 'golden=[ROW, {"size": 80.0, "town": "Bergen"}]',
        "golden=(row for row in (ROW, ROW))",
        "pipeline golden: got a generator, want at least two raw rows", "golden=list(ROWS)",
        "golden=(row for row in (ROW, ROW))", "golden=list(row for row in (ROW, ROW))",
    ),
    Mistake(
        "a golden row with a wrong key", '{"size": 80.0,', '{"sise": 80.0,',
        "pipeline golden, row 1: got the key 'sise', want an object with size, town",
        "did you mean 'size'?", '"sise"', "'size'",
    ),
    Mistake(
        "a golden row with a word in other letters", '"Bergen"}', '"bergen"}',
        "pipeline golden, input 'town', row 1: got 'bergen', want one of 'Oslo', 'Bergen'",
        "did you mean 'Bergen'?", '"bergen"', "'Bergen'",
    ),
    Mistake(
        "a class for a model", "model=Model().eval()", "model=Model",
        "pipeline model: got a type, want a torch.nn.Module", "model=Model(...).eval()",
        "model=Model,", "model=Model().eval(),",
    ),
    Mistake(
        "weights for a model", "model=Model().eval()", "model=WEIGHTS",
        "pipeline model: got a OrderedDict, want a torch.nn.Module", "model=MODEL", "model=WEIGHTS",
    ),
    Mistake(
        "a row for its class", "inputs=House", 'inputs=House(size=1.0, town="Oslo")',
        "inputs: got House(size=1.0, town='Oslo'), want a class derived from st.Row",
        "inputs=House", 'inputs=House(size=1.0, town="Oslo")',
    ),
    Mistake(
        "a model of Pydantic's for rows", "class House(st.Row)", "class House(BaseModel)",
        "want a class derived from st.Row with at least one field", "class House(st.Row)",
        "class House(BaseModel)",
    ),
    Mistake(
        "a str for a category", 'town: Literal["Oslo", "Bergen"]', "town: str",
        "House.town: got <class 'str'>, want a type or a kind", 'Literal["a", "b"]', "town: str",
        'town: Literal["Oslo", "Bergen"]',
    ),
    Mistake(
        "train mode", "model=Model().eval()", "model=Model()",
        "export gate, training mode: in training mode: model", "model.eval()", "Model(),",
        "Model().eval(),",
    ),
    Mistake(
        "a side of one too many", "1))[:, 0]", "1))",
        "model.forward, output 'price': got float32 of shape (3, 1) for 3 rows, want FP32",
        "return price[..., 0]", "return price", sealed=True,
    ),
    Mistake(
        "a tuple", "return price", "answer = price, price\n        return answer",
        "model.forward: got it returned a tuple of 2, want tensors for price: one",
        "return answer[0]", "return answer",
    ),
    Mistake(
        "a dict of other keys", "return price",
        'answer = {"prediction": price}\n        return answer',
        "model.forward: got it returned a dict of 'prediction', want tensors for price",
        'return {"price": answer["prediction"]}', "return answer",
    ),
    Mistake(
        "numpy for an answer", "return price", "return price.detach().numpy()",
        "model.forward: got it returned a ndarray, want tensors for price",
        "return the tensor itself, without .numpy()", "return price.detach().numpy()",
        "return price",
    ),
    Mistake(
        "numpy in forward", "        price =",
        "        size = torch.from_numpy(np.log1p(size.numpy()))\n        price =",
        "export gate, torch.export: forward leaves torch for numpy", "torch.log1p(x)",
        "torch.from_numpy(np.log1p(size.numpy()))", "torch.log1p(size)", sealed=True,
    ),
    Mistake(
        "a branch on data", "        price =",
        "        if size.sum() > 100:\n            size = size * 2\n        price =",
        "export gate, row in batch: a row's answer depends on the other rows",
        "torch.where(x > 1, a, b)", "if size.sum() > 100:\n            size = size * 2",
        "size = torch.where(size > 100, size * 2, size)", sealed=True,
    ),
    Mistake(
        "names of forward that are no fields", "size: Tensor, town: Tensor",
        "area: Tensor, place: Tensor",
        "model.forward: got parameters area, place, want forward(self, size, town)",
        "forward(self, **fields)", "forward(self, area: Tensor, place: Tensor):",
        'forward(self, **fields):\n        size, town = fields["size"], fields["town"]',
        sealed=True,
    ),
    Mistake(
        "float64 from prepare", "model=Model().eval(),",
        "model=Double().eval(), prepare=Prepare().eval(),",
        "export gate, two runs: RuntimeError: mat1 and mat2 must have the same dtype, but got",
        "return x.float() in prepare", 'return {"x": x}', 'return {"x": x.float()}', file=PAIR,
        sealed=True,
    ),
    Mistake(
        "one tensor of all numbers",
        "a: Tensor, b: Tensor):\n        sort = self.head(torch.stack([a, b], -1))",
        "x: Tensor):\n        sort = self.head(x)",
        "model.forward: got parameters x, want forward(self, a, b)",
        'class Pair(st.Row, packed="x")', "class Pair(st.Row)", file=PAIR, sealed=True,
    ),
    Mistake(
        "one sigmoid for two classes", ".softmax(-1)", ".sigmoid()[:, :1]",
        "model.forward, output 'sort': got float32 of shape (3, 1) for 3 rows, want FP32 of shape "
        "(rows, 2)",
        "return torch.cat([1 - sort, sort], -1)", "return sort", file=PAIR, sealed=True,
    ),
    Mistake(
        "the number of a class for its scores", "return sort", "return sort.argmax(-1)",
        "model.forward, output 'sort': got int64 of shape (3,) for 3 rows, want FP32 of shape "
        "(rows, 2)",
        "without argmax", "return sort.argmax(-1)", "return sort", file=PAIR,
    ),
    Mistake(
        "more classes than scores", '"small", "large")', '"small", "middle", "large")',
        "model.forward, output 'sort': got float32 of shape (3, 2) for 3 rows, want FP32 of shape "
        "(rows, 3)",
        "name 2 classes in the answer class", '"small", "middle", "large"', '"small", "large"',
        file=PAIR,
    ),
    Mistake(
        "a list of classes", 'st.Label("small", "large")', "st.Label(NAMES)",
        "st.Label: got a list of classes, want each class by itself", "st.Label(*NAMES)",
        "st.Label(NAMES)", file=PAIR,
    ),
    Mistake(
        "a str for a label", 'sort: Annotated[str, st.Label("small", "large")]', "sort: str",
        "Sort.sort: got <class 'str'>, want a type or a kind that can be an output",
        'Annotated[str, st.Label("a", "b")]', "sort: str",
        'sort: Annotated[str, st.Label("a", "b")]', file=PAIR,
    ),
]  # fmt: skip


PLACES = itertools.count()


def loaded(text: str, folder: Path) -> st.Pipeline:
    file = folder / f"house_{next(PLACES)}.py"
    file.write_text(text)
    return replace(st.load_pipeline(f"{file}:pipeline"), waive=ALONE)


def tried(text: str, folder: Path, *, sealed: bool) -> None:
    """Declare the model, and answer its golden rows; seal it where `sealed`."""
    pipeline = loaded(text, folder)
    if sealed:
        st.export(pipeline, folder / "bundles", force=True)
        return
    check_declared(pipeline)
    assert not any(module.training for module in pipeline.model.modules())
    for answer in pipeline.answer([each.row for each in pipeline.golden_samples]):
        assert all(np.isfinite(value).all() for value in answer.values())


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.name)
def test_a_mistake_in_a_pipeline_is_named_with_the_mend_that_mends_it(
    mistake: Mistake, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    assert mistake.right in mistake.file
    wrong = mistake.file.replace(mistake.right, mistake.wrong)
    with pytest.raises(st.SeatrialError) as refused:
        st.export(loaded(wrong, tmp_path), tmp_path / "wrong")
    said = str(refused.value)
    assert mistake.said in said
    assert mistake.mend in said.partition(mistake.said)[2]
    assert mistake.at in wrong
    mended = wrong.replace(mistake.at, mistake.new or mistake.mend)
    tried(mended, tmp_path, sealed=mistake.sealed)
