"""Answers as the console draws them, in a real browser: each kind, large ones, and odd ones."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from support import allsorts, browsers

from seatrial_contracts.kinds.instance_masks import MaskEncoding, mask_json, mask_text

pytestmark = [pytest.mark.slow, browsers.NEEDED]
ORIENTATION = 0x0112
TEXT = "e\u0301 👩‍🚀 Ada\tsaw 東京 <b>"
SHOW = """async ([kinds, inputs, schemas, prediction, chosen]) => {
    const { showAnswer } = await import("/console/static/answer.js");
    const { fromBase64 } = await import("/console/static/base64.js");
    const values = new Map(Object.entries(inputs).map(([name, { json, file }]) =>
        [name, file ? { file: new File([fromBase64(file)], name) } : { json }]));
    const contract = {
        outputs: Object.entries(kinds).map(([name, kind]) => ({ name, kind })),
        inputs: Object.entries(inputs).map(([name, { kind }]) => ({ name, kind })),
    };
    const version = { contract, outputs: { properties: schemas } };
    const reply = { predictions: [prediction], model_version: "1.0.0" };
    const asked = { values, chosen: new Map(Object.entries(chosen)) };
    const place = document.querySelector(".answer");
    window.warned = [];
    console.warn = (said) => window.warned.push(said);
    return await showAnswer(place, reply, version, asked);
}"""


@pytest.fixture(scope="module")
def page(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One page of one server, whose answers the tests draw themselves."""
    folder = tmp_path_factory.mktemp("allsorts")
    allsorts.seal(folder)
    server = serve(folder)
    assert server.wait_until_loaded()[0] == 200
    with browsers.started() as browser, browsers.opening(browser) as opened:
        yield opened(server.url, "allsorts")


def show(
    page: Any, kinds: Mapping[str, Any], prediction: Mapping[str, Any],
    inputs: Mapping[str, Any] | None = None, **chosen: str,
) -> str:  # fmt: skip
    """Draw an answer of outputs of these kinds; what was said aloud."""
    schemas = {
        name: {"x-kind": kind["kind"], "x-about": kind.get("on", kind.get("of"))}
        | kind.get("schema", {})
        for name, kind in kinds.items()
    }
    given = [kinds, inputs or {}, schemas, prediction, chosen]
    return str(page.evaluate(SHOW, given))


def picture(turned: int, file_format: str = "JPEG") -> bytes:
    """A file of 40 x 30 pixels that EXIF turns."""
    exif = Pillow.Exif()
    exif[ORIENTATION] = turned
    sink = io.BytesIO()
    Pillow.new("RGB", (40, 30), (200, 30, 30)).save(sink, file_format, exif=exif)
    return sink.getvalue()


def photo(data: bytes, exif: str = "apply") -> dict[str, Any]:
    return {"file": base64.b64encode(data).decode(), "kind": {"kind": "image", "exif": exif}}


def png(levels: np.ndarray[Any, Any]) -> str:
    """A PNG in base64, as Pillow writes it."""
    sink = io.BytesIO()
    Pillow.fromarray(levels).save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()


def drawn(page: Any, name: str) -> Any:
    """What is drawn for one output."""
    return page.locator(".output").filter(has=page.get_by_role("heading", name=name, exact=True))


