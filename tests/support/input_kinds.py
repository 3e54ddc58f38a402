"""Every kind of input: how to draw values of it, what drift sees of them, and a planted fault.

What drift sees is written here by numpy, Pillow, soundfile and Python alone. A planted fault is one
of a served side that handles a corner of the kind wrongly: it changes what the graph is fed.
"""

from __future__ import annotations

import enum
import io
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple
from zlib import crc32
from zoneinfo import ZoneInfo

import ml_dtypes
import numpy as np
import soundfile
from PIL import Image as Pillow
from pydantic import TypeAdapter

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from support.declared import row_of
from support.embedded import LETTERS, TOKENIZER

Feeds = Mapping[str, Array]
Drawn = np.random.Generator
WORDS = tuple(f"item {place}" for place in range(30))
EPOCH, BERLIN = date(1970, 1, 1), ZoneInfo("Europe/Berlin")
RATE_HZ = 8000


class Score(st.Answer):
    score: float


class InputKind(NamedTuple):
    """A field `x` of one kind."""

    annotation: Any
    draw: Callable[[Drawn, float], Any]
    """A value in its JSON form; the second number moves the whole population."""
    traits: Mapping[str, Callable[[Any], Any]]
    """Feature of the profile -> what an outside judge says of a value; None where it is missing."""
    broken: Callable[[dict[str, Array]], None]
    """The planted fault: changes the feeds of the served side."""
    ordinary: Callable[[Any], bool] = lambda value: value is not None
    """May a golden row hold this value? None that shows the fault is golden."""
    listed: Collection[str] = ()
    """The words of the contract's own list."""

    @property
    def contract(self) -> st.Contract:
        return st.contract_from_rows(row_of(x=self.annotation), Score)

    def rows(self, count: int, seed: int, moved: float = 0.0) -> list[dict[str, Any]]:
        random = np.random.default_rng(seed)
        return [{"x": self.draw(random, moved)} for _ in range(count)]

    def golden(self, count: int) -> list[dict[str, Any]]:
        rows = [row for row in self.rows(30 * count, 1) if self.ordinary(row["x"])]
        return rows[:count]


def files_of(kind: InputKind) -> dict[str, bytes]:
    """What the host stage needs."""
    found: dict[str, bytes] = {}
    for field in kind.contract.inputs:
        found |= field.kind.front_files(field.name)
    return found


def score(feeds: Feeds) -> dict[str, Array]:
    """A model of any feeds: it sees each element that counts, and what says that it counts."""
    total = np.zeros(len(next(iter(feeds.values()))))
    for place, (name, array) in enumerate(feeds.items()):
        numbers = np.nan_to_num(numeric(array), nan=0.37)
        counted = counts(name, numbers, feeds)
        flat = np.where(counted, np.sin(numbers * (0.7 + place)) + 2, 0.0)
        total += flat.reshape(len(flat), -1).sum(1)
    return {"score": total.astype(np.float32)}


def numeric(array: Array) -> Array:
    if array.dtype.kind in "OU":
        each = [crc32(str(word).encode()) % 997 for word in array.ravel()]
        return np.array(each, np.float64).reshape(array.shape)
    # Whole numbers beyond 2**53 differ in their last digits too.
    whole = array % 1_000_003 if array.dtype == np.int64 else array
    return whole.astype(np.float64)


def counts(name: str, numbers: Array, feeds: Feeds) -> Array:
    """Which elements are the row's own."""
    counted = np.ones(numbers.shape, bool)
    group = next((each for each in (name, name.rpartition("_")[0]) if f"{each}_mask" in feeds), "")
    if name.endswith("_mask"):
        counted &= numbers.astype(bool)
    elif group and not name.endswith(("_length", "_present")):
        mask = feeds[f"{group}_mask"]
        counted &= mask.reshape(*mask.shape, *[1] * (numbers.ndim - mask.ndim)).astype(bool)
    if f"{name}_length" in feeds:
        own = np.arange(numbers.shape[1]) < feeds[f"{name}_length"][:, None]
        counted &= own.reshape(*own.shape, *[1] * (numbers.ndim - 2))
    if f"{name}_present" in feeds:
        counted &= feeds[f"{name}_present"].reshape(-1, *[1] * (numbers.ndim - 1))
    return counted


def present(fault: Callable[[Array], Array]) -> Callable[[dict[str, Array]], None]:
    """A fault in what `x` itself becomes."""

    def broken(feeds: dict[str, Array]) -> None:
        feeds["x"] = fault(feeds["x"])

    return broken


def unmarked(feeds: dict[str, Array]) -> None:
    """What is missing counts as if it were there."""
    feeds["x_present"] = np.ones_like(feeds["x_present"])


