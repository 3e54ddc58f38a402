"""Things that only `things.py` tries: files, states, loops, fields of every kind, hub folders."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import soundfile
import torch
from click.testing import CliRunner
from PIL import Image as Pillow
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional

import seatrial as st
from seatrial.main import cli

F32 = np.float32
Rows = list[dict[str, Any]]
Judge = Callable[[Mapping[str, Any]], dict[str, Any]]


class Said(Exception):
    """What the command printed before it ended with an error."""


class Made(NamedTuple):
    """A bundle, rows that it has not seen, and what the thing's own library answers to one."""

    bundle: Path
    rows: Rows
    judge: Judge


THINGS: dict[str, Callable[[Path], Made]] = {}


def thing(name: str) -> Callable[[Callable[[Path], Made]], Callable[[Path], Made]]:
    """Put a maker among the things."""

    def put(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        def seeded(folder: Path) -> Made:
            torch.manual_seed(0)
            return make(folder)

        THINGS[name] = seeded
        return make

    return put


def command(*words: Any) -> None:
    """Run `seatrial WORDS`; an error that it prints is a `Said`, any other one is raised."""
    ran = CliRunner().invoke(cli, [str(word) for word in words])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    if ran.exit_code:
        raise Said(ran.output[-600:])


def only(folder: Path) -> Path:
    """The one bundle in a folder."""
    [manifest] = folder.rglob("manifest.json")
    return manifest.parent


def seal(folder: Path, inputs: Any, outputs: Any, model: Any, golden: Rows) -> Path:
    """By the API, with nothing but what has to be said."""
    pipeline = st.Pipeline(
        name="thing", version="1.0.0", inputs=inputs, outputs=outputs, model=model, golden=golden
    )
    return st.export(pipeline, folder / "bundles").path


def of_module(model: nn.Module, *names: str, **feeds: Callable[[Any], Any]) -> Judge:
    """The module's own answer to a row, `feeds` making a tensor of each field's value."""

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: torch.as_tensor(feed(row[name]))[None] for name, feed in feeds.items()}
        with torch.no_grad():
            made = model(**given)
        made = made if isinstance(made, dict) else {names[0]: made}
        return {name: made[name][0].numpy() for name in made}

    return judge


def f32(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value, F32)


def i64(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value, np.int64)


def drawn(count: int, draw: Callable[[np.random.Generator], dict[str, Any]], seed: int = 0) -> Rows:
    chance = np.random.default_rng(seed)
    return [draw(chance) for _ in range(count)]


def both(draw: Callable[[np.random.Generator], dict[str, Any]]) -> tuple[Rows, Rows]:
    """Golden rows, and others."""
    made = drawn(18, draw)
    return made[:6], made[6:]


# Files, as other tools leave them.

ROWS_FILE = """import numpy as np
import seatrial as st


class Eight(st.Row):
    x: st.Tensor[np.float32, 8]


class Scores(st.Answer):
    y: st.Tensor[np.float32, 3]
"""


class Eight(st.Row):
    x: st.Tensor[np.float32, 8]


class Scores(st.Answer):
    y: st.Tensor[np.float32, 3]


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 3)
    ).eval()


def eight(chance: np.random.Generator) -> dict[str, Any]:
    return {"x": chance.standard_normal(8).astype(F32).tolist()}


def adopted(folder: Path, file: Path, model: nn.Module) -> Made:
    """A file by `seatrial adopt`, beside the module that it was saved from."""
    golden, others = both(eight)
    (folder / "rows.py").write_text(ROWS_FILE)
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in golden))
    command(
        *("adopt", file, "--contract", f"{folder}/rows.py:Eight"),
        *("--golden", folder / "rows.jsonl", "--out", folder / "bundles"),
    )
    return Made(only(folder / "bundles"), others, of_eight(model))


def of_eight(model: nn.Module) -> Judge:
    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            return {"y": model(torch.tensor([row["x"]]))[0].numpy()}

    return judge


@thing("file, TorchScript scripted")
def scripted_file(folder: Path) -> Made:
    model = net()
    torch.jit.script(model).save(str(folder / "net.ts"))
    return adopted(folder, folder / "net.ts", model)


@thing("file, TorchScript traced at one row")
def traced_file(folder: Path) -> Made:
    model = net()
    torch.jit.trace(model, torch.zeros(1, 8)).save(str(folder / "net.pt"))
    return adopted(folder, folder / "net.pt", model)


@thing("file, .pt2 of torch.export")
def program_file(folder: Path) -> Made:
    model = net()
    batch = {0: torch.export.Dim("batch")}
    torch.export.save(
        torch.export.export(model, (torch.zeros(2, 8),), dynamic_shapes=(batch,)),
        folder / "net.pt2",
    )
    return adopted(folder, folder / "net.pt2", model)


@thing("file, ONNX of torch with weights beside it")
def onnx_file(folder: Path) -> Made:
    model, batch = net(), {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model,
        (torch.zeros(2, 8),),
        folder / "net.onnx",
        dynamic_shapes=(batch,),
        external_data=True,
        verbose=False,
    )
    assert (folder / "net.onnx.data").exists()
    return adopted(folder, folder / "net.onnx", model)


