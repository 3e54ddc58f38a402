"""The report: what it shows, and that it fetches nothing.

Nothing in a bundle becomes markup. Python's own HTML parser is the judge.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

import seatrial as st
from seatrial.commands.inspect import show_receipts
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.calibration import Calibration
from seatrial_contracts.cost import Cost, Point, Search
from seatrial_contracts.gate_steps import PROVES, GateStep
from seatrial_contracts.golden import HELD_OUT, Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.receipt import Receipt, Trial, this_machine
from seatrial_contracts.release_notes import NOTES
from seatrial_parity.report import gather, write_markdown, write_page
from seatrial_parity.report.junit import write_junit

HOSTILE = "</style><script>alert(1)</script> | `x` [y](http://evil.example) \u202e"


class Note(st.Row):
    text: Annotated[str, st.Text(tokenizer=b"{}")]
    photo: Annotated[bytes, st.Image(formats=("PNG",))]


class Mood(st.Answer):
    mood: Annotated[str, st.Label("good", "<b>bad</b>")]


CONTRACT_OF_NOTES = st.contract_from_rows(Note, Mood)


def rows(count: int) -> Golden:
    from seatrial_contracts.kinds.file_kind import base64_text
    from seatrial_contracts.kinds.image import draw

    random = np.random.default_rng(count)
    scores = random.dirichlet([1, 1], count).astype(np.float32)
    picture = base64_text(draw(20, 10, (200, 30, 30), "PNG"))
    return Golden(
        tuple(
            {"text": HOSTILE if place == 0 else f"note {place}", "photo": picture}
            for place in range(count)
        ),
        tuple({"mood": row} for row in scores),
        truth=tuple({"mood": "good"} if place % 2 else None for place in range(count)),
        slices=tuple(("<i>odd</i>",) if place % 2 else ("even",) for place in range(count)),
    )


def sealed(folder: Path, **promise: Any) -> Bundle:
    variants = (
        Variant(name="fp32", format="fake", graph="graphs/a.fake"),
        Variant(name="int8", format="fake", graph="graphs/b.fake", promise=st.Promise(**promise)),
    )
    files = {
        CONTRACT: CONTRACT_OF_NOTES.to_json(),
        PROFILE: b"{}\n",
        "graphs/a.fake": b"a",
        "graphs/b.fake": b"b",
        NOTES: b"# <b>notes</b>\n",
        "front/text.tokenizer.json": b"{}",
        **rows(12).to_files(),
        **rows(30).to_files(HELD_OUT),
    }
    manifest = Manifest(
        schema=1,
        name="notes",
        version="1.0.0",
        batchable=True,
        variants=variants,
        waivers={"lint": "<u>why</u>"},
        files={},
    )
    return write_bundle(folder, manifest, files)


def answered(golden: Golden, turned: set[int], error: float = 1e-6) -> list[dict[str, Any]]:
    return [
        {"mood": row["mood"][::-1] if place in turned else row["mood"] + np.float32(error)}
        for place, row in enumerate(golden.answers)
    ]


def receipt(
    bundle: Bundle, made_at: str, turned: set[int], variant: str = "int8", **other: Any
) -> Receipt:
    promise = {each.name: each.promise for each in bundle.manifest.variants}[variant]
    assert bundle.held_out is not None
    trials = [
        judge(bundle.contract, promise, bundle.golden, answered(bundle.golden, turned)).trial(
            "onnxruntime", variant, "CPUExecutionProvider", size
        )
        for size in (1, 8)
    ]
    held_out = judge(bundle.contract, promise, bundle.held_out, answered(bundle.held_out, set()))
    trials.append(held_out.trial("onnxruntime", variant, "CPUExecutionProvider", 8, held_out=True))
    trials.append(
        Trial(
            runner="onnxruntime",
            variant=variant,
            provider="CPUExecutionProvider",
            batch_sizes=(1,),
            rows=0,
            refusals=4,
            worst_error=0,
            allowed=0,
            passed=True,
        )
    )
    made = Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=made_at,
        machine=this_machine({}),
        trials=tuple(trials),
        **other,
    )
    made.write(bundle.path)
    return made


class Page(HTMLParser):
    """The page as a browser would read it.

    It holds the elements, the text, and everything that a browser would fetch.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.fetched += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "action", "srcset") and tag != "use"
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_the_verdict_the_slices_and_the_worst_samples_and_nothing_in_a_bundle_is_markup(  # noqa: E501  (a test's name is a sentence)
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path, agreement=0.9)
    receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    receipt(bundle, "2026-01-01T00:00:00Z", {0, 1, 2})
    text = write_page(gather(bundle))
    page = Page(text)
    assert not page.tags.keys() & {"script", "b1", "i", "u", "iframe", "object", "link"}
    assert all(url.startswith("data:image/png;base64,") for url in page.fetched)
    assert page.tags["img"] == len(page.fetched) > 0
    assert "url(" not in text.split("<body>")[0]
    words = " ".join(page.text.split())
    for shown in (
        "Failed",
        "agreement: got 0.75, want at least 0.9, 12 rows",
        "<b>bad</b>",
        "<i>odd</i>",
        "# <b>notes</b>",
        "<u>why</u>",
        bundle.digest,
    ):
        assert shown in words
    assert "</style><script>alert(1)</script>" in words
    assert "\\u202e" in words
    assert "\u202e" not in words


