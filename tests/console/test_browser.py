"""The console in a real browser.

Tested are a newcomer's steps, what is refused, what moves, and that the console keeps to itself.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import allsorts, browsers, sounds
from support.browsers import PHONE, WIDE, Opened

from seatrial_contracts.kinds.image import draw
from seatrial_contracts.kinds.sound import draw_sound

pytestmark = [pytest.mark.slow, browsers.NEEDED]
EXAMPLES = {"penguins": "species", "digits": "digit", "photos": "label", "sentences": "embedding"}
NASTY = """it's "$HOME" `date` \\n %s <b>é</b> 深度 ' ; true"""


@pytest.fixture(scope="module")
def sorts(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Any:
    """A server over a bundle with a field of nearly every kind."""
    folder = tmp_path_factory.mktemp("allsorts")
    allsorts.seal(folder)
    server = serve(folder)
    assert server.wait_until_loaded()[0] == 200
    return server


def predict(page: Any) -> str:
    """Press the button; what was said aloud."""
    said = page.locator(".try .said")
    before = said.text_content()
    page.get_by_role("button", name="Predict").click()
    page.wait_for_function(
        "([was]) => document.querySelector('.try .said').textContent !== was", arg=[before]
    )
    return str(said.text_content())


def drop(page: Any, name: str, kind: str, data: bytes) -> None:
    """Let a file fall on the drop zone."""
    transfer = page.evaluate_handle(
        """([name, type, text]) => {
            const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([data], name, { type }));
            return transfer;
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})


def test_each_example_is_chosen_tried_and_answered(server: Any, opened: Opened) -> None:
    page = opened(server.url)
    for model, output in EXAMPLES.items():
        page.get_by_role("navigation", name="Models").get_by_role("link", name=model).click()
        page.get_by_role("heading", level=1, name=model).wait_for()
        said = predict(page)
        row = httpx.get(f"{server.url}/v1/models/{model}").json()["example"]
        answer = httpx.post(
            f"{server.url}/v1/models/{model}:predict", json={"instances": [row]}, timeout=60
        ).json()
        expected = answer["predictions"][0][output]
        if isinstance(expected, dict):
            assert said.startswith(f"{output}: {expected['label']}, ")
            best = page.get_by_role("meter", name=expected["label"], exact=True)
            assert float(best.get_attribute("value")) == pytest.approx(
                expected["scores"][expected["label"]], rel=1e-5
            )
        else:
            assert said.startswith(f"{output}: shape 384, ")
            assert page.get_by_role("img", name="Values by index").is_visible()


def test_a_refused_value_is_shown_at_its_field_and_mended(server: Any, opened: Opened) -> None:
    page = opened(server.url, "penguins")
    bill = page.get_by_label("bill_length_mm", exact=True)
    bill.fill("412")
    assert (
        predict(page)
        == "Refused: input 'bill_length_mm', row 0: got 412, want a number from 10 to 100 mm"
    )
    finding = page.locator("#refusal-bill_length_mm")
    assert finding.text_content() == "got 412, want a number from 10 to 100 mm"
    assert finding.get_attribute("id") in bill.get_attribute("aria-describedby")
    assert bill.get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == bill.get_attribute("id")
    bill.fill("")
    page.get_by_label("sex", exact=True).select_option(label="– missing –")
    assert predict(page).startswith("species: ")
    assert bill.get_attribute("aria-invalid") is None
    assert finding.text_content() == ""
    page.get_by_label("year", exact=True).fill("")
    assert "got nothing, want a whole number from 2000 to 2030" in predict(page)
    page.get_by_label("year", exact=True).fill("many")
    assert "got a string of 4 characters" in predict(page)


def test_a_dropped_picture_is_shown_and_read_and_another_file_is_refused_at_its_field(
    server: Any, opened: Opened
) -> None:
    data = draw(40, 30, (10, 200, 40), "PNG")
    page = opened(server.url, "digits")
    drop(page, "sea trial.png", "image/png", data)
    preview = page.get_by_alt_text("Preview of sea trial.png")
    page.wait_for_function("(image) => image.naturalWidth === 40", arg=preview.element_handle())
    reply = httpx.post(
        f"{server.url}/v1/models/digits:predict",
        content=data,
        headers={"content-type": "image/png"},
    )
    assert predict(page).startswith(f"digit: {reply.json()['predictions'][0]['digit']['label']}, ")
    drop(page, "notes.txt", "text/plain", b"no picture at all")
    assert predict(page).startswith(
        "Refused: input 'image', row 0: got a file of another kind, or a damaged one"
    )
    assert "a PNG or JPEG file" in page.locator("#refusal-image").text_content()
    page.locator("#field-image").set_input_files(
        {"name": "x.png", "mimeType": "image/png", "buffer": data}
    )
    assert predict(page).startswith("digit: ")