def cut(name: str, most: int) -> Callable[[dict[str, Array]], None]:
    """Of a mask, only so many places count."""

    def broken(feeds: dict[str, Array]) -> None:
        feeds[name] = feeds[name].copy()
        feeds[name][:, most:] = False

    return broken


def shorter(most: int) -> Callable[[Any], bool]:
    return lambda value: value is None or len(value) <= most


def moved(value: Any, when: Array, by: Any) -> Array:
    return np.where(when, value + by, value).astype(value.dtype)


def last_of_month(days: Array) -> Array:
    """A month later at the last day of February of a leap year."""
    leap = {(date(year, 2, 29) - EPOCH).days for year in range(1904, 2096, 4)}
    return moved(days, np.isin(days, sorted(leap)), 31)


def holed(random: Drawn, size: Any, share: float, shift: float) -> Any:
    array = random.normal(shift, 1, size).clip(-8, 8).astype(np.float32).astype(object)
    array[random.random(size) < share] = None
    return array.tolist()


def numbers_of(value: Any) -> Array:
    flat = np.array(value, np.float64).ravel()
    return flat[~np.isnan(flat)]


def over(judge: Callable[[Array], Any]) -> Callable[[Any], Any]:
    """A judge of the numbers that are there; a value without any has none."""
    return lambda value: float(judge(numbers_of(value))) if len(numbers_of(value)) else None