WORDS = {
    "top": (
        {"kind": "label"},
        {"label": "b", "score": 0.75, "top": [
            {"label": "b", "score": 0.75}, {"label": "a", "score": 0.125}]},
        "b, 75.0 %",
    ),
    "whole": ({"kind": "label"}, {"label": "b", "scores": {"a": -1.5, "b": 2.5}}, "b, 2.5"),
    "tags": ({"kind": "labels"}, [{"label": "urgent", "score": 0.5}], "urgent, 50.0 %"),
    "none": ({"kind": "labels"}, [], "none reaches its threshold"),
    "names": (
        {
            "kind": "spans", "of": "text",
            "schema": {"items": {"properties": {"label": {"enum": ["PER", "LOC"]}}}},
        },
        [
            {"label": "PER", "score": 0.9, "start": 7, "end": 10, "text": "Ada"},
            {"label": "LOC", "score": 0.8, "start": 15, "end": 17, "text": "東京"},
        ],
        "PER Ada; LOC 東京",
    ),
    "part": (
        {"kind": "extract", "of": "pair", "text": None},
        [{"answer": "ship", "score": 0.5, "start": 4, "end": 8}],
        "ship, 50.0 %",
    ),
    "nothing": (
        {"kind": "extract", "of": "pair", "text": "passage"},
        [{"answer": "", "score": 0.5, "start": 0, "end": 0}],
        "No answer in the text, 50.0 %",
    ),
    "cut": (
        {"kind": "truncation", "of": "text"},
        {"truncated": True, "start": 0, "end": 10},
        "cut: characters 0 to 10 were read",
    ),
    "vector": ({"kind": "embedding"}, [0.6, 0.0, 0.8] * 4, "12 numbers, length 2"),
    "levels": (
        {"kind": "quantiles", "unit": "m"},
        {"0.1": 1.5, "0.5": 2.25, "0.9": 7},
        "0.1: 1.5 m; 0.5: 2.25 m; 0.9: 7 m",
    ),
    "ahead": (
        {"kind": "forecast", "unit": "kW"},
        {"0.1": [1, 2, 3], "0.5": [2, 3, 4], "0.9": [3, 4, 5]},
        "3 steps, 0.5: 2 to 4, kW",
    ),
    "order": (
        {"kind": "ranking"},
        [{"index": 3, "score": 2.5}, {"index": 0, "score": -1}],
        "item 3, 2.5; item 0, -1",
    ),
    "terms": (
        {"kind": "sparse_embedding"},
        [{"index": 3, "value": 0.5}, {"index": 7, "value": 2}],
        "term 7, 2; term 3, 0.5",
    ),
    "said": ({"kind": "transcript"}, "a ship <b>", "a ship <b>"),
    "silence": ({"kind": "transcript"}, "", "no text"),
    "<i>own</i>": ({"kind": "somebodys"}, {"x": "<b>"}, '{"x":"<b>"}'),
}  # fmt: skip
ABOUT = {
    "text": {"json": '"e\u0301 👩‍🚀 Ada\\tsaw 東京 <b>"', "kind": {"kind": "text"}},
    "pair": {
        "json": '{"query": "which?", "passage": "The ship sails"}',
        "kind": {"kind": "text_pair", "texts": ["query", "passage"]},
    },
}


