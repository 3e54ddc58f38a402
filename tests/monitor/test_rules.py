from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from click.testing import CliRunner
from support.toys import toy_files, toy_manifest
from support.watch import expressions

from seatrial.main import cli
from seatrial_contracts.bins import Ranges, Words
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.profile import Histogram, Profile
from seatrial_serve.deploy.scaling import queue_ratio
from seatrial_serve.metrics import names
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.monitor.figures import Figures, Windows
from seatrial_serve.monitor.rules import alerts, records
from seatrial_serve.monitor.write import called, write_monitoring
from seatrial_serve.process.codes import CODES, FAULTS

ODD = 'a "quoted" \\ word\nof two lines'
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)


PROFILE_OF_TOY = Profile(
    schema=1,
    rows=400,
    inputs={
        "x": Histogram(bins=Ranges(edges=(0.0, 10.0), missing=True), counts=(100, 200, 90, 10)),
        "word": Histogram(bins=Words(words=("a", ODD), unseen=True), counts=(300, 100, 0)),
    },
)


def watched(
    folder: Path, *, p99_s: float | None = 0.05, profile: Profile = PROFILE_OF_TOY
) -> Bundle:
    files = toy_files()
    contract = json.loads(files[CONTRACT]) | {"objective": {"p99_s": p99_s}}
    files |= {CONTRACT: json.dumps(contract).encode(), PROFILE: profile.to_json()}
    return write_bundle(folder, toy_manifest(), files)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_monitoring([watched(tmp_path / "bundles")], tmp_path / "out", Windows())
    return tmp_path / "out"


def test_rules_of_a_model_that_servers_call_otherwise_ask_for_that_name(tmp_path: Path) -> None:
    bundle = watched(tmp_path / "bundles")
    for name in ("../toy", ""):
        with pytest.raises(DeclarationError, match="--model"):
            called(bundle, name)
    found = write_monitoring([called(bundle, "my-model")], tmp_path / "out", Windows())
    assert {file.name for file in found} == {
        "my-model.rules.yaml", "my-model.test.yaml", "my-model.json",
    }  # fmt: skip
    for file in found:
        text = file.read_text("utf-8")
        assert re.search(r'model=\\?"my-model', text), file
        assert not re.search(r'model=\\?"toy', text), file