@thing("file, ONNX of torch as by default, of one row")
def onnx_one_file(folder: Path) -> Made:
    model = net()
    torch.onnx.export(model, (torch.zeros(1, 8),), folder / "net.onnx", verbose=False)
    return adopted(folder, folder / "net.onnx", model)


@thing("file, ONNX of skl2onnx")
def skl2onnx_file(folder: Path) -> Made:
    import skl2onnx
    from sklearn.ensemble import RandomForestClassifier

    chance = np.random.default_rng(0)
    x = chance.standard_normal((200, 8)).astype(F32)
    forest = RandomForestClassifier(10, random_state=0).fit(x, (x[:, 0] > x[:, 1] ** 2).astype(int))
    file = folder / "forest.onnx"
    file.write_bytes(skl2onnx.to_onnx(forest, x[:1]).SerializeToString())

    class Worth(st.Answer):
        worth: Annotated[str, st.Label("0", "1")]

    golden, others = both(eight)
    adoption = st.Adoption.of_onnx(
        file, name="forest", version="1.0.0", inputs=Eight, outputs=Worth, golden=golden
    )
    bundle = st.adopt_model(adoption, folder / "bundles").path
    return Made(
        bundle, others, lambda row: {"worth": f32(forest.predict_proba(f32([row["x"]]))[0])}
    )


@thing("file, .ortpackage written and read")
def package_file(folder: Path) -> Made:
    model = net()
    golden, others = both(eight)
    bundle = seal(folder, Eight, Scores, model, golden)
    command("ortpackage", bundle, "--out", folder / "net.ortpackage")
    command("adopt", folder / "net.ortpackage", "--out", folder / "again")
    return Made(only(folder / "again"), others, of_eight(model))


PIPELINE_FILE = """from pathlib import Path

import torch
from torch import nn
from rows import Eight, Scores

import seatrial as st

HERE = Path(__file__).parent


def pipeline():
    net = nn.Sequential(
        nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 3)
    )
    net.load_state_dict(torch.load(HERE / "net.pth", map_location="cpu"))
    rows = [{"x": torch.randn(8, generator=torch.Generator().manual_seed(i)).tolist()}
            for i in range(6)]
    return st.Pipeline(name="net", version="1.0.0", inputs=Eight, outputs=Scores,
                       model=net.eval(), golden=rows)
"""


@thing("file, .pth of a state dict in a pipeline file")
def state_dict_file(folder: Path) -> Made:
    model = net()
    torch.save(model.state_dict(), folder / "net.pth")
    (folder / "rows.py").write_text(ROWS_FILE)
    (folder / "pipe.py").write_text(PIPELINE_FILE)
    command("export", f"{folder}/pipe.py:pipeline", "--out", folder / "bundles")
    return Made(only(folder / "bundles"), both(eight)[1], of_eight(model))


# Checkpoints whose forward is narrow.


@thing("checkpoint in float16")
def half(folder: Path) -> Made:
    model, (golden, others) = net(), both(eight)
    bundle = seal(folder, Eight, Scores, model.half(), golden)
    return Made(bundle, others, of_eight(model.float()))


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


@thing("checkpoint under autocast")
def autocast(folder: Path) -> Made:
    model, (golden, others) = Autocast().eval(), both(eight)
    bundle = seal(folder, Eight, Scores, model, golden)
    return Made(bundle, others, of_eight(model.net))


# States and loops.


class Step(st.Row):
    x: st.Tensor[np.float32, 3]
    hidden: st.Tensor[np.float32, 2, 5]


class Stepped(st.Answer):
    score: float
    hidden: st.Tensor[np.float32, 2, 5]


class Stepping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 5, 2, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        made, after = self.gru(x[:, None], hidden.transpose(0, 1).contiguous())
        return {"score": self.head(made[:, 0])[:, 0], "hidden": after.transpose(0, 1)}


@thing("state of a two-layer GRU in and out")
def gru_state(folder: Path) -> Made:
    model = Stepping().eval()
    golden, others = both(
        lambda chance: {
            "x": chance.standard_normal(3).astype(F32).tolist(),
            "hidden": chance.standard_normal((2, 5)).astype(F32).tolist(),
        }
    )
    bundle = seal(folder, Step, Stepped, model, golden)
    return Made(bundle, others, of_module(model, x=f32, hidden=f32))


class Cached(st.Row):
    token: Annotated[int, st.Number(ge=0, lt=20)]
    keys: st.Tensor[np.float32, st.Size("past", 0, 16), 8]
    values: st.Tensor[np.float32, st.Size("past", 0, 16), 8]


class Next(st.Answer):
    scores: st.Tensor[np.float32, 20]
    keys: st.Tensor[np.float32, None, 8]
    values: st.Tensor[np.float32, None, 8]


class CachedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.qkv, self.head = nn.Embedding(20, 8), nn.Linear(8, 24), nn.Linear(8, 20)

    def forward(self, token: Tensor, keys: Tensor, values: Tensor) -> dict[str, Tensor]:
        query, key, value = self.qkv(self.words(token)[:, None]).chunk(3, -1)
        keys, values = torch.cat([keys, key], 1), torch.cat([values, value], 1)
        seen = functional.scaled_dot_product_attention(query, keys, values)
        return {"scores": self.head(seen[:, 0]), "keys": keys, "values": values}