def or_none(judge: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else judge(value)


HOLES = lambda value: float(np.isnan(np.array(value, np.float64)).sum()) / max(1, np.size(value))
SPREAD = {"mean": over(np.mean), "spread": over(np.std)}


def sound(random: Drawn, shift: float, most: float = 0.5) -> str:
    frames, sink = int(random.integers(200, int(most * RATE_HZ))), io.BytesIO()
    level = float(random.uniform(0.05, 0.4)) + 0.5 * shift
    samples = level * np.sin(np.arange(frames) * random.uniform(0.05, 1.0)) * 1.1
    samples[: int(frames * random.uniform(0, 0.5))] = 0
    soundfile.write(sink, samples.clip(-1, 1), RATE_HZ, format="WAV", subtype="PCM_16")
    return b64encode(sink.getvalue()).decode()


def heard(judge: Callable[[Array], float]) -> Callable[[Any], Any]:
    return or_none(lambda text: judge(soundfile.read(io.BytesIO(b64decode(text)))[0]))


def louder_than(level: float) -> Callable[[Array], float]:
    return lambda samples: float((np.abs(samples) >= level).mean())


SOUND = {
    "loudness": heard(lambda samples: max(-120.0, 10 * np.log10(np.mean(samples**2) or 1e-12))),
    "seconds": heard(lambda samples: len(samples) / RATE_HZ),
    "silence": heard(lambda samples: 1 - louder_than(1e-3)(samples)),
    "clipping": heard(louder_than(0.999)),
}


def picture(mode: str, random: Drawn, shift: float) -> str:
    height, width = (int(side) for side in random.integers(2, 9, 2) * 2)
    sides = (height, width, {"RGB": 3, "RGBA": 4}[mode]) if mode in ("RGB", "RGBA") else (
        height, width)  # fmt: skip
    level = random.uniform(0, 0.5) + 0.4 * shift
    unit = (level + random.uniform(0, 0.1, sides)).clip(0, 1)
    white, dtype = {"I;16": (65_535, "u2"), "F": (1, "f4")}.get(mode, (255, "u1"))
    sink = io.BytesIO()
    Pillow.fromarray((unit * white).astype(dtype)).save(sink, "TIFF" if mode == "F" else "PNG")
    return b64encode(sink.getvalue()).decode()


def pixels_of(text: str) -> Array:
    array = np.asarray(Pillow.open(io.BytesIO(b64decode(text))))
    return array.astype(np.float64)[..., :3] if array.ndim == 3 else array.astype(np.float64)


def seen(white: float) -> dict[str, Callable[[Any], Any]]:
    return {
        "brightness": lambda text: pixels_of(text).mean() / white,
        "contrast": lambda text: pixels_of(text).std() / white * 2,
        "pixels": lambda text: float(np.prod(pixels_of(text).shape[:2])),
        "aspect": lambda text: pixels_of(text).shape[1] / pixels_of(text).shape[0],
    }


def image_of(
    mode: Any, white: float, broken: Callable[[dict[str, Array]], None],
    ordinary: Callable[[Any], bool] = lambda text: True,
) -> InputKind:  # fmt: skip
    formats = ("TIFF",) if mode == "F" else ("PNG",)
    kind = Annotated[bytes, st.Image(mode=mode, formats=formats, max_pixels=4096)]
    return InputKind(kind, partial(picture, mode), seen(white), broken, ordinary)


class Size(enum.Enum):
    SMALL, MIDDLE, LARGE = "s", "m", "l"


class Stars(enum.IntEnum):
    ONE, TWO, FIVE = 1, 2, 5


class Line(st.Row):
    price: Annotated[float, st.Number(ge=0, le=50)]
    kind: Literal["tea", "soup", "bread"]


class Address(st.Row):
    zip: Annotated[int, st.Number(ge=0, le=9999)]
    since: date | None


def chosen(random: Drawn, shift: float, of: Any) -> Any:
    weights = np.arange(1, len(of) + 1) ** (-1.0 + 2 * shift)
    return of[int(random.choice(len(of), p=weights / weights.sum()))]


def some_of(random: Drawn, shift: float, of: Any, most: int) -> list[Any]:
    return [chosen(random, shift, of) for _ in range(int(random.integers(0, most + 1)))]


def maybe(draw: Callable[[Drawn, float], Any], share: float = 0.2) -> Callable[[Drawn, float], Any]:
    def drawn(random: Drawn, shift: float) -> Any:
        value = draw(random, shift)
        return None if random.random() < share + 0.4 * shift else value

    return drawn


def some_date(random: Drawn, shift: float) -> str:
    return (date(1980, 1, 1) + timedelta(int(random.integers(0, 9000) + 3000 * shift))).isoformat()


def some_moment(random: Drawn, shift: float) -> str:
    seconds = int(random.integers(0, 10**9) + 2e8 * shift)
    zone = random.choice(["Z", "+02:00", "-05:30"])
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat() + str(zone)


def seconds_of(text: str) -> float:
    return float(datetime.fromisoformat(text).timestamp() // 1)


def some_lines(random: Drawn, shift: float) -> list[Any]:
    return [
        {"price": float(np.float32(random.uniform(0, 25 + 25 * shift))), "kind": kind}
        for kind in some_of(random, shift, ("tea", "soup", "bread"), 4)
    ]


def some_text(random: Drawn, shift: float) -> str:
    return "".join(random.choice(list("aé年 b"), int(random.integers(0, 30 + 30 * shift))))


def token_ids(random: Drawn, shift: float) -> list[int]:
    """Ids of the letter tokenizer, every other row with the special tokens around them."""
    size = int(random.integers(1, 20 + 20 * shift))
    ids: list[int] = random.integers(4, 4 + len(LETTERS), size).tolist()
    return [2, *ids, 3] if random.random() < 0.5 else ids


def days_of(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


def first(value: Any) -> Any:
    return value[0] if value else None


def whole(value: Any) -> bool:
    """Is no element missing?"""
    return None not in np.array(value, object).ravel().tolist()


def narrow(feeds: dict[str, Array]) -> None:
    """The last column of a picture of odd width is lost."""
    feeds["x"] = feeds["x"][:, :, : feeds["x"].shape[2] // 2 * 2]


def last_counts(feeds: dict[str, Array]) -> None:
    """A hole at the end counts."""
    feeds["x_mask"] = feeds["x_mask"].copy()
    feeds["x_mask"][:, -1] = True


def cut_sound(feeds: dict[str, Array]) -> None:
    """The last samples of the longest are lost."""
    feeds["x_length"] = np.minimum(feeds["x_length"], 3900)


def frames_of(text: str) -> int:
    return len(soundfile.read(io.BytesIO(b64decode(text)))[0])


def in_place(one: Any, other: Any) -> Callable[[dict[str, Array]], None]:
    """One value is taken for another."""
    return present(lambda x: np.where(x == one, other, x).astype(x.dtype))


def since_counts(feeds: dict[str, Array]) -> None:
    feeds["x_since_present"] = np.ones_like(feeds["x_since_present"])


def some_file(words: tuple[str, ...]) -> str:
    FILE.write_text("\n".join(words), "utf-8")
    return str(FILE)


FOLDER = TemporaryDirectory()
FILE = Path(FOLDER.name) / "words.txt"
DURATION = TypeAdapter(timedelta)
NUMBER = Annotated[float, st.Number(ge=-8, le=8)]
SMALL_SOUND = st.Audio(rate_hz=RATE_HZ, max_seconds=0.5)
ODD_WORDS = ("sea", "ship")
KINDS: dict[str, InputKind] = {
    "a list of words": InputKind(
        Annotated[list[Literal["tea", "soup", "bread"]], st.Items(max_items=6)],
        lambda random, shift: some_of(random, shift, ("tea", "soup", "bread"), 6),
        {"items": len, "first": first},
        cut("x_mask", 5), shorter(5), ("tea", "soup", "bread"),
    ),
    "a list of numbers with holes": InputKind(
        Annotated[list[NUMBER | None], st.Items(max_items=6, mark="length")],
        lambda random, shift: holed(random, int(random.integers(0, 7)), 0.1, shift),
        {"items": len, "mean": over(np.mean)},
        present(partial(np.nan_to_num, nan=0.0)), whole,
    ),
    "a list that may be missing": InputKind(
        Annotated[list[int] | None, st.Items(min_items=1, max_items=4)],
        maybe(lambda random, shift: random.integers(0, 9, 1 + random.integers(0, 4)).tolist()),
        {"items": or_none(len), "mean": or_none(np.mean)},
        unmarked,
    ),
    "a list of pictures": InputKind(
        Annotated[list[Annotated[bytes, st.Image(size_px=(4, 4))]], st.Items(max_items=3)],
        lambda random, shift: [picture("RGB", random, 0) for _ in some_of(random, shift, "abc", 3)],
        {"items": len},
        cut("x_mask", 2), shorter(2),
    ),
    "a list of sounds": InputKind(
        Annotated[
            list[Annotated[bytes, st.Audio(rate_hz=RATE_HZ, max_seconds=0.1, padding="max_length",
                                           mark="none")]],
            st.Items(max_items=3),
        ],
        lambda random, shift: [sound(random, 0, 0.1) for _ in some_of(random, shift, "abc", 3)],
        {"items": len},
        cut("x_mask", 2), shorter(2),
    ),
    "a series with holes": InputKind(
        Annotated[list[float], st.Series(length=(4, 16), missing=True, ge=-8, le=8,
                                                padding_side="left")],
        lambda random, shift: holed(random, int(random.integers(4, 17)), 0.1, shift),
        {**SPREAD, "last": over(lambda row: row[-1]), "steps": len, "holes": HOLES},
        last_counts, whole,
    ),
    "a series of channels": InputKind(
        Annotated[list[list[float]], st.Series(length=(2, 8), channels=2, ge=-8, le=8)],
        lambda random, shift: holed(random, (int(random.integers(2, 9)), 2), 0, shift),
        {**SPREAD, "last": over(lambda row: row[-1]), "steps": len},
        cut("x_mask", 7), shorter(7),
    ),
    "an object": InputKind(
        Address,
        lambda random, shift: {
            "zip": int(random.integers(0, 5000 + 4000 * shift)),
            "since": maybe(some_date)(random, shift),
        },
        {
            "zip": lambda value: value["zip"],
            "since": lambda value: or_none(days_of)(value["since"]),
        },
        since_counts, lambda value: value["since"] is not None,
    ),
    "a list of objects": InputKind(
        Annotated[list[Line], st.Items(max_items=4)],
        some_lines,
        {
            "price.items": len, "kind.items": len,
            "price.mean": lambda lines: (
                float(np.mean([line["price"] for line in lines])) if lines else None
            ),
            "kind.first": lambda lines: lines[0]["kind"] if lines else None,
        },
        cut("x_mask", 3), shorter(3), ("tea", "soup", "bread"),
    ),
    "a date": InputKind(
        date, some_date, {"": days_of},
        present(last_of_month), lambda text: not text.endswith("02-29"),
    ),
    "a date that may be missing": InputKind(
        date | None, maybe(some_date),
        {"": or_none(days_of)}, unmarked,
    ),
    "a datetime": InputKind(
        datetime, some_moment, {"": seconds_of},
        present(lambda x: moved(x, (x < 0) & (x % 10**6 != 0), 10**6)),
    ),
    "a datetime of a zone": InputKind(
        Annotated[datetime, st.DateTime(zone="Europe/Berlin")],
        lambda random, shift: some_moment(random, shift)[:11] + "12:30:00",
        {"": lambda text: datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()},
        present(lambda x: moved(x, x < 0, 3600 * 10**6)),
    ),
    "a timedelta": InputKind(
        timedelta,
        lambda random, shift: f"P{int(random.integers(0, 9 + 9 * shift))}DT"
                              f"{int(random.integers(0, 24))}H0.25S",
        {"": lambda text: DURATION.validate_python(text).total_seconds()},
        present(np.abs),
    ),
    "a vocabulary": InputKind(
        Annotated[str, st.Category(file=some_file(WORDS), unknown="bucket")],
        lambda random, shift: chosen(random, shift, WORDS[:-1] + ODD_WORDS),
        {"": str},
        in_place(WORDS[-1], WORDS[0]), listed=WORDS,
    ),
    "hash buckets": InputKind(
        Annotated[str, st.Category("a", "b", unknown="hash", buckets=7)],
        lambda random, shift: chosen(random, shift, ("a", "b", *ODD_WORDS)),
        {"": str},
        in_place("[bucket 3]", "[bucket 0]"), listed=("a", "b"),
    ),
    "an enum": InputKind(
        Size, lambda random, shift: chosen(random, shift, ("s", "m")), {"": str},
        in_place("l", "m"), listed=("s", "m", "l"),
    ),
    "an enum of whole numbers": InputKind(
        Stars, lambda random, shift: chosen(random, shift, (1, 2)), {"": str},
        in_place(5, 2), listed=("1", "2", "5"),
    ),
    "a number that may be missing": InputKind(
        NUMBER | None, maybe(lambda random, shift: holed(random, 1, 0, shift)[0]),
        {"": or_none(float)}, present(partial(np.nan_to_num, nan=0.0)),
    ),
    "a flag that may be missing": InputKind(
        bool | None, maybe(lambda random, shift: bool(random.random() < 0.3)),
        {"": or_none(lambda value: str(value).lower())}, unmarked, listed=("true", "false"),
    ),
    "a tensor that may be missing": InputKind(
        Annotated[np.ndarray | None, st.Tensor(dims=(3,), fill=1, ge=-8, le=8)],
        maybe(lambda random, shift: holed(random, 3, 0, shift)),
        {name: or_none(judge) for name, judge in SPREAD.items()}, unmarked,
    ),
    "a text that may be missing": InputKind(
        Annotated[str | None, st.Text(max_chars=60)], maybe(some_text), {"chars": or_none(len)},
        unmarked,
    ),
    "a sound": InputKind(
        Annotated[bytes, SMALL_SOUND], sound, SOUND, cut_sound,
        lambda text: frames_of(text) <= 3900,
    ),
    "a sound that may be missing": InputKind(
        Annotated[bytes | None, SMALL_SOUND], maybe(sound), SOUND, unmarked,
    ),
    "a picture": image_of("RGB", 255, narrow),
    "a gray picture": image_of("L", 255, narrow),
    "a picture with opacity": image_of(
        "RGBA", 255, present(lambda x: np.where(x[..., 3:] == 0, 0, x).astype(x.dtype)),
        lambda text: Pillow.open(io.BytesIO(b64decode(text))).getextrema()[3][0] > 0,
    ),
    "a picture of 16 bits": image_of(
        "I;16", 65_535, present(lambda x: x % 2**15), lambda text: pixels_of(text).max() < 2**15
    ),
    "a picture of floats": image_of("F", 1, present(lambda x: x.clip(0))),
    "a picture that may be missing": InputKind(
        Annotated[bytes | None, st.Image(formats=("PNG",), max_pixels=4096)],
        maybe(partial(picture, "RGB")),
        {name: or_none(judge) for name, judge in seen(255).items()}, unmarked,
    ),
    "a tensor with holes": InputKind(
        Annotated[np.ndarray, st.Tensor(dims=((0, 5),), missing="nan", ge=-8, le=8)],
        lambda random, shift: holed(random, int(random.integers(0, 6)), 0.1 + 0.3 * shift, shift),
        {**SPREAD, "holes": HOLES},
        present(partial(np.nan_to_num, nan=0.0)), whole,
    ),
    "a padded tensor": InputKind(
        Annotated[np.ndarray, st.Tensor(dims=((1, 8), 2), pad=0, ge=-8, le=8)],
        lambda random, shift: holed(random, (int(random.integers(1, 9)), 2), 0, shift),
        SPREAD, cut("x_mask", 7), shorter(7),
    ),
    "a plain text": InputKind(
        Annotated[str, st.Text(max_chars=60)], some_text, {"chars": len},
        present(lambda x: np.array([word[:59] for word in x], object)), shorter(59),
    ),
    "token ids of a text": InputKind(
        Annotated[str, st.Text(tokenizer=TOKENIZER, max_tokens=70, token_ids=True)], token_ids,
        {"chars": lambda ids: sum(each > 3 for each in ids), "unknown": lambda ids: 0.0},
        cut("x_mask", 12), shorter(12),
    ),
    "bfloat16": InputKind(
        Annotated[float, st.Number(dtype="bfloat16", ge=-8, le=8)],
        lambda random, shift: holed(random, 1, 0, shift)[0],
        {"": lambda value: float(ml_dtypes.bfloat16(value))},
        present(lambda x: moved(x, np.abs(x) == 7.9375, 1)),
    ),
}  # fmt: skip