@pytest.mark.slow
@needs_promtool
def test_promtool_takes_the_rules_and_sees_every_alert_fire_and_be_quiet(written: Path) -> None:
    rules, tests = written / "rules/toy.rules.yaml", written / "rules/toy.test.yaml"
    for verb, file in (("check", rules), ("test", tests)):
        done = subprocess.run(
            ["promtool", verb, "rules", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    alerting = {
        rule["alert"]
        for group in yaml.safe_load(rules.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    tested = [test["name"] for test in yaml.safe_load(tests.read_text())["tests"]]
    assert sorted(tested) == sorted(
        f"{name} {end}" for name in alerting for end in ("fires", "is quiet")
    )


@pytest.mark.slow
@needs_promtool
def test_a_rule_that_no_longer_fires_fails_its_test(written: Path) -> None:
    rules = written / "rules/toy.rules.yaml"
    rules.write_text(rules.read_text().replace("> 0.2 and", "> 200 and"))
    tests = written / "rules/toy.test.yaml"
    some = yaml.safe_load(tests.read_text())
    some["tests"] = [test for test in some["tests"] if test["name"].startswith("SeatrialDrift")]
    tests.write_text(yaml.safe_dump(some))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "SeatrialDrift fires" in done.stdout + done.stderr


@pytest.mark.slow
@needs_promtool
def test_the_queue_ratio_is_the_mean_of_the_replicas_without_a_requests_own_time(
    written: Path, tmp_path: Path
) -> None:
    objective, own = 0.0625, 0.0390625  # whose ratios are binary fractions

    def replica(number: int, waiting: int, version: str = "1.0.0") -> dict[str, float]:
        labels = f'namespace="n", instance="{number}", model="toy", version="{version}"'
        return {
            f"{names.PREDICTED_QUEUE}{{{labels}}}": own * waiting,
            f"{names.PREDICTED_WAIT}{{{labels}}}": own * (waiting + 1),
            f"{names.OBJECTIVE_SECONDS}{{{labels}}}": objective,
        }

    def asked(ratio: float, *replicas: dict[str, float]) -> dict[str, Any]:
        series = [
            {"series": name, "values": f"{value}x9"}
            for one in replicas
            for name, value in one.items()
        ]
        wanted = {"seatrial:queue:ratio": '{__name__="seatrial:queue:ratio", model="toy"}'}
        wanted |= {queue_ratio(namespace="n", model="toy"): "{}"}
        tests = [
            {"expr": expr, "eval_time": "5m", "exp_samples": [{"labels": labels, "value": ratio}]}
            for expr, labels in wanted.items()
        ]
        return {"interval": "1m", "input_series": series, "promql_expr_test": tests}

    idle, waits = replica(1, 0), replica(2, 5)
    cases = [
        asked(0, idle, replica(2, 0)),
        asked(3.125, waits),
        asked(1.5625, idle, waits),
        asked(1.5625, idle, waits, replica(1, 0, "2.0.0"), replica(2, 1, "2.0.0")),
    ]
    file = tmp_path / "queue.test.yaml"
    rules = str(written / "rules/toy.rules.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [rules], "tests": cases}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_is_promql_whatever_the_words_of_the_contract(written: Path) -> None:
    found = expressions(written)
    assert len(found) > 60
    for expr in found:
        promql_parser.parse(expr)


def test_every_metric_asked_for_is_one_that_the_server_has_or_the_rules_record(
    written: Path, tmp_path: Path
) -> None:
    bundle = watched(tmp_path / "again")
    recorded = set(records(Figures(bundle, Windows())))
    metrics = Metrics()
    registry = metrics.registry
    registered = set(registry._names_to_collectors)
    for expr in expressions(written):
        asked = set(re.findall(r"seatrial[_:][a-z0-9_:]+", re.sub(r'"(\\.|[^"])*"', "", expr)))
        assert asked <= recorded | registered, asked - recorded - registered


def test_each_alert_says_what_to_do_and_its_codes_exist(tmp_path: Path) -> None:
    bundle = watched(tmp_path)
    for alert in alerts(bundle, Figures(bundle, Windows())):
        assert len(alert.runbook) > 30
        assert alert.severity in ("page", "ticket")
        assert bundle.name in alert.summary
    assert set(FAULTS) <= CODES.keys()


def test_the_latency_alert_takes_the_bound_that_is_within_the_objective(tmp_path: Path) -> None:
    assert Figures(watched(tmp_path / "a", p99_s=0.07), Windows()).objective_s == 0.05
    assert Figures(watched(tmp_path / "b", p99_s=0.00001), Windows()).objective_s is None


def test_without_objective_or_profile_their_alerts_are_left_out_and_said(tmp_path: Path) -> None:
    bundle = watched(tmp_path / "bundles", p99_s=None, profile=Profile(schema=1))
    done = CliRunner().invoke(cli, ["monitor", str(bundle.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "no latency alert" in done.output
    assert "no drift alert" in done.output
    text = (tmp_path / "out/rules/toy.rules.yaml").read_text()
    assert "SeatrialLatency" not in text
    assert "SeatrialDrift\n" not in text


def test_a_window_that_is_no_duration_is_refused(tmp_path: Path) -> None:
    bundle = watched(tmp_path / "bundles")
    done = CliRunner().invoke(
        cli,
        ["monitor", str(bundle.path), "--out", str(tmp_path / "out"), "--drift-window", "an hour"],
    )
    assert done.exit_code == 1
    assert "want a duration" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_the_same_bundle_gives_the_same_files(written: Path, tmp_path: Path) -> None:
    write_monitoring([watched(tmp_path / "bundles")], tmp_path / "again", Windows())
    for file in written.rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(written)).read_bytes()