@pytest.mark.slow
def test_the_charts_are_whole_pictures_in_the_colour_of_the_text_and_the_same_each_time(
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path)
    receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    text = write_page(gather(bundle))
    charts = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "#000000" not in chart
    assert write_page(gather(bundle)) == text


def test_the_newest_trial_of_each_thing_counts(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, agreement=0.9)
    receipt(bundle, "2026-01-01T00:00:00Z", {0, 1, 2})
    assert not gather(bundle).passed
    receipt(bundle, "2026-01-02T00:00:00Z", set())
    receipt(bundle, "2026-01-01T12:00:00Z", set(), "fp32")
    found = gather(bundle)
    assert found.passed
    assert [
        (line.variant, line.held_out, list(line.trials), line.refused) for line in found.lines
    ] == [
        ("int8", False, [1, 8], 4),
        ("int8", True, [8], None),
        ("fp32", False, [1, 8], 4),
        ("fp32", True, [8], None),
    ]


def test_a_slice_that_breaks_the_promise_is_marked_beside_the_training_sides_own_measures(
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path, accuracy_drop=0.1)
    receipt(bundle, "2026-01-01T00:00:00Z", {1})
    by_name = {(line.held_out, line.name): line for line in gather(bundle).slices}
    odd = by_name[False, "<i>odd</i>"]
    assert odd.measures.accuracy is not None
    assert odd.own.accuracy is not None
    assert abs(odd.measures.accuracy - odd.own.accuracy) == pytest.approx(1 / 6)
    assert odd.finding.startswith("accuracy_drop") == (odd.measures.accuracy < odd.own.accuracy)
    assert by_name[True, "all rows"].finding == ""


@pytest.mark.slow
def test_costs_and_searches_become_a_table_and_a_chart_and_flipped_labels_are_named(
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path, agreement=0.5)
    receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    assert "Speed and error" not in write_page(gather(bundle))
    made = receipt(bundle, "2026-01-01T00:00:00Z", {2, 7})
    cost = Cost(
        size_bytes=2_500_000,
        seconds={1: 1e-3, 8: 4e-3},
        speed={1: 1.5, 8: 2.25},
        peak_memory_bytes=80_000_000,
        batch_error=1e-8,
    )
    measures = made.trials[0].measures
    assert measures is not None
    tried = [
        Point(keep=("a",) * count, measures=measures, speed=speed, met=True)
        for count, speed in ((0, 2.25), (3, 1.75))
    ]
    search = Search(
        variant="int8",
        recipe="int8",
        budget="agreement>=0.5",
        nodes=9,
        sensitivity={},
        points=tuple(tried),
        chosen=0,
        nearest=0,
    )
    trials = (made.trials[0].model_copy(update={"cost": cost}), *made.trials[1:])
    made.model_copy(
        update={"made_at": "2026-01-02T00:00:00Z", "trials": trials, "searches": (search,)}
    ).write(bundle.path)
    text = write_page(gather(bundle))
    words = " ".join(Page(text).text.split())
    for shown in ("2.50 MB", "1: 1.50x, 8: 2.25x", "80 MB", "1.0e-08", "3/9", "golden rows 2, 7"):
        assert shown in words
    assert "0/9" not in words
    ElementTree.fromstring(
        re.findall(r"<svg .*?</svg>", text.split("Speed and error")[1], re.DOTALL)[0]
    )


def test_the_gate_of_the_export_is_listed_whatever_receipt_is_the_newest(tmp_path: Path) -> None:
    bundle = sealed(tmp_path)
    gate = (
        GateStep(step="parity", proved=PROVES["parity"], seconds=1.26),
        GateStep(step="lint", waived="<i>harmless</i>"),
    )
    receipt(bundle, "2026-01-01T00:00:00Z", set(), gate=gate)
    receipt(bundle, "2026-01-02T00:00:00Z", set())
    findings = gather(bundle)
    words = Page(write_page(findings)).text
    assert all(said in words for said in (PROVES["parity"], "1.3 s", "waived<i>harmless</i>"))
    assert write_markdown(findings).endswith("1 steps passed in 1.3 s; waived: lint.\n")


def test_markdown_keeps_words_words_and_names_what_failed(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, agreement=0.9)
    calibration = Calibration(
        output="mood",
        temperature=2.0,
        from_probabilities=True,
        rows=30,
        error_before=0.2,
        error_after=0.05,
        loss_before=1,
        loss_after=0.5,
    )
    receipt(bundle, "2026-01-01T00:00:00Z", {1}, calibrations=(calibration,))
    text = write_markdown(gather(bundle))
    assert text.startswith("## notes 1.0.0: parity FAILED")
    assert "slice '\\<i\\>odd\\</i\\>', agreement: got 0.833333, want at least 0.9, 6 rows" in text
    assert "| onnxruntime | int8 | CPU | 12 x 1, 8 | 4 |" in text
    assert "| onnxruntime | int8 | CPU | 30 held out x 8 | – | 1.0e-06 | – | yes |" in text
    assert "calibration error 0.200 before, 0.050 after" in text