@thing("key and value cache that begins empty")
def cache(folder: Path) -> Made:
    model = CachedAttention().eval()

    def draw(chance: np.random.Generator) -> dict[str, Any]:
        past = int(chance.integers(0, 4))
        two = chance.standard_normal((2, past, 8)).astype(F32).tolist()
        return {"token": int(chance.integers(20)), "keys": two[0], "values": two[1]}

    golden, others = both(draw)
    golden[0] = {"token": 3, "keys": [], "values": []}
    bundle = seal(folder, Cached, Next, model, golden)
    wide = lambda value: f32(value).reshape(-1, 8)
    return Made(bundle, others, of_module(model, token=i64, keys=wide, values=wide))


class Translated(st.Answer):
    tokens: st.Tensor[np.int64, 10]
    count: int


class Translator(nn.Module):
    """An encoder, and a decoder with attention that is asked step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.letters = nn.Embedding(30, 12), nn.Embedding(12, 12)
        self.encoder = nn.GRU(12, 12, batch_first=True)
        self.cell, self.head = nn.GRUCell(24, 12), nn.Linear(12, 12)
        with torch.no_grad():
            self.head.weight *= 4

    def step(self, memory: Tensor, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        seen = ((memory @ hidden[:, :, None]).softmax(1) * memory).sum(1)
        hidden = self.cell(torch.cat([self.letters(token), seen], 1), hidden)
        return self.head(hidden), hidden

    def forward(self, words: Tensor) -> dict[str, Tensor]:
        memory, last = self.encoder(self.words(words))

        def step(token: Tensor, _: Tensor, state: Any) -> Any:
            scores, after = self.step(memory, token, state[0])
            return scores, (after,)

        tokens, count = st.greedy_decode(
            step, (last[0],), rows=words.shape[0], start=1, end=2, most=10
        )
        return {"tokens": tokens, "count": count}

    def plainly(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The loop that everybody writes."""
        made: list[int] = []
        with torch.no_grad():
            memory, last = self.encoder(self.words(torch.tensor([row["words"]])))
            token, hidden = torch.tensor([1]), last[0]
            while len(made) < 10:
                scores, hidden = self.step(memory, token, hidden)
                token = scores.argmax(1)
                if int(token) == 2:
                    break
                made.append(int(token))
        return {"tokens": i64(made + [2] * (10 - len(made))), "count": i64(len(made))}


@thing("seq2seq with a bounded greedy decode")
def translator(folder: Path) -> Made:
    from annotated_types import Interval

    words = st.Tensor[np.int64, 2:9, Interval(ge=0, lt=30)]
    inputs = type("Sentence", (st.Row,), {"__annotations__": {"words": words}})
    golden, others = both(
        lambda chance: {"words": chance.integers(0, 30, chance.integers(2, 9)).tolist()}
    )
    model = Translator().eval()
    return Made(seal(folder, inputs, Translated, model, golden), others, model.plainly)


class Frames(st.Row):
    frames: st.Tensor[np.float32, 2:30, 6]


class Heard(st.Answer):
    tokens: st.Tensor[np.int64, None]
    count: int


class Hearing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 5, 1))

    def scores(self, frames: Tensor) -> Tensor:
        made: Tensor = self.net(frames.transpose(1, 2)).transpose(1, 2)
        return made

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return st.ctc_greedy_decode(self.scores(frames))


@thing("speech frames with a greedy CTC decode")
def ctc(folder: Path) -> Made:
    model = Hearing().eval()

    def draw(chance: np.random.Generator) -> dict[str, Any]:
        return {"frames": (chance.standard_normal((chance.integers(2, 30), 6)) * 3).tolist()}

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            best = model.scores(torch.tensor([row["frames"]]))[0].argmax(1).tolist()
        kept = [t for place, t in enumerate(best) if t and (not place or t != best[place - 1])]
        return {"tokens": i64(kept + [0] * (len(best) - len(kept))), "count": i64(len(kept))}

    golden, others = both(draw)
    return Made(seal(folder, Frames, Heard, model, golden), others, judge)


class Paths(st.Row):
    x: Annotated[np.ndarray, st.Tensor(dims=((1, 20), 3), pad=0)]


class Score(st.Answer):
    score: float


