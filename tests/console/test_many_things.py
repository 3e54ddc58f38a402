"""The console with much of everything: wide rows, long labels, many models, two versions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support import browsers, console_models
from support.browsers import PHONE, WIDE, Opened

pytestmark = [pytest.mark.slow, browsers.NEEDED]
MODELS = console_models.MANY + 3


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Any:
    """A server of wide rows, long labels, two versions, and models beside them."""
    folder = tmp_path_factory.mktemp("many")
    console_models.seal(folder)
    server = serve(folder)
    assert server.wait_until_loaded()[0] == 200
    return server


def predict(page: Any) -> str:
    """Press the button; what was said aloud."""
    page.locator(".try .said").evaluate("(said) => (said.textContent = '')")
    page.get_by_role("button", name="Predict").click()
    page.wait_for_function("() => document.querySelector('.try .said').textContent")
    return str(page.locator(".try .said").text_content())


def in_view(page: Any, selector: str) -> bool:
    box = page.locator(selector).first.bounding_box()
    return bool(box) and 0 <= box["y"] < page.viewport_size["height"]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_answer_to_two_hundred_columns_stays_in_view(
    size: dict[str, int], many: Any, opened: Opened
) -> None:
    page = opened(many.url, "wide", size=size)
    page.get_by_label("sensor_150", exact=True).fill("7")
    assert predict(page) == "total: 7"
    shown = ".try .winner" if size is WIDE else ".try .brief"
    assert in_view(page, shown)
    assert page.locator(shown).text_content().removeprefix("total: ") == "7"
    assert in_view(page, ".try .primary")


def test_an_input_of_many_is_found_by_its_name_and_a_refused_one_shown_again(
    many: Any, opened: Opened
) -> None:
    page = opened(many.url, "wide")
    page.get_by_label("sensor_199", exact=True).fill("5000")
    page.get_by_label("Find an input").fill("sensor_01")
    assert page.get_by_text("10 of 200 inputs").is_visible()
    assert not page.get_by_label("sensor_199", exact=True).is_visible()
    assert "got 5000, want a number from -1000 to 1000 m" in predict(page)
    assert page.evaluate("document.activeElement.id") == "field-sensor_199"
    assert page.get_by_text("200 of 200 inputs").is_visible()


def test_every_refused_input_is_marked_where_the_server_lists_them(
    many: Any, opened: Opened
) -> None:
    """What the server lists is as docs/reference/refusals.md has it."""
    page = opened(many.url, "moods")
    errors = [
        {"input": name, "row": 0, "code": "E_RANGE", "error": f"input '{name}', row 0: got {name}!"}
        for name in "xy"
    ]
    told = {"error": errors[0]["error"], "code": "E_RANGE", "request_id": "1", "errors": errors}
    told["more_errors"] = 7
    page.route("**:predict", lambda route: route.fulfill(status=400, json=told))
    predict(page)
    for name in "xy":
        assert page.locator(f"#refusal-{name}").text_content() == f"got {name}!"
        assert page.get_by_label(name, exact=True).get_attribute("aria-invalid") == "true"
    assert page.locator("#form-refusal").text_content() == "and 7 more"
    page.locator(".refused").get_by_role("button", name="y").click()
    assert page.evaluate("document.activeElement.id") == "field-y"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_models_are_found_grouped_and_linked(
    size: dict[str, int], many: Any, opened: Opened
) -> None:
    page = opened(many.url, "moods", size=size)
    models = page.get_by_role("navigation", name="Models")
    assert [one.text_content() for one in models.get_by_role("heading", level=3).all()] == [
        "eu (13)", "us (13)", "Others (3)",
    ]  # fmt: skip
    assert in_view(page, "#models [aria-current]")
    models.get_by_label("Find a model").fill("US.CHURN_1")
    assert models.get_by_text(f"5 of {MODELS} models").is_visible()
    assert models.get_by_role("link").count() == 5
    models.get_by_label("Find a model").fill("")
    models.get_by_label("Group by").select_option("state")
    assert models.get_by_role("link").count() == MODELS
    page.goto(f"{many.url}/#/eu.churn_99")
    page.get_by_text("This server holds no model 'eu.churn_99'.").wait_for()
    near = page.get_by_role("main").get_by_role("link")
    assert all(text.startswith("eu.churn_") for text in near.all_text_contents())
    page.goto(f"{many.url}/#/moods/7.0.0")
    page.get_by_text("Model 'moods' has no version '7.0.0' here.").wait_for()
    near.get_by_text("moods/1.1.0").click()
    page.get_by_role("heading", level=1, name="moods").wait_for()
    assert page.locator(".head select").input_value() == "1.1.0"


def test_a_thousand_models_are_listed_and_found(many: Any, opened: Opened) -> None:
    page = opened(many.url, "moods")
    listed = httpx.get(f"{many.url}/v1/models").json()
    (moods,) = [each for each in listed["models"] if each["name"] == "moods"]
    listed["models"] += [{**moods, "name": f"team{n % 40}-{n}"} for n in range(1000)]
    page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    models = page.get_by_role("navigation", name="Models")
    models.get_by_text(f"{1000 + MODELS:,} models").wait_for()
    models.get_by_label("Find a model").fill("team7-")
    assert models.get_by_role("link").count() == 25


def test_labels_of_any_length_are_read_on_a_phone(many: Any, opened: Opened) -> None:
    page = opened(many.url, "long", size=PHONE)
    predict(page)
    for label in console_models.LONG:
        bar = page.locator(".bars .class", has_text=label)
        box = bar.bounding_box()
        assert box["width"] > 250
        assert bar.evaluate("(bar) => bar.scrollWidth <= bar.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_two_versions_answer_one_row_side_by_side(many: Any, opened: Opened) -> None:
    page = opened(many.url, "moods")
    page.goto(f"{many.url}/#/moods/1.0.0")
    page.locator(".lines code", has_text="/moods/versions/1.0.0:predict").first.wait_for()
    page.get_by_label("x", exact=True).fill("1")
    page.get_by_label("Beside it, version").select_option("1.1.0")
    row = {"instances": [{"x": 1, "y": 0}]}
    calm = [
        httpx.post(f"{many.url}/v1/models/moods/versions/{version}:predict", json=row)
        .json()["predictions"][0]["mood"]["scores"]["calm"]
        for version in ("1.0.0", "1.1.0")
    ]  # fmt: skip
    said = predict(page)
    assert said == f"mood: calm, {calm[0]:.1%}; version 1.1.0: mood: calm, {calm[1]:.1%}".replace(
        "%", " %"
    )
    assert page.locator(".answers .answer").count() == 2
    moved = page.locator(".difference").text_content()
    assert moved.startswith("Between the two: largest move ")
    assert float(re.search(r"move ([\d.]+)", moved)[1]) == pytest.approx(
        calm[1] - calm[0], rel=1e-3
    )


def test_what_is_typed_stays_while_the_version_is_unloaded_and_loaded(
    many: Any, opened: Opened
) -> None:
    """The states are those of a server that loads at the first request."""
    states = {"now": "READY"}

    def listed(route: Any) -> None:
        told = httpx.get(f"{many.url}/v1/models").json()
        for model in told["models"]:
            for version in model["versions"] if model["name"] == "long" else ():
                version["state"] = states["now"]
        route.fulfill(json=told)

    page = opened(many.url, "long")
    page.route("**/v1/models", listed)
    page.get_by_label("x", exact=True).fill("3")
    for state, said in (("COLD", "on demand"), ("LOADING", "loading"), ("READY", "ready")):
        states["now"] = state
        page.locator(".head .badge", has_text=re.compile(f"^{said}$")).wait_for()
        assert page.get_by_label("x", exact=True).input_value() == "3"
    states["now"] = "FAILED"  # the page is drawn anew
    page.wait_for_function("() => document.querySelector('#field-x')?.value === '0'")


def test_release_notes_are_shown_as_text(many: Any, opened: Opened) -> None:
    page = opened(many.url, "moods")
    page.goto(f"{many.url}/#/moods/1.1.0")
    notes = page.get_by_role("region", name="Release notes")
    notes.wait_for()
    assert notes.get_by_role("listitem").all_text_contents() == ["Largest <b>move</b>: 2."]


PASTED = [
    ('{"x": 2.5, "y": -1}', (2.5, -1), "The row is in the form."),
    ('{"instances": [{"x": 3, "y": 4}, {"x": 5, "y": 6}]}', (3, 4), "Row 1 of 2 is in the form."),
    ('{"x": 8, "y": 4}\n{"x": 9, "y": 6}', (8, 4), "Row 1 of 2 is in the form."),
    ("y\tx\tz\n1\t2\t9", (2, 1), "The row is in the form. No input: z."),
    ('x;y\n"1,5";0', (1.5, 0), "The row is in the form."),
    ("7,8", (7, 8), "The row is in the form."),
    ('{"x": 4}', (4, 0), "The row is in the form. Left as they were: y."),
    ("1,2,3", (0, 0), "got 3 cells, want the 2 inputs in their order"),
    ("x,y\n1", (0, 0), "got 1 cells in row 1, want 2 cells in each row"),
    ('{"x": 4', (0, 0), "got no JSON"),
    ("[1, 2]", (0, 0), "got JSON of something else, want a row"),
]


def test_a_row_is_pasted_as_json_or_csv(many: Any, opened: Opened) -> None:
    page = opened(many.url, "moods")
    page.locator("summary", has_text="Paste a row").click()
    place = page.get_by_label("JSON, or CSV with a line of names")
    values = lambda: [float(page.get_by_label(name, exact=True).input_value()) for name in "xy"]
    for pasted, row, said in PASTED:
        page.get_by_role("button", name="Example row").click()
        place.fill(pasted)
        assert said in page.locator("#pasted-said").text_content(), pasted
        assert tuple(values()) == row, pasted
    place.fill(PASTED[1][0])
    page.locator(".samples select").select_option("2")
    assert values() == [5, 6]
    assert page.locator("#pasted-said").text_content() == "Row 2 of 2 is in the form. "
    place.fill('{"x": "far", "y": 20}')
    assert "got a string of 3 characters" in predict(page)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_an_answer_is_marked_once_the_form_holds_another_row(
    size: dict[str, int], many: Any, opened: Opened
) -> None:
    page = opened(many.url, "moods", size=size)
    old = page.get_by_text("The form has changed since this answer.")
    page.get_by_label("x", exact=True).fill("3")
    assert not old.is_visible()
    predict(page)
    assert not old.is_visible()
    page.locator("summary", has_text="Paste a row").click()
    place = page.get_by_label("JSON, or CSV with a line of names")
    place.fill('{"x": 4}\n{"x": 3}')
    assert old.is_visible()
    assert not page.locator(".try .brief").is_visible()
    page.locator(".samples select").select_option("2")
    assert not old.is_visible()
    page.get_by_role("button", name="Example row").click()
    assert old.is_visible()
    box, fold = place.bounding_box(), page.locator("details", has=place).bounding_box()
    assert fold["x"] < box["x"]
    assert box["x"] + box["width"] < fold["x"] + fold["width"]
    predict(page)
    assert not old.is_visible()


def test_an_example_fills_the_form_and_an_answer_says_what_it_took(
    many: Any, opened: Opened
) -> None:
    page = opened(many.url, "moods")
    page.locator("summary", has_text="Examples to try").click()
    page.get_by_role("button", name="x at 10.0", exact=True).first.click()
    assert page.get_by_label("x", exact=True).input_value() == "10"
    with page.expect_response("**:predict") as answered:
        predict(page)
    timing = answered.value.headers["server-timing"]
    spans = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
    assert spans.keys() == {"queue", "front", "run", "encode", "total"}
    bar = page.get_by_role("img", name="Time in the server: ").get_attribute("aria-label")
    assert re.fullmatch(r"Time in the server: queue .*, front .*, run .*, encode .*, other .*", bar)
    assert re.match(r"round trip .* of which .* in the server, in a batch of 1 row",
                    page.locator(".timings p").text_content())  # fmt: skip


def test_the_truth_of_an_answer_is_told_and_counted(many: Any, opened: Opened) -> None:
    page = opened(many.url, "moods")
    page.get_by_label("x", exact=True).fill("3")
    predict(page)
    page.locator("summary", has_text="Was it right?").click()
    truth = page.get_by_label("True mood")
    assert truth.input_value() == json.dumps("calm")
    truth.select_option("cross")
    page.get_by_role("button", name="Send the truth").click()
    page.get_by_text("Counted: 0 right, 1 wrong.").wait_for()
    assert page.get_by_role("button", name="Send the truth").is_disabled()


def test_drift_has_a_badge_from_a_hundred_values_on(many: Any, opened: Opened) -> None:
    page = opened(many.url, "eu.churn_00")
    chart = page.locator(".chart", has_text=re.compile("^x "))
    rows = {"instances": [{"x": 1.0, "y": 2.0}] * 50}
    with httpx.Client() as client:
        ask = lambda: client.post(f"{many.url}/v1/models/eu.churn_00:predict", json=rows)
        ask()
        few = chart.get_by_text(re.compile("^[0-9]+ of 100 values$"))
        page.wait_for_function(
            "() => [...document.querySelectorAll('.few')]"
            ".some((one) => !one.textContent.startsWith('0 '))"
        )
        assert few.first.is_visible()
        assert chart.locator(".badge").count() == 0
        for _ in range(20):
            ask()
        chart.locator(".badge.bad", has_text="PSI").wait_for()


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_in_what_is_new(
    size: dict[str, int], theme: str, many: Any, opened: Opened
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(many.url, "moods", size=size, color_scheme=theme)
    page.get_by_label("Beside it, version").select_option(index=1)
    predict(page)
    page.get_by_role("region", name="Try it").evaluate(
        "(all) => all.querySelectorAll('details').forEach((one) => (one.open = true))"
    )
    page.get_by_label("x", exact=True).fill("7")  # which marks the answer
    found = {"Two versions": axe.run(page).response["violations"]}
    readable = {"runOnly": {"type": "rule", "values": ["color-contrast-enhanced"]}}
    small = [[each] for each in (".hint", ".soft", ".facts dt", ".legend", ".scrolls th")]
    found["Small text"] = axe.run(page, {"include": small}, readable).response["violations"]
    page.goto(f"{many.url}/#/nosuch")
    page.get_by_text("This server holds no model 'nosuch'.").wait_for()
    found["Not here"] = axe.run(page).response["violations"]
    assert {
        where: [(one["id"], one["nodes"][0]["html"]) for one in violations]
        for where, violations in found.items()
    } == {"Two versions": [], "Small text": [], "Not here": []}