def test_junit_has_one_case_for_each_set_of_rows_and_batch_size(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, agreement=0.9)
    write_junit(receipt(bundle, "2026-01-01T00:00:00Z", {1}), tmp_path / "junit.xml")
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    assert [(case.get("name"), len(case)) for case in cases] == [
        ("golden rows, batch 1", 1),
        ("golden rows, batch 8", 1),
        ("held-out rows, batch 8", 0),
        ("refusals (4)", 0),
    ]


def test_a_bundle_without_receipts_or_with_one_of_other_rows_says_how_to_mend_it(
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path)
    with pytest.raises(st.DeclarationError, match="run: seatrial parity"):
        gather(bundle)
    made = receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    gather(bundle)
    trial = made.trials[0]
    for change in (
        {"sample": 12},
        {"output": "nothing"},
        {"index": (7,)},
        {"answers": {"mood": {9: 0.5}}},
    ):
        odd = trial.model_copy(update={"worst": (trial.worst[0].model_copy(update=change),)})
        other = replace(bundle, path=tmp_path / "elsewhere" / "-".join(change))
        other.path.mkdir(parents=True)
        made.model_copy(update={"trials": (odd,)}).write(other.path)
        with pytest.raises(st.BundleError, match="which the bundle does not have"):
            gather(other)
    (bundle.path / "receipts" / "odd.json").write_text("{}")
    with pytest.raises(st.BundleError, match=r"receipt 'odd\.json'.*remove it"):
        gather(bundle)


ODD_SAYINGS: list[dict[str, Any]] = [
    {"trials": {"batch_sizes": []}},
    {"trials": {"slices": {"no such slice": {"rows": 1}}}},
    {"trials": {"errors": [10**400]}},
    {"trials": {"errors": [1] * 99}},
    {"trials": {"worst_error": float("inf")}},
    {"trials": {"cost": {"size_bytes": 1, "seconds": {}, "speed": {}}}},
    {"trials": {"cost": {"size_bytes": 10**400, "seconds": {"1": 1}, "speed": {"1": 1}}}},
    {"trials": {"rows": -1}},
    {"made_at": "yesterday"},
    {"digest": "none"},
    {"schema": 2},
]


@pytest.mark.parametrize("said", ODD_SAYINGS, ids=str)
def test_a_receipt_that_says_what_cannot_be_is_refused_by_its_name_or_its_time(
    said: dict[str, Any], tmp_path: Path
) -> None:
    bundle = sealed(tmp_path)
    receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    (file,) = (bundle.path / "receipts").iterdir()
    facts = json.loads(file.read_bytes())
    facts["trials"][0] |= said.pop("trials", {})
    file.write_text(json.dumps(facts | said))
    with pytest.raises(st.BundleError, match=r"receipt .*remove it, and run seatrial parity again"):
        gather(bundle)


def test_held_out_rows_that_the_bundle_has_not_are_refused(tmp_path: Path) -> None:
    bundle = sealed(tmp_path)
    receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    files = {name: data for name, data in bundle.files.items() if not name.startswith(HELD_OUT)}
    with pytest.raises(st.BundleError, match="held-out rows of a trial of 'onnxruntime'"):
        gather(replace(bundle, files=files))


def test_what_no_receipt_proves_is_shown_as_a_claim_and_acts_on_no_terminal_and_no_page(
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path)
    made = receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    machine = made.machine.model_copy(update={"processor": "[/red]\x1b[2J\u202e<b>"})
    trials = (
        made.trials[0].model_copy(
            update={"runner": "[/x]\x1b[2J", "passed": False, "finding": "\u202eno"}
        ),
    )
    made.model_copy(
        update={"machine": machine, "trials": trials, "made_at": "2026-01-02T00:00:00Z"}
    ).write(bundle.path)
    found = gather(bundle)
    page = Page(write_page(found))
    assert "Claimed by 2 receipts, unsigned" in " ".join(page.text.split())
    assert "claimed by [/red]\\x1b[2J\\u202e<b>, unsigned" in page.text
    markdown = write_markdown(found)
    assert "claimed by 2 unsigned receipts" in markdown
    screen = Console(record=True, file=io.StringIO(), width=200)
    show_receipts(screen, bundle)
    terminal = screen.export_text()
    assert "claimed by a machine of" in terminal
    assert "[/x]\\x1b[2J" in terminal
    for text in (page.text, markdown, terminal):
        assert not {"\x1b", "\u202e"} & set(text)


def test_a_receipt_too_large_to_be_read_is_not_written(tmp_path: Path) -> None:
    bundle = sealed(tmp_path)
    made = receipt(bundle, "2026-01-01T00:00:00Z", set(), "fp32")
    with pytest.raises(st.BundleError, match="want at most 4194304"):
        made.model_copy(update={"name": "x" * 2**22}).write(bundle.path)
