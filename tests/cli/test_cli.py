"""The command line: help that teaches, JSON for machines, errors on one screen."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.toys import ROWS, fake_runtimes, toy_bundle, toy_golden

from seatrial.commands.parity import command as parity_command
from seatrial.main import cli, main
from seatrial_parity import plugin, trial
from seatrial_parity.runners.runner import TrialRequest


@pytest.mark.parametrize(
    "arguments", [[], ["export"], ["inspect"], ["parity"], ["predict"], ["serve"], ["triton"]]
)
def test_help_says_what_each_command_is_for(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, [*arguments, "--help"])
    assert done.exit_code == 0
    assert len(done.output) > 300


def test_the_examples_of_adopt_stand_on_lines_of_their_own() -> None:
    lines = [
        line.strip() for line in CliRunner().invoke(cli, ["adopt", "--help"]).output.splitlines()
    ]
    first = lines.index("seatrial adopt model.onnx --contract rows.py:Rows --golden rows.jsonl \\")
    assert lines[first + 1 : first + 4] == [
        "--reference reference.py:answers",
        "seatrial adopt hf:./my-folder",
        "seatrial adopt train.py:pipeline --contract rows.py:Rows --golden rows.jsonl",
    ]


def test_every_setting_is_a_flag_with_advice_and_its_environment_variable() -> None:
    text = CliRunner().invoke(cli, ["serve", "--help"]).output
    assert "--http-port" in text
    assert "SEATRIAL_HTTP_PORT" in text
    assert "--docs / --no-docs" in text


def test_inspect_shows_a_bundle_and_gives_it_as_json(tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path)
    shown = CliRunner().invoke(cli, ["inspect", str(bundle.path)])
    assert bundle.digest in shown.output.replace("\n", "")
    facts = json.loads(CliRunner().invoke(cli, ["inspect", str(bundle.path), "--json"]).output)
    assert facts["digest"] == bundle.digest
    assert facts["contract"]["inputs"][0]["name"] == "x"


def test_inspect_measures_what_batches_cost_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    shown = CliRunner().invoke(cli, ["inspect", str(toy_bundle(tmp_path).path), "--measure"])
    assert shown.exit_code == 0, shown.output
    assert "rows/s" in shown.output
    assert "for each row x padded length" in " ".join(shown.output.split())


def test_predict_takes_rows_files_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    path = str(toy_bundle(tmp_path).path)
    row = {"x": 4.0, "word": "a"}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    for given, stdin, want in (
        (json.dumps(row), None, [8.0]),
        (json.dumps([row, row]), None, [8.0, 8.0]),
        ("-", json.dumps(row), [8.0]),
        (str(tmp_path / "rows.jsonl"), None, [2.0 * i for i in range(9)]),
    ):
        done = CliRunner().invoke(cli, ["predict", path, given, "--json"], input=stdin)
        assert [prediction["twice"] for prediction in json.loads(done.output)] == want
    assert len(json.loads(CliRunner().invoke(cli, ["predict", path, "--json"]).output)) == 1


def call(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """The entry point itself: exit status and what it said on stderr."""
    monkeypatch.setattr(sys, "argv", ["seatrial", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["inspect", "/no/such/bundle"], 1, "bundle 'bundle': got no folder"),
        (["export", "none.py:pipeline"], 1, "no file 'none.py'"),
        (["serve", "/no/such/folder"], 1, "no such folder"),
        (["predict", "http://127.0.0.1:9"], 2, "--model NAME"),
        (["nonsense"], 2, "No such command"),
        (["predict", "http://127.0.0.1:9", "{}", "--model", "x"], 1,
         "no server answers there (ConnectError); is it running?"),
        (["predict", "x", "{not json"], 1, "no JSON at line 1"),
    ],
)  # fmt: skip
def test_errors_are_one_screen_without_traceback(
    arguments: list[str],
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = call(arguments, monkeypatch, capsys)
    assert code == status
    assert words in said
    assert "Traceback" not in said


def test_parity_writes_receipt_and_junit_and_exits_with_1_on_a_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import xml.etree.ElementTree as ElementTree

    fake_runtimes(monkeypatch)
    good = toy_bundle(tmp_path / "good")
    done = CliRunner().invoke(
        cli, ["parity", str(good.path), "--junit", str(tmp_path / "good.xml")]
    )
    assert done.exit_code == 0, done.output
    assert good.receipts()[0].passed
    suite = ElementTree.parse(tmp_path / "good.xml").getroot()[0]
    assert (suite.get("failures"), int(suite.get("tests", 0)) > 3) == ("0", True)

    golden = toy_golden()
    golden.answers[3]["twice"] += 1
    bad = toy_bundle(tmp_path / "bad", golden=golden)
    done = CliRunner().invoke(cli, ["parity", str(bad.path), "--junit", str(tmp_path / "bad.xml")])
    assert done.exit_code == 1
    assert "sample 3, output 'twice': got 6, want 7, error 1.00e+00" in done.output
    assert "sample 3, output 'twice'" in (tmp_path / "bad.xml").read_text()
    assert int(ElementTree.parse(tmp_path / "bad.xml").getroot()[0].get("failures", 0)) > 0
    receipt = json.loads(
        CliRunner()
        .invoke(cli, ["parity", str(bad.path), "--json", "--junit", str(tmp_path / "bad.xml")])
        .stdout
    )
    assert not all(item["passed"] for item in receipt["trials"])
    status, _ = call(
        ["parity", str(bad.path), "--junit", str(tmp_path / "bad.xml")], monkeypatch, capsys
    )
    assert status == 1
    status, _ = call(
        ["parity", str(good.path), "--junit", str(tmp_path / "good.xml")], monkeypatch, capsys
    )
    assert not status


def test_a_server_that_holds_another_bundle_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    receipt = trial.try_bundle(
        TrialRequest(toy_bundle(tmp_path), url="http://127.0.0.1:9"), ["http v1"]
    )
    (failed,) = [item for item in receipt.trials if not item.passed]
    assert "no server answers there" in failed.finding


def test_the_pytest_plugin_makes_a_test_of_each_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seatrial_parity.plugin import BundleItem, pytest_collection_modifyitems

    fake_runtimes(monkeypatch)
    golden = toy_golden()
    golden.answers[3]["twice"] += 1
    good, bad = toy_bundle(tmp_path / "good"), toy_bundle(tmp_path / "bad", golden=golden)

    class Config:
        def getoption(self, name: str) -> object:
            return {"seatrial_bundle": [str(good.path), str(bad.path)]}.get(name)

    made: list[BundleItem] = []
    monkeypatch.setattr(
        BundleItem,
        "from_parent",
        lambda session, *, name, bundle_path: made.append((name, bundle_path)) or made[-1],
    )
    pytest_collection_modifyitems(None, Config(), [])  # type: ignore[arg-type]
    assert [path for _, path in made] == [good.path, bad.path]


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("export", "torch", "export"),
        ("adopt", "onnx", "adopt"),
        ("predict", "orjson", "serve"),
        ("parity", "orjson", "parity"),
    ],
)
def test_a_command_whose_packages_are_not_there_names_its_own_extra(
    command: str,
    missing: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_such_module(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    monkeypatch.setattr("importlib.import_module", no_such_module)
    monkeypatch.setattr(sys, "argv", ["seatrial", command])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err.strip().endswith(f"run: pip install '.[{extra}]'")


def test_the_pytest_plugin_takes_what_the_command_takes() -> None:
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    (group,) = [each for each in parser._groups if each.name == "seatrial"]
    names = {option.dest for option in group.options}
    assert all(
        name.startswith("--seatrial-") for option in group.options for name in option.names()
    )
    asked = {field.name for field in fields(TrialRequest)}
    assert names == {f"seatrial_{name}" for name in (*asked, "runner")}
    assert {param.name for param in parity_command.params} >= asked - {"bundle", "pipeline"}


@pytest.mark.slow
def test_a_project_with_options_of_its_own_is_left_alone_and_tries_bundles(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n"
        "    for name in ('url', 'grpc', 'bundle', 'pipeline', 'edge', 'container', 'triton', "
        "'triton-grpc', 'runner'):\n"
        "        parser.addoption(f'--{name}')\n"
    )
    (tmp_path / "test_own.py").write_text(
        "def test_own(pytestconfig):\n    assert pytestconfig.getoption('url') == 'x'\n"
    )
    ours = [
        "--seatrial-bundle",
        "nowhere",
        "--seatrial-edge",
        "http://127.0.0.1:9",
        "--seatrial-trust-torchscript",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--url", "x", *ours],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "bundle 'nowhere': got no folder, want a folder that holds manifest.json" in done.stdout


def test_standard_input_that_is_no_json_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("{"))
    code, said = call(["predict", str(tmp_path), "-"], monkeypatch, capsys)
    assert code == 1
    assert "no JSON" in said


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), ImportError("initialization failed")])
def test_ctrl_c_is_no_traceback_also_in_an_extension_that_is_being_imported(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**how: object) -> None:
        if isinstance(raised, ImportError):
            raise raised from KeyboardInterrupt()
        raise raised

    monkeypatch.setattr("seatrial.main.cli", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped\n"