def test_each_kind_of_answer_is_drawn_and_said_aloud(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    kinds = {name: kind for name, (kind, _, _) in WORDS.items()}
    said = show(page, kinds, {name: value for name, (_, value, _) in WORDS.items()}, ABOUT)
    assert said.split("; ") == "; ".join(
        f"{name}: {words}" for name, (_, _, words) in WORDS.items()
    ).split("; ")
    assert page.evaluate("window.warned") == []
    marks = drawn(page, "names").locator("mark").all_text_contents()
    assert marks == ["AdaPER", "東京LOC"]
    text = drawn(page, "names").get_by_role("region", name="The text").text_content()
    assert text.replace("PER", "").replace("LOC", "") == TEXT
    assert drawn(page, "part").locator("mark").text_content() == "ship"
    assert drawn(page, "nothing").locator("mark").count() == 0
    assert drawn(page, "ahead").get_by_role("img", name="0.5 4, 0.9 5").is_visible()
    assert drawn(page, "top").get_by_role("meter").count() == 2
    for theme in ("light", "dark"):
        page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
        found = axe.run(
            page, context=".answer", options={"runOnly": ["wcag2a", "wcag2aa"]}
        ).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize(
    ("form", "dtype"),
    [("float32", "<f4"), ("int8", "i1"), ("uint8", "u1"), ("binary", "i1"), ("ubinary", "u1")],
)
def test_vectors_in_base64_are_read_by_their_form(page: Any, form: str, dtype: str) -> None:
    values = np.array([3, 4, 0, 0], dtype)
    text = base64.b64encode(values.tobytes()).decode()
    said = show(page, {"out": {"kind": "embedding"}}, {"out": text}, form=f'"{form}"')
    bits = form.endswith("binary")
    assert said == ("out: 32 bits in 4 bytes" if bits else "out: 4 numbers, length 5")


@pytest.mark.parametrize(
    ("turned", "file_format", "exif", "size"),
    [
        (6, "JPEG", "apply", (30, 40)),
        (6, "JPEG", "ignore", (40, 30)),
        (3, "JPEG", "apply", (40, 30)),
        (6, "PNG", "apply", (30, 40)),
    ],
)
def test_boxes_lie_where_they_were_found_in_the_picture_as_it_is_turned(
    page: Any, turned: int, file_format: str, exif: str, size: tuple[int, int]
) -> None:
    kind = {"kind": "detections", "on": "photo", "classes": ["cat", "dog"]}
    box = {"xmin": 3, "ymin": 10, "xmax": 27, "ymax": 25}
    value = [{"label": "dog", "score": 0.9, "box": box}]
    given = {"photo": photo(picture(turned, file_format), exif)}
    assert show(page, {"out": kind}, {"out": value}, given) == "out: 1 found: dog, 90.0 %"
    whole = drawn(page, "out").get_by_alt_text("The picture that was asked about").bounding_box()
    found = drawn(page, "out").locator(".box").bounding_box()
    assert whole["width"] / whole["height"] == pytest.approx(size[0] / size[1], rel=0.01)
    scale = whole["width"] / size[0]
    assert (found["x"] - whole["x"]) / scale == pytest.approx(3, abs=0.1)
    assert (found["y"] - whole["y"]) / scale == pytest.approx(10, abs=0.1)
    assert found["width"] / scale == pytest.approx(24, abs=0.1)
    assert found["height"] / scale == pytest.approx(15, abs=0.1)
    assert drawn(page, "out").get_by_text("dog at 3, 10, 27, 25").is_visible()


PIXELS = """() => {
    const canvas = document.querySelector(".layers canvas");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


@pytest.mark.parametrize("encoding", ["png", "rle"])
def test_masks_and_points_of_things_lie_over_the_picture(page: Any, encoding: MaskEncoding) -> None:
    masks = np.random.default_rng(1).random((2, 30, 40)) < 0.5
    masks[:, 4:9, 6:20] = True
    box = {"xmin": 3, "ymin": 10, "xmax": 27, "ymax": 25}
    points = [
        {"label": "nose", "x": 10, "y": 15, "score": 0.75}, {"label": "tail", "x": -4, "y": 15},
    ]  # fmt: skip
    value = [
        {"label": label, "score": score, "box": box, "keypoints": points,
         "mask": mask_json(mask_text(mask, encoding), encoding)}
        for label, score, mask in zip(("dog", "cat"), (0.9, 0.6), masks, strict=True)
    ]  # fmt: skip
    kind = {"kind": "detections", "on": "photo", "classes": ["cat", "dog"]}
    given = {"photo": photo(picture(1))}
    said = show(page, {"out": kind}, {"out": value}, given)
    assert said == "out: 2 found: dog, 90.0 %; cat, 60.0 %"
    pixels = np.array(page.evaluate(PIXELS)).reshape(30, 40, 4)
    dog, cat = masks
    assert ((pixels[..., 3] > 0) == (dog | cat)).all()
    assert len(np.unique(pixels[dog], axis=0)) == len(np.unique(pixels[cat & ~dog], axis=0)) == 1
    assert (pixels[dog][0] != pixels[cat & ~dog][0]).any(), "the best lies on top"
    whole = drawn(page, "out").get_by_alt_text("The picture that was asked about").bounding_box()
    dots = drawn(page, "out").locator(".point")
    assert dots.count() == 2, "a point beyond the picture is not drawn"
    assert dots.first.get_attribute("title") == "nose 75.0 %"
    found, scale = dots.first.bounding_box(), whole["width"] / 40
    middle = [found[at] + found[size] / 2 for at, size in (("x", "width"), ("y", "height"))]
    assert (middle[0] - whole["x"]) / scale == pytest.approx(10, abs=0.1)
    assert (middle[1] - whole["y"]) / scale == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize("many", [3, 200, 1000])
@pytest.mark.parametrize("encoding", ["png", "rle"])
def test_masks_lie_over_the_picture_in_the_colours_of_their_classes(
    page: Any, many: int, encoding: str
) -> None:
    ids = np.random.default_rng(many).integers(0, many, (30, 40), np.int32)
    ids[:2] = np.arange(80).reshape(2, 40) % many  # smooth lines, which PNG filters otherwise
    ids[5, 7], ids[9, 0] = many - 1, many
    if encoding == "png":
        value: dict[str, Any] = {"png": png(ids.astype(np.uint8 if many < 256 else np.uint16))}
    else:
        value = {"ids": ids.ravel().tolist(), "lengths": [1] * ids.size}
    kind = {
        "kind": "mask", "on": "photo", "cut": many, "classes": [f"c{at}" for at in range(many)],
    }  # fmt: skip
    given = {"photo": photo(picture(1))}
    said = show(page, {"out": kind}, {"out": {"width": 40, "height": 30, **value}}, given)
    values, counts = np.unique(ids, return_counts=True)
    best = values[counts.argmax()]
    name = f"c{best}" if best < many else "cut off"
    share = said.removeprefix(f"out: {name}, ").partition(" %; ")[0]
    assert float(share) == pytest.approx(100 * counts.max() / ids.size, abs=0.06)
    swatch = drawn(page, "out").get_by_text(name, exact=True).locator(".swatch")
    colour = swatch.evaluate("element => getComputedStyle(element).backgroundColor")
    pixels = np.array(page.evaluate(PIXELS)).reshape(30, 40, 4)
    red, green, blue, _ = pixels[ids == best][0].tolist()
    assert colour == f"rgb({red}, {green}, {blue})"
    assert pixels[9, 0].tolist() == [0, 0, 0, 0]
    hues = (ids * 137.508).round() % 360
    assert (pixels[hues == hues[20, 1]] == pixels[20, 1])[:, :3].all()
    assert (ids == many).sum() == (pixels[..., 3] == 0).sum()


def test_segments_lie_over_the_picture_each_in_a_colour_of_its_own(page: Any) -> None:
    ids = np.zeros((30, 40), np.uint8)
    ids[2:9, 3:20], ids[12:30, 5:40] = 1, 2
    segments = [{"id": 1, "label": "dog", "score": 0.9}, {"id": 2, "label": "dog", "score": 0.75}]
    kind = {"kind": "segments", "on": "photo", "classes": ["cat", "dog"]}
    value = {"width": 40, "height": 30, "png": png(ids), "segments": segments}
    given = {"photo": photo(picture(1))}
    said = show(page, {"out": kind}, {"out": value}, given)
    assert said == "out: 2 found: dog, 90.0 %; dog, 75.0 %"
    pixels = np.array(page.evaluate(PIXELS)).reshape(30, 40, 4)
    assert ((pixels[..., 3] > 0) == (ids > 0)).all()
    colours = []
    for segment in segments:
        name = f"dog ({segment['id']})"
        swatch = drawn(page, "out").get_by_text(name, exact=True).locator(".swatch")
        shade = "element => getComputedStyle(element).backgroundColor"
        [colour] = np.unique(pixels[ids == segment["id"]], axis=0)[:, :3].tolist()
        assert swatch.evaluate(shade) == f"rgb({', '.join(map(str, colour))})"
        colours.append(colour)
    assert colours[0] != colours[1]
    nothing = {"width": 40, "height": 30, "png": png(ids * 0), "segments": []}
    assert show(page, {"out": kind}, {"out": nothing}, given) == "out: nothing was found"
    assert page.evaluate("window.warned") == []


def test_a_picture_lies_over_the_one_that_was_asked_about(page: Any) -> None:
    depth = (np.arange(30 * 40).reshape(30, 40) * 50).astype(np.uint16)
    kind = {"kind": "picture", "on": "photo", "channels": 1, "ge": 0, "le": 80, "unit": "m"}
    value = {"width": 40, "height": 30, "png": png(depth)}
    said = show(page, {"out": kind}, {"out": value}, {"photo": photo(picture(1))})
    assert said == "out: a picture of 40 × 30 pixels"
    assert drawn(page, "out").get_by_text("black is 0, white is 80 m").is_visible()
    answer = drawn(page, "out").get_by_alt_text("a picture of 40 × 30 pixels")
    drawn(page, "out").get_by_label("Strength").fill("25")
    assert answer.evaluate("image => [image.naturalWidth, image.style.opacity]") == [40, "0.25"]


def test_a_picture_alone_is_sent_as_json_where_options_are_chosen(page: Any) -> None:
    asked = """async (chosen) => {
        const { requestOf } = await import("/console/static/request.js");
        const { curl, python } = await import("/console/static/lines.js");
        const file = new File(["123"], "x.png", { type: "image/png" });
        const values = new Map([["photo", { file }]]), options = new Map(chosen);
        const { body } = await requestOf(values, options);
        const lines = [curl, python].map((line) => line("u", values, options));
        return [body instanceof File ? "file" : body, ...lines];
    }"""
    body, curl, python = page.evaluate(asked, [])
    assert body == "file"
    assert curl.endswith("--data-binary '@x.png'")
    assert 'body = Path("x.png").read_bytes()' in python
    body, curl, python = page.evaluate(asked, [["top_k", "3"], ["form", '"int8"']])
    options = {"top_k": 3, "form": "int8"}
    assert json.loads(body) == {"instances": [{"photo": "MTIz"}], "parameters": options}
    assert '"}], "parameters": {"top_k": 3, "form": "int8"}}' in curl
    assert '"parameters": {"top_k": 3, "form": "int8"}' in python


def test_a_pair_of_texts_has_a_place_for_each(page: Any) -> None:
    filled = """async (example) => {
        const { textsInput } = await import("/console/static/inputs/texts.js");
        const text = { type: "string", maxLength: 9 };
        const schema = { type: "object", properties: { query: text, passage: text } };
        const input = textsInput({ name: "pair", schema, id: "field-pair" });
        document.querySelector(".answer").replaceChildren(input.element);
        input.fill(example);
        const { json } = input.value();
        const { triton } = await import("/console/static/lines.js");
        const tensors = [{ name: "pair", datatype: "BYTES", shape: [-1, 2] }];
        const values = new Map([["pair", { json }]]);
        return [json, triton("m", undefined, values, new Map(), tensors, [])];
    }"""
    pair = {"query": "which?", "passage": 'a "ship"'}
    sent, lines = page.evaluate(filled, pair)
    assert json.loads(sent) == pair
    assert """np.array([["which?","a \\"ship\\""]], np.object_)""" in lines
    assert page.get_by_role("textbox", name="pair, passage").input_value() == pair["passage"]


def test_the_lines_for_tritonclient_make_bfloat16_of_ml_dtypes(page: Any) -> None:
    made = """async () => {
        const { triton } = await import("/console/static/lines.js");
        const tensors = [{ name: "x", datatype: "BF16", shape: [-1, 1] }];
        return triton("m", undefined, new Map([["x", { json: "0.1" }]]), new Map(), tensors, []);
    }"""
    lines = page.evaluate(made)
    assert "import ml_dtypes\nimport numpy as np\n" in lines
    assert "np.array([[0.1]], ml_dtypes.bfloat16)" in lines


def test_large_answers_are_cut_to_what_can_be_read(page: Any) -> None:
    side = {"xmin": 0, "ymin": 0, "xmax": 20, "ymax": 20}
    kinds = {
        "labels": {"kind": "labels"},
        "boxes": {"kind": "detections", "on": "photo", "classes": ["a"]},
        "vector": {"kind": "embedding"},
        "other": {"kind": "somebodys"},
    }
    prediction = {
        "labels": [{"label": f"label {at}", "score": 0.5} for at in range(5000)],
        "boxes": [
            {"label": "a", "score": 0.5, "box": {**side, "xmin": at / 10}} for at in range(100)
        ],
        "vector": [0.25] * 4096,
        "other": ["x" * 100] * 10_000,
    }  # fmt: skip
    said = show(page, kinds, prediction, {"photo": photo(picture(1))})
    assert len(said) < 1000
    assert page.locator(".box").count() == 100
    assert drawn(page, "labels").get_by_role("meter", include_hidden=True).count() <= 1000
    assert drawn(page, "labels").get_by_text("4,990 more").is_visible()
    assert len(page.locator(".answer").text_content()) < 300_000
    assert page.evaluate("window.warned") == []


@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [None], [{"label": 1}], {"label": {}}])
def test_an_answer_that_is_not_as_its_kind_has_it_is_shown_as_json(page: Any, value: Any) -> None:
    kinds = {
        name: {"kind": name, "on": "photo", "classes": ["a"]}
        for name in (
            "detections", "embedding", "extract", "forecast", "label", "labels", "mask", "number",
            "picture", "quantiles", "ranking", "segments", "sparse_embedding", "spans",
            "transcript", "truncation",
        )
    }  # fmt: skip
    said = show(page, kinds, dict.fromkeys(kinds, value), {"photo": photo(b"no picture")})
    assert [line.split(":")[0] for line in said.split("; ")] == list(kinds)
    assert page.locator(".output").count() == len(kinds)
    warned = page.evaluate("window.warned")
    assert len(warned) > 6
    assert set(warned) <= {f"output '{name}' is shown as JSON" for name in kinds}