def test_a_dropped_sound_is_played_and_sent_as_its_file(
    serve: Callable[..., Any], tmp_path: Path, opened: Opened
) -> None:
    sounds.seal(tmp_path)
    server = serve(tmp_path)
    page = opened(server.url, "sound")
    data = draw_sound(8_000, 16_000, level=0.8)
    drop(page, "a horn.wav", "audio/wav", data)
    player = page.get_by_label("Preview of a horn.wav")
    page.wait_for_function("(sound) => sound.duration === 0.5", arg=player.element_handle())
    with page.expect_request("**:predict") as asked:
        said = predict(page)
    assert asked.value.headers["content-type"] == "audio/wav"
    assert said.startswith("level: 0.5")
    drop(page, "notes.txt", "text/plain", b"no sound at all")
    assert "got a file of another kind, or a damaged one" in predict(page)


def test_charts_move_under_traffic(server: Any, opened: Opened) -> None:
    page = opened(server.url, "penguins")
    chart = page.get_by_role("img", name="Requests per second")
    chart.wait_for()
    before = chart.locator("canvas").screenshot()
    row = httpx.get(f"{server.url}/v1/models/penguins").json()["example"]
    with httpx.Client(base_url=server.url) as client:
        for _ in range(30):
            client.post("/v1/models/penguins:predict", json={"instances": [row]})
        client.post("/v1/models/penguins:predict", json={"instances": [{**row, "year": 1}]})
    moved = (
        "(name) => [...document.querySelectorAll('[role=img]')]"
        ".some((one) => RegExp(name).test(one.ariaLabel))"
    )
    for name in (
        "per second: answered (?!0,)",
        "p99: .*total [1-9].*queue .*run .*objective 50 ms",
        "Rows: in a batch 1",
    ):
        page.wait_for_function(moved, arg=name)
    end = time.monotonic() + 20
    while chart.locator("canvas").screenshot() == before:  # it is drawn a moment after its words
        assert time.monotonic() < end, "the chart stands still"
        page.wait_for_timeout(100)
    page.locator("dt", has_text="E_RANGE").wait_for()