class PackedPaths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x: Tensor, x_mask: Tensor) -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(
            x, x_mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        made: Tensor = self.head(self.gru(rows)[1][-1])[:, 0]
        return made


@thing("gru over packed sequences")
def packed_paths(folder: Path) -> Made:
    model = PackedPaths().eval()
    golden, others = both(
        lambda chance: {
            "x": chance.standard_normal((chance.integers(1, 20), 3)).astype(F32).tolist()
        }
    )

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            last = model.gru(torch.tensor([row["x"]]))[1][-1]
            return {"score": model.head(last)[0, 0].numpy()}

    return Made(seal(folder, Paths, Score, model, golden), others, judge)


# Rows of every kind.


class Delivery(st.Row):
    day: date
    ordered: datetime
    promised: timedelta | None


class Calendar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weekday, self.head = nn.Embedding(7, 4), nn.Linear(7, 1)

    def forward(
        self, day: Tensor, ordered: Tensor, promised: Tensor, promised_present: Tensor
    ) -> Tensor:
        hour = (ordered // 3_600_000_000 % 24).float() / 24
        days = promised.float() / 86_400e6
        numbers = torch.stack([hour, days, promised_present.float()], 1)
        made: Tensor = self.head(torch.cat([self.weekday((day + 3) % 7), numbers], 1))[:, 0]
        return made


@thing("dates, times and durations")
def dates(folder: Path) -> Made:
    model = Calendar().eval()
    begun = datetime(2024, 1, 1, tzinfo=UTC)

    def draw(chance: np.random.Generator) -> dict[str, Any]:
        return {
            "day": date(2024, 1, 1) + timedelta(days=int(chance.integers(900))),
            "ordered": begun + timedelta(minutes=int(chance.integers(900_000))),
            "promised": None
            if chance.random() < 0.3
            else timedelta(hours=int(chance.integers(99))),
        }

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        hour, length = row["ordered"].hour / 24, row["promised"]
        days = 0.0 if length is None else length.total_seconds() / 86_400
        numbers = torch.tensor([[hour, days, float(length is not None)]])
        word = model.weekday(torch.tensor([row["day"].weekday()]))
        with torch.no_grad():
            return {"score": model.head(torch.cat([word, numbers], 1))[0, 0].numpy()}

    golden, others = both(draw)
    return Made(seal(folder, Delivery, Score, model, golden), others, judge)


class Address(st.Row):
    zip: Annotated[int, st.Number(ge=0, le=9999)]
    zone: Literal["north", "south"]


class Line(st.Row):
    product: Literal["tea", "coffee", "milk"]
    price: Annotated[float, st.Number(ge=0, le=100)]


class Parcel(st.Row):
    address: Address
    lines: Annotated[list[Line], st.Items(max_items=8)]


class Parcels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.zone, self.product, self.head = nn.Embedding(2, 3), nn.Embedding(3, 3), nn.Linear(7, 1)

    def forward(
        self,
        address_zip: Tensor,
        address_zone: Tensor,
        lines_product: Tensor,
        lines_mask: Tensor,
        lines_price: Tensor,
    ) -> Tensor:
        each = self.product(lines_product) * (lines_price * lines_mask)[..., None]
        parts = [address_zip[:, None] / 9999, self.zone(address_zone), each.sum(1)]
        made: Tensor = self.head(torch.cat(parts, 1))[:, 0]
        return made


@thing("nested rows with a list of objects")
def nested(folder: Path) -> Made:
    model = Parcels().eval()

    def draw(chance: np.random.Generator) -> dict[str, Any]:
        return {
            "address": {
                "zip": int(chance.integers(9999)),
                "zone": str(chance.choice(["north", "south"])),
            },
            "lines": [
                {
                    "product": str(chance.choice(["tea", "coffee", "milk"])),
                    "price": float(F32(chance.uniform(0, 9))),
                }
                for _ in range(chance.integers(0, 6))
            ],
        }

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        places = {"tea": 0, "coffee": 1, "milk": 2}
        with torch.no_grad():
            lines = sum(
                (model.product.weight[places[e["product"]]] * e["price"] for e in row["lines"]),
                torch.zeros(3),
            )
            zone = model.zone.weight[int(row["address"]["zone"] == "south")]
            first = torch.tensor([row["address"]["zip"] / 9999])
            return {"score": model.head(torch.cat([first, zone, lines]))[0].numpy()}

    golden, others = both(draw)
    return Made(seal(folder, Parcel, Score, model, golden), others, judge)


def photo(chance: np.random.Generator, side: tuple[int, int] = (0, 0), form: str = "PNG") -> bytes:
    """A file of a picture with large shapes."""
    high, wide = side if side[0] else tuple(int(each) for each in chance.integers(24, 60, 2))
    small = chance.integers(0, 255, (4, 4, 3), np.uint8)
    held = io.BytesIO()
    Pillow.fromarray(small).resize((wide, high), Pillow.Resampling.BICUBIC).save(held, form)
    return held.getvalue()


def pixels(data: bytes, side: int) -> Tensor:
    """As torchvision's usual way of reading has it."""
    read = Pillow.open(io.BytesIO(data)).convert("RGB")
    sized = read.resize((side, side), Pillow.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(sized).copy())


def cnn(out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, out),
    )


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(size_px=(32, 32))]


class Animal(st.Answer):
    animal: Annotated[str, st.Label("cat", "dog", "ship")]