def test_the_keyboard_alone_is_enough(server: Any, opened: Opened) -> None:
    page = opened(server.url)
    keys = page.keyboard
    focus = lambda: page.evaluate(
        "document.activeElement.textContent.trim() || document.activeElement.id"
    )
    keys.press("Tab")
    assert focus() == "Skip to the model"
    for _ in range(3):
        keys.press("Tab")
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    while not focus().startswith("penguins"):
        keys.press("Tab")
    keys.press("Enter")
    page.get_by_role("heading", level=1, name="penguins").wait_for()
    page.wait_for_function("() => document.activeElement.id === 'main'")
    keys.press("Tab")
    assert focus() == "field-island" or page.evaluate("document.activeElement.id") == "field-island"
    for _ in range(2):
        keys.press("Tab")
    assert focus() == "field-bill_length_mm"
    keys.press("Control+A")
    keys.type("46.5")
    keys.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('.try .said').textContent.startsWith('species: ')"
    )
    assert page.evaluate("document.activeElement.id") == "field-bill_length_mm"


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing_to_mend(look: str, server: Any, sorts: Any, opened: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {
        "size": PHONE if look == "phone" else WIDE,
        "color_scheme": "dark" if look == "dark" else "light",
    }
    for url, model, empty in ((server.url, "penguins", None), (sorts.url, "allsorts", "stamp")):
        page = opened(url, model, **options)
        if empty:
            page.get_by_label(empty, exact=True).fill("")
        assert predict(page).startswith("Refused: ") is bool(empty)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= options["size"]["width"]
        found = axe.run(page).response["violations"]
        assert [
            (one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found
        ] == []


def test_what_a_bundle_says_is_text(sorts: Any, opened: Opened) -> None:
    page = opened(sorts.url, "allsorts")
    page.get_by_label("stamp", exact=True).fill("9007199254740993")
    page.get_by_label("word", exact=True).fill("never seen")
    page.get_by_label("matrix", exact=True).fill("[[1, 2, 3], [4, 5, 6]]")
    with page.expect_request("**:predict") as asked:
        said = predict(page)
    assert '"stamp": 9007199254740993,' in asked.value.post_data
    assert allsorts.BOLD in said
    assert "place: 2" in said
    assert page.locator(".winner strong", has_text=allsorts.BOLD).is_visible()
    assert (
        page.locator("#hint-age")
        .text_content()
        .startswith("<img src=x onerror=alert(1)>. a number from 0 to 120 years")
    )
    assert page.locator("main img:not([alt^=Preview])").count() == 0
    page.get_by_label("matrix", exact=True).fill("[[1, 2")
    assert predict(page) == "Refused: got no JSON, want float32 numbers of shape [2, 3]"
    assert page.get_by_label("matrix", exact=True).get_attribute("aria-invalid") == "true"


def test_dates_and_times_are_picked_and_sent_with_their_zone(sorts: Any, opened: Opened) -> None:
    page = opened(sorts.url, "allsorts")
    born, at, local = (page.get_by_label(name, exact=True) for name in ("born", "at", "local"))
    assert [each.get_attribute("type") for each in (born, at)] == ["date", "datetime-local"]
    assert born.get_attribute("min") == "1900-01-01"
    born.fill("1999-12-31")
    at.fill("2024-07-01T12:30")
    with page.expect_request("**:predict") as asked:
        assert predict(page).startswith("age_or_0: ")
    (row,) = asked.value.post_data_json["instances"]
    assert (row["born"], row["at"]) == ("1999-12-31", "2024-07-01T12:30:00Z")
    local.fill("2024-03-31T02:30")
    assert "got a local time that no clock shows in Europe/Berlin" in predict(page)
    local.fill("")
    with page.expect_request("**:predict") as asked:
        assert predict(page).startswith("age_or_0: ")
    assert asked.value.post_data_json["instances"][0]["local"] is None


def test_options_are_sent_where_they_are_chosen_and_refused_at_their_place(
    sorts: Any, opened: Opened
) -> None:
    page = opened(sorts.url, "allsorts")
    with page.expect_request("**:predict") as asked:
        assert f"tags: {allsorts.BOLD}, 100.0 %" in predict(page)
    assert "parameters" not in asked.value.post_data
    page.locator(".try summary", has_text="Options").click()
    threshold = page.get_by_label("threshold", exact=True)
    assert threshold.input_value() == "0.5"
    hint = page.locator("[id='hint-option:threshold']").text_content()
    assert hint == f"{allsorts.BOLD}. a number from 0 to 1; 0.5 unless chosen"
    threshold.fill("0")
    with page.expect_request("**:predict") as asked:
        assert f"tags: {allsorts.BOLD}, 100.0 %; plain, 0.0 %" in predict(page)
    assert asked.value.post_data_json["parameters"] == {"threshold": 0}
    page.get_by_label("top_k", exact=True).fill("3")
    page.locator(".try summary", has_text="Options").click()
    assert predict(page) == "Refused: option 'top_k': got 3, want a whole number from 1 to 2"
    finding = page.locator("[id='refusal-option:top_k']")
    assert finding.text_content() == "got 3, want a whole number from 1 to 2"
    assert finding.is_visible()
    page.get_by_role("button", name="Example row").click()
    assert threshold.input_value() == "0.5"


def test_the_parity_report_opens_what_was_measured(sorts: Any, opened: Opened) -> None:
    page = opened(sorts.url, "allsorts")
    page.evaluate(
        "document.querySelectorAll('.receipt details').forEach((one) => (one.open = true))"
    )
    read = lambda name: (
        page.get_by_role("region", name=name).locator("tbody tr").all_text_contents()
    )
    assert read("Errors ") == ["onnxruntimeint8112"]
    assert read("Costs ") == ["int81.23 MB1 ms1.50×4 ms2.25×64.0 MB4.00e-8"]
    assert read("Search for int8 ") == ["0 of 40.022.50×–misses it", "1 of 40.0012.25×–chosen"]
    assert read("Temperatures ") == ["sort1.490.10.020.50.4"]
    chart = page.get_by_role(
        "img", name="Speed beside fp32 against 1 - mean cosine, int8: tried 2.5, chosen 2.25"
    )
    chart.locator("canvas").wait_for()
    assert chart.bounding_box()["width"] > 300


def test_live_parity_and_feedback_are_shown_beside_the_charts(server: Any, opened: Opened) -> None:
    page = opened(server.url, "penguins")
    predict(page)
    row = httpx.get(f"{server.url}/v1/models/penguins").json()["example"]
    told = {"instances": [row], "truth": [{"species": "Gentoo"}]}
    answer = httpx.post(f"{server.url}/v1/models/penguins:feedback", json=told).json()
    assert answer["right"] + answer["wrong"] == 1
    page.get_by_role("heading", name="Live parity, on the fp32 graph").wait_for()
    assert (
        page.locator("dt", has_text="broke a promise").locator("xpath=../dd").text_content() == "0"
    )
    metrics = httpx.get(server.metrics_url).text
    for outcome in ("right", "wrong"):
        counted = re.search(
            f'seatrial_feedback_total{{model="penguins",outcome="{outcome}",slice="all",.*}} (.*)',
            metrics,
        )
        shown = page.locator("dt", has_text=f"labels {outcome}").locator("xpath=../dd")
        shown.filter(has_text=re.compile(f"^{float(counted[1]) if counted else 0:.0f}$")).wait_for()


def test_a_version_that_is_not_ready_says_why(
    server: Any,
    opened: Opened,
    examples: Path,
    tmp_path: Path,
    serve: Callable[..., Any],
) -> None:
    shutil.copytree(examples / "penguins", tmp_path / "penguins")
    (tmp_path / "penguins" / "1.0.0" / "profile.json").write_bytes(b"{}")
    broken = serve(tmp_path)
    broken.wait_until_loaded()
    page = opened(broken.url, "penguins")
    assert page.locator("#health").text_content() == "1 of 1 not ready"
    assert page.get_by_text("E_BUNDLE_CHANGED").is_visible()
    assert page.get_by_text("'profile.json': got 2 bytes").is_visible()


def lines_of(page: Any) -> dict[str, str]:
    """Title of each block -> its lines."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.lines code')].every((one) => one.textContent)"
    )
    return {
        one.locator("summary").text_content(): one.locator("code").text_content()
        for one in page.locator(".lines details").all()
    }


def run(line: str, title: str, folder: Path) -> subprocess.Popen[str]:
    """Start the lines as whoever copied them would."""
    command = (
        ["bash", "-c", line] if title == "curl" else [sys.executable, "-W", "ignore", "-c", line]
    )
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_lines_to_copy_work(server: Any, sorts: Any, opened: Opened, tmp_path: Path) -> None:
    picture = "it's a %s $HOME 'trial'.png"
    (tmp_path / picture).write_bytes(data := draw(40, 30, (10, 200, 40), "PNG"))
    changes: dict[str, Callable[[Any], None]] = {
        "penguins": lambda page: page.get_by_label("bill_length_mm", exact=True).fill(""),
        "sentences": lambda page: page.get_by_label("text", exact=True).fill(NASTY),
        "digits": lambda page: drop(page, picture, "image/png", data),
        "allsorts": lambda page: (
            page.get_by_label("age", exact=True).fill(""),
            page.get_by_label("side", exact=True).select_option(label="– missing –"),
            page.get_by_label("word", exact=True).fill(NASTY),
            page.get_by_label("matrix", exact=True).fill("[[1, 2, 3], [4, 5, 6]]"),
            page.locator(".try summary", has_text="Options").click(),
            page.get_by_label("threshold", exact=True).fill("0"),
            drop(page, picture, "image/png", data),
        ),
    }
    started = []
    for model, change in changes.items():
        page = opened(sorts.url if model == "allsorts" else server.url, model)
        change(page)
        with page.expect_response("**:predict") as answered:
            predict(page)
        (prediction,) = answered.value.json()["predictions"]
        started += [
            (model, title, prediction, run(line, title, tmp_path))
            for title, line in lines_of(page).items()
        ]
    assert len(started) == 12
    for model, title, prediction, process in started:
        said, wrong = process.communicate(timeout=60)
        assert process.returncode == 0, (model, title, wrong)
        if title == "curl":
            assert json.loads(said)["predictions"] == [prediction], model
        elif title == "Python":
            assert said.strip() == repr(prediction), model
        else:
            url = sorts.url if model == "allsorts" else server.url
            outputs = httpx.get(f"{url}/v2/models/{model}").json()["outputs"]
            assert [
                line.split(" ")[0] for line in said.splitlines() if not line.startswith(" ")
            ] == [output["name"] for output in outputs], said


def test_the_apis_pages_work_under_their_policy_and_another_sites_page_reads_nothing(
    browser: Any, sorts: Any
) -> None:
    context, wrong = browser.new_context(), []
    try:
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{sorts.url}/docs")
        page.locator(".opblock-summary-get", has_text="health/live").first.click()
        page.get_by_role("button", name="Try it out").first.click()
        page.get_by_role("button", name="Execute").first.click()
        page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
        assert wrong == []
        ask = (
            "url => fetch(url, {method: 'POST', mode: 'no-cors'})"
            ".then(reply => reply.type, () => 'failed')"
        )
        index = f"{sorts.url}/v2/repository/index"
        assert page.evaluate(ask, index) == "basic"
        foreign = context.new_page()
        foreign.route(
            "http://pages.example/*",
            lambda route: route.fulfill(body="<p>", content_type="text/html"),
        )
        foreign.goto("http://pages.example/")
        assert foreign.evaluate(ask.replace("no-cors", "cors"), index) == "failed"
    finally:
        context.close()