class Photos(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = cnn(3)

    def forward(self, photo: Tensor) -> Tensor:
        made: Tensor = self.net(photo.permute(0, 3, 1, 2).float() / 255).softmax(1)
        return made


def of_photos(folder: Path, outputs: Any, model: nn.Module, form: str, *names: str) -> Made:
    golden, others = both(lambda chance: {"photo": photo(chance, form=form)})
    return Made(
        seal(folder, Photo, outputs, model, golden),
        others,
        of_module(model, *names, photo=functools.partial(pixels, side=32)),
    )


@thing("pictures as JPEG files, a class")
def jpegs(folder: Path) -> Made:
    return of_photos(folder, Animal, Photos().eval(), "JPEG", "animal")


class Album(st.Row):
    photos: Annotated[
        list[Annotated[bytes, st.Image(size_px=(24, 24))]], st.Items(min_items=1, max_items=4)
    ]


class Albums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = cnn(4)
        self.head = nn.Linear(4, 1)

    def forward(self, photos: Tensor, photos_mask: Tensor) -> Tensor:
        each = self.net(photos.flatten(0, 1).permute(0, 3, 1, 2).float() / 255)
        each = each.reshape(photos.shape[0], photos.shape[1], 4) * photos_mask[..., None]
        made: Tensor = self.head(each.sum(1) / photos_mask.sum(1, keepdim=True))[:, 0]
        return made


@thing("lists of pictures, their mean")
def albums(folder: Path) -> Made:
    model = Albums().eval()

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        each = torch.stack([pixels(one, 24) for one in row["photos"]])
        with torch.no_grad():
            means = model.net(each.permute(0, 3, 1, 2).float() / 255).mean(0)
            return {"score": model.head(means)[0].numpy()}

    golden, others = both(
        lambda chance: {"photos": [photo(chance) for _ in range(chance.integers(1, 5))]}
    )
    return Made(seal(folder, Album, Score, model, golden), others, judge)


class Things(st.Answer):
    things: Annotated[list, st.Detections("cat", "dog", on="photo", candidates=16)]


class Detector(nn.Module):
    """A grid of anchors, and non-maximum suppression in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU())
        self.sides, self.classes = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)
        x, y = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="xy")
        self.register_buffer("centres", torch.stack([x, y], 2).reshape(16, 2) * 8 + 4)

    def raw(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        made = self.body(photo.permute(0, 3, 1, 2).float() / 255)
        sides = self.sides(made).flatten(2).transpose(1, 2).sigmoid() * 14
        boxes = torch.cat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], 2)
        return boxes, (self.classes(made).flatten(2).transpose(1, 2) * 3).sigmoid()

    def forward(self, photo: Tensor) -> dict[str, Tensor]:
        boxes, scores = self.raw(photo)
        return {"things_boxes": boxes, "things_scores": st.suppress(boxes, scores, iou=0.4)}


@thing("detector with suppression")
def detector(folder: Path) -> Made:
    model = Detector().eval()

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            boxes, scores = (each[0].numpy() for each in model.raw(pixels(row["photo"], 32)[None]))
        kept = np.zeros_like(scores)
        area = lambda b: np.prod(np.maximum(b[..., 2:] - b[..., :2], 0), -1)
        for name in range(2):
            taken: list[int] = []
            for place in np.argsort(-scores[:, name], kind="stable"):
                corners = np.concatenate(
                    [
                        np.maximum(boxes[taken, :2], boxes[place, :2]),
                        np.minimum(boxes[taken, 2:], boxes[place, 2:]),
                    ],
                    1,
                )
                inner = area(corners)
                if not (inner / (area(boxes[taken]) + area(boxes[place]) - inner) > 0.4).any():
                    taken.append(int(place))
                    kept[place, name] = scores[place, name]
        return {"things_boxes": boxes, "things_scores": kept}

    return of_photos(folder, Things, model, "PNG")._replace(judge=judge)


class Ground(st.Answer):
    ground: Annotated[dict, st.Mask("sky", "sea", "ship", on="photo", logits=True)]


class Depth(st.Answer):
    depth: Annotated[dict, st.Picture(on="photo", bits=16, ge=0, le=80, unit="m")]


class Pixelwise(nn.Module):
    def __init__(self, out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 8, 2, 2),
            nn.Conv2d(8, out, 3, 1, 1),
        )

    def forward(self, photo: Tensor) -> Tensor:
        made: Tensor = self.net(photo.permute(0, 3, 1, 2).float() / 255)
        return made if made.shape[1] > 1 else made[:, 0].sigmoid() * 80


@thing("segmentation of a picture")
def ground(folder: Path) -> Made:
    return of_photos(folder, Ground, Pixelwise(3).eval(), "PNG", "ground")


@thing("depth of a picture")
def depth(folder: Path) -> Made:
    return of_photos(folder, Depth, Pixelwise(1).eval(), "PNG", "depth")


def sound(chance: np.random.Generator) -> dict[str, Any]:
    """Half a second or more of a falling tone with noise."""
    when = np.arange(int(chance.integers(8_000, 16_000))) / 16_000
    wave = np.sin(2 * np.pi * chance.uniform(200, 900) * when * (1 - when / 3)) * 0.4
    held = io.BytesIO()
    soundfile.write(held, wave + chance.normal(0, 0.02, len(when)), 16_000, "PCM_16", format="WAV")
    return {"clip": held.getvalue()}


def samples(data: bytes) -> np.ndarray[Any, Any]:
    return f32(soundfile.read(io.BytesIO(data), dtype="float32")[0])


class Clip(st.Row):
    clip: Annotated[bytes, st.Audio(rate_hz=16_000, max_seconds=2)]


class Waves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = nn.Conv1d(1, 6, 400, 160), nn.Linear(6, 3)

    def forward(self, clip: Tensor, clip_length: Tensor) -> Tensor:
        frames = self.net(clip[:, None]).relu()
        count = (clip_length - 400) // 160 + 1
        real = torch.arange(frames.shape[2]) < count[:, None]
        made: Tensor = self.head((frames * real[:, None]).sum(2) / count[:, None]).softmax(1)
        return made


@thing("sounds as WAV files, a class of samples")
def waves(folder: Path) -> Made:
    model, (golden, others) = Waves().eval(), both(sound)

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        read = torch.from_numpy(samples(row["clip"]))[None]
        with torch.no_grad():
            return {
                "animal": model.head(model.net(read[:, None]).relu().mean(2))[0].softmax(0).numpy()
            }

    return Made(seal(folder, Clip, Animal, model, golden), others, judge)


class Speech(st.Row):
    clip: Annotated[
        bytes, st.Audio(padding="max_length", mark="none", log_mel=st.LogMel(log="whisper"))
    ]


class Mels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(80, 8, 3, 2, 1), nn.GELU(), nn.Conv1d(8, 8, 3, 2, 1))
        self.head = nn.Linear(8, 3)

    def forward(self, clip: Tensor) -> Tensor:
        made: Tensor = self.head(self.net(clip.transpose(1, 2))[:, :, :40].mean(2)).softmax(1)
        return made


@thing("sounds as log-mel features, as Whisper's")
def mels(folder: Path) -> Made:
    from transformers import WhisperFeatureExtractor

    extractor, model, (golden, others) = WhisperFeatureExtractor(), Mels().eval(), both(sound)

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        made = extractor(samples(row["clip"]), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            return {"animal": model(made.input_features.transpose(1, 2))[0].numpy()}

    return Made(seal(folder, Speech, Animal, model, golden), others[:4], judge)


WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "sea",
    "is",
    "calm",
    "a",
    "ship",
    "sailed",
    "to",
    "York",
    "who",
    "storm",
    "Ada",
]


@functools.cache
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def words(chance: np.random.Generator) -> str:
    return " ".join(chance.choice([*WORDS[4:], "Ægir"], chance.integers(1, 9)))


TOKENIZER = tokenizer().to_str().encode()


class Text(st.Row):
    text: Annotated[str, st.Text(tokenizer=TOKENIZER, max_tokens=32)]


class Meaning(st.Answer):
    vector: Annotated[list[float], st.Embedding(8, normalized=True)]


class Tags(st.Answer):
    tags: Annotated[list[str], st.Labels("urgent", "billing", "spam")]


class Terms(st.Answer):
    terms: Annotated[list[dict[str, float]], st.SparseEmbedding(len(WORDS))]


class Names(st.Answer):
    names: Annotated[list[dict], st.Spans("O", "B-PER", "I-PER", of="text")]


class Encoder(nn.Module):
    def __init__(self, head: str, size: int) -> None:
        super().__init__()
        self.head, self.last = head, nn.Linear(8, size)
        self.words, self.types = nn.Embedding(len(WORDS), 8), nn.Embedding(2, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def made(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        given = self.words(ids) + (0 if types is None else self.types(types))
        hidden = self.last(self.layer(given, src_key_padding_mask=mask == 0))
        if self.head == "mean":
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return functional.normalize(mean, dim=1)
        if self.head == "splade":
            return (hidden.relu().log1p() * mask[..., None]).amax(1)
        if self.head == "each":
            return hidden.softmax(2)
        return hidden[:, 0].sigmoid() if hidden.shape[2] > 1 else hidden[:, 0, 0].sigmoid()

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        return self.made(text_ids, text_mask)


class PairEncoder(Encoder):
    def forward(self, pair_ids: Tensor, pair_mask: Tensor, pair_types: Tensor) -> Tensor:
        return self.made(pair_ids, pair_mask, pair_types)


def of_texts(folder: Path, outputs: Any, head: str, size: int, name: str) -> Made:
    model, (golden, others) = (
        Encoder(head, size).eval(),
        both(lambda chance: {"text": words(chance)}),
    )

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        ids = torch.tensor([tokenizer().encode(row["text"]).ids])
        with torch.no_grad():
            return {name: model.made(ids, torch.ones_like(ids))[0].numpy()}

    return Made(seal(folder, Text, outputs, model, golden), others, judge)


@thing("texts, an embedding")
def embedding(folder: Path) -> Made:
    return of_texts(folder, Meaning, "mean", 8, "vector")


@thing("texts, labels of several")
def tags(folder: Path) -> Made:
    return of_texts(folder, Tags, "first", 3, "tags")


@thing("texts, a sparse embedding")
def terms(folder: Path) -> Made:
    return of_texts(folder, Terms, "splade", len(WORDS), "terms")


@thing("texts, spans of names")
def spans(folder: Path) -> Made:
    return of_texts(folder, Names, "each", 3, "names")


class Pair(st.Row):
    pair: Annotated[
        dict[str, str],
        st.TextPair("query", "passage", tokenizer=TOKENIZER, max_tokens=32, cut="second"),
    ]


@thing("pairs of texts, a reranker")
def reranker(folder: Path) -> Made:
    model = PairEncoder("first", 1).eval()

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        made = tokenizer().encode(row["pair"]["query"], row["pair"]["passage"])
        ids, types = torch.tensor([made.ids]), torch.tensor([made.type_ids])
        with torch.no_grad():
            return {"score": model.made(ids, torch.ones_like(ids), types)[0].numpy()}

    golden, others = both(
        lambda chance: {"pair": {"query": words(chance), "passage": words(chance)}}
    )
    return Made(seal(folder, Pair, Score, model, golden), others, judge)


class Plant(st.Row):
    load: Annotated[list[float], st.Series(length=(8, 48), missing=True, padding_side="left")]


class Ahead(st.Answer):
    ahead: Annotated[
        dict[str, list[float]], st.Forecast(horizon=4, quantiles=(0.1, 0.5, 0.9), rearrange=True)
    ]


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 12)

    def forward(self, load: Tensor, load_mask: Tensor) -> Tensor:
        count = load_mask.sum(1).clamp(min=1)
        mean = (load * load_mask).sum(1) / count
        spread = (((load - mean[:, None]) * load_mask) ** 2).sum(1) / count
        last = load[:, -4:].sum(1) / load_mask[:, -4:].sum(1).clamp(min=1)
        made: Tensor = self.head(torch.stack([mean, spread, last], 1)).reshape(-1, 4, 3)
        return made


@thing("series with gaps, a forecast of quantiles")
def forecast(folder: Path) -> Made:
    model = Forecaster().eval()

    def draw(chance: np.random.Generator) -> dict[str, Any]:
        made = chance.normal(3, 1, chance.integers(8, 48)).astype(F32).tolist()
        return {"load": [None if chance.random() < 0.15 else each for each in made]}

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        load = f32([np.nan if each is None else each for each in row["load"]])
        last = load[-4:]
        last_mean = np.nanmean(last) if not np.isnan(last).all() else 0.0
        given = f32([[np.nanmean(load), np.nanvar(load), last_mean]])
        with torch.no_grad():
            return {"ahead": model.head(torch.from_numpy(given)).reshape(4, 3).numpy()}

    golden, others = both(draw)
    return Made(seal(folder, Plant, Ahead, model, golden), others, judge)


class Basket(st.Row):
    products: Annotated[list[Literal["tea", "coffee", "milk"]], st.Items(max_items=12)]
    shop: Annotated[str, st.Category(unknown="hash", buckets=32)]


class Baskets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.shop = nn.EmbeddingBag(3, 4, mode="sum"), nn.Embedding(32, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, products: Tensor, products_mask: Tensor, shop: Tensor) -> Tensor:
        bag = self.bag(products, per_sample_weights=products_mask.float())
        made: Tensor = self.head(bag + self.shop(shop))[:, 0]
        return made


@thing("bags of categories, and one that is hashed")
def baskets(folder: Path) -> Made:
    import hashlib

    model, names = Baskets().eval(), ["tea", "coffee", "milk"]

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        made = hashlib.blake2b(row["shop"].encode(), digest_size=8).digest()
        bucket = int.from_bytes(made, "little") % 32
        with torch.no_grad():
            bag = sum(
                (model.bag.weight[names.index(each)] for each in row["products"]), torch.zeros(4)
            )
            return {"score": model.head(bag + model.shop.weight[bucket])[0].numpy()}

    golden, others = both(
        lambda chance: {
            "products": [str(each) for each in chance.choice(names, chance.integers(0, 9))],
            "shop": f"shop {chance.integers(1000)}",
        }
    )
    return Made(seal(folder, Basket, Score, model, golden), others, judge)


@thing("graph of nodes and edges, by scatter")
def graph(folder: Path) -> Made:
    from annotated_types import Interval

    hints = {
        "nodes": st.Tensor[np.float32, st.Size("n", 6, 12), 4],
        "edges": st.Tensor[np.int64, 2, 1:40, Interval(ge=0, lt=6)],
    }
    inputs = type("Graph", (st.Row,), {"__annotations__": hints})

    class Messages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 1)

        def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
            hidden = self.one(nodes).relu()
            for _ in range(2):
                sent = edges[:, 0, :, None].expand(-1, -1, 8)
                to = edges[:, 1, :, None].expand(-1, -1, 8)
                heard = torch.zeros_like(hidden).scatter_add(1, to, hidden.gather(1, sent))
                hidden = (hidden + self.other(heard)).relu()
            made: Tensor = self.head(hidden.mean(1))[:, 0]
            return made

    model = Messages().eval()

    def draw(chance: np.random.Generator) -> dict[str, Any]:
        nodes, edges = int(chance.integers(6, 13)), int(chance.integers(1, 40))
        return {
            "nodes": chance.standard_normal((nodes, 4)).astype(F32).tolist(),
            "edges": chance.integers(0, 6, (2, edges)).tolist(),
        }

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        nodes, (sent, to) = torch.tensor(row["nodes"]), torch.tensor(row["edges"])
        with torch.no_grad():
            hidden = model.one(nodes).relu()
            for _ in range(2):
                heard = torch.zeros_like(hidden).index_add_(0, to, hidden[sent])
                hidden = (hidden + model.other(heard)).relu()
            return {"score": model.head(hidden.mean(0))[0].numpy()}

    golden, others = both(draw)
    return Made(seal(folder, inputs, Score, model, golden), others, judge)


class Readings(st.Row, packed="readings"):
    load: Annotated[float, st.Number(ge=0, le=400, unit="kW")]
    heat: float | None
    alarms: int
    on: bool


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 1)

    def forward(self, readings: Tensor) -> Tensor:
        known = torch.cat([readings.nan_to_num(0.0), readings[:, 1:2].isnan().float()], 1)
        made: Tensor = self.head(known)[:, 0]
        return made


@thing("packed columns with a gap")
def packed(folder: Path) -> Made:
    model = Packed().eval()

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        heat = row["heat"]
        given = [row["load"], heat or 0.0, row["alarms"], row["on"], heat is None]
        with torch.no_grad():
            return {"score": model.head(torch.tensor([given], dtype=torch.float32))[0, 0].numpy()}

    golden, others = both(
        lambda chance: {
            "load": float(F32(chance.uniform(0, 400))),
            "heat": None if chance.random() < 0.3 else float(F32(chance.normal())),
            "alarms": int(chance.integers(9)),
            "on": bool(chance.random() < 0.5),
        }
    )
    return Made(seal(folder, Readings, Score, model, golden), others, judge)


class Candidates(st.Row):
    items: st.Tensor[np.float32, 1:20, 6]


class Ranked(st.Answer):
    ranked: Annotated[list[dict[str, float]], st.Ranking(top=3)]


class Ranker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, items: Tensor) -> Tensor:
        made: Tensor = self.net(items)[..., 0]
        return made


@thing("items of a row, ranked")
def ranking(folder: Path) -> Made:
    model = Ranker().eval()
    golden, others = both(
        lambda chance: {
            "items": chance.standard_normal((chance.integers(1, 20), 6)).astype(F32).tolist()
        }
    )
    bundle = seal(folder, Candidates, Ranked, model, golden)
    return Made(bundle, others, of_module(model, "ranked", items=f32))


# Folders of Hugging Face's form, small and seeded.


def hub(folder: Path, model: Path, *words: Any) -> Path:
    command("adopt", f"hf:{model}", "--out", folder / "bundles", *words)
    return only(folder / "bundles")


def support(name: str) -> Any:
    """What the tests make such folders with."""
    import importlib

    tests = str(Path(__file__).parents[2] / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return importlib.import_module(f"support.{name}")


TEXTS = ("How do I reset it?", "word " * 9, "Bread rises.", "the class of an object is its type")


@thing("hub folder, BERT of three classes")
def hub_classes(folder: Path) -> Made:
    from transformers import pipeline

    made = support("hub_folders").make_folder(folder / "m", labels=("low", "mid", "high"))
    bundle = hub(folder, made)
    own = pipeline("text-classification", model=str(made), top_k=None)

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        scores = {each["label"]: each["score"] for each in own([row["text"]])[0]}
        return {"label": f32([scores[name] for name in ("low", "mid", "high")])}

    return Made(bundle, [{"text": text} for text in TEXTS], judge)


@thing("hub folder, sentence-transformers")
def hub_sentences(folder: Path) -> Made:
    from sentence_transformers import SentenceTransformer

    make = support("hub_folders").make_sentence_folder
    made = make(folder / "m", "bert", ["mean", "Dense", "Normalize"])
    bundle = hub(folder, made)
    own = SentenceTransformer(str(made), device="cpu", local_files_only=True)
    rows = [{"text": text} for text in TEXTS]
    return Made(bundle, rows, lambda row: {"embedding": own.encode(row["text"])})


@thing("hub folder, a cross-encoder")
def hub_reranker(folder: Path) -> Made:
    from sentence_transformers import CrossEncoder

    made = support("hub_folders").make_folder(folder / "m", labels=("LABEL_0",))
    bundle = hub(folder, made)
    own = CrossEncoder(str(made), device="cpu", local_files_only=True)
    rows = [{"pair": {"query": a, "passage": b}} for a in TEXTS[:2] for b in TEXTS]

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        return {"score": own.predict([(row["pair"]["query"], row["pair"]["passage"])])[0]}

    return Made(bundle, rows, judge)


@thing("hub folder, ViT of three classes")
def hub_vit(folder: Path) -> Made:
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    labels = ("cat", "dog", "ship")
    make = support("hub_pictures").make_picture_folder
    made = make(folder / "m", "vit", AutoModelForImageClassification, labels)
    bundle = hub(folder, made)
    processor = AutoImageProcessor.from_pretrained(str(made), backend="pil")
    own = pipeline("image-classification", model=str(made), image_processor=processor)

    def judge(row: Mapping[str, Any]) -> dict[str, Any]:
        scores = {e["label"]: e["score"] for e in own(Pillow.open(io.BytesIO(row["image"])))}
        return {"label": f32([scores[name] for name in labels])}

    rows = drawn(5, lambda chance: {"image": photo(chance)})
    return Made(bundle, rows, judge)
