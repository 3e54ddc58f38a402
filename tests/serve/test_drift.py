"""A shifted stream of penguins, through real servers and a real Prometheus.

The drift that both ways show is the one computed apart from us.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from support.real_prometheus import INSTALLED, WHY, RealPrometheus

from seatrial.main import cli

DOCS = Path(__file__).resolve().parents[2] / "docs/concepts/drift.md"
RULES = re.search(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
REFUSED = 7
CLOSE = 0.02
"""Prometheus extrapolates the increase of each replica's counters a little differently."""


def penguins() -> list[dict[str, Any]]:
    palmerpenguins = pytest.importorskip("palmerpenguins")
    table = palmerpenguins.load_penguins().drop(columns="species")
    return [
        {key: None if value != value else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]


def shifted() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One island alone, bills 5 mm longer; and rows from an island that nobody knows."""
    rows = [
        {
            **row,
            "bill_length_mm": None if row["bill_length_mm"] is None else row["bill_length_mm"] + 5,
        }
        for row in penguins()
        if row["island"] == "Dream"
    ]
    return rows, [{**rows[0], "island": "Atlantis"}] * REFUSED


def figures(reference: Sequence[float], live: Sequence[float]) -> tuple[float, float]:
    """PSI and Jensen-Shannon as scipy has them."""
    p, q = (np.maximum(np.array(each) / np.sum(each), 1e-4) for each in (reference, live))
    return float((rel_entr(p, q) + rel_entr(q, p)).sum()), float(
        jensenshannon(reference, live, base=2)
    )


def expected(bundle: Path, rows: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Computed from the sealed profile as plain JSON and from the rows alone."""
    profile = json.loads((bundle / "profile.json").read_text("utf-8"))["inputs"]
    islands = Counter(row["island"] for row in rows)
    island = [islands[word] for word in profile["island"]["bins"]["words"]] + [REFUSED]
    bills = [row["bill_length_mm"] for row in rows if row["bill_length_mm"] is not None]
    edges = [-np.inf, *profile["bill_length_mm"]["bins"]["edges"], np.inf]
    bill = [*np.histogram(bills, edges)[0], len(rows) - len(bills)]
    return {
        "island": figures(profile["island"]["counts"], island),
        "bill_length_mm": figures(profile["bill_length_mm"]["counts"], bill),
    }


@pytest.mark.slow
def test_rows_on_disk_show_the_drift_that_scipy_computes(examples: Path, tmp_path: Path) -> None:
    bundle = examples / "penguins" / "1.0.0"
    rows, unknown = shifted()
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows + unknown)))
    done = CliRunner().invoke(
        cli,
        [
            "drift",
            str(bundle),
            str(tmp_path / "rows.jsonl"),
            "--json",
            "--plot",
            str(tmp_path / "drift.png"),
        ],
    )
    assert done.exit_code == 1, done.output
    found = json.loads(done.output)
    fields = {each["field"]: each for each in found["fields"]}
    for field, (psi, js) in expected(bundle, rows).items():
        assert fields[field]["psi"] == pytest.approx(psi)
        assert fields[field]["js"] == pytest.approx(js)
        assert fields[field]["drifted"]
    assert not fields["year"]["drifted"]
    assert found["refused"] == {"E_CATEGORY": REFUSED}
    assert fields["island"]["unseen"] == pytest.approx(REFUSED / (len(rows) + REFUSED))
    assert fields["species"]["drifted"]
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason=WHY)
def test_prometheus_shows_the_same_drift_over_all_replicas(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    assert RULES is not None
    bundle = examples / "penguins" / "1.0.0"
    rows, unknown = shifted()
    replicas = [serve(bundle), serve(bundle, "--workers", "2", "--threads", "1")]
    for replica in replicas:
        assert replica.wait_until_loaded()[0] == 200
    urls = [replica.metrics_url for replica in replicas]
    with RealPrometheus(tmp_path / "prometheus", urls, RULES[1]) as prometheus:
        # A version's bins begin with its first row, and growth is counted from there.
        for replica in replicas:
            ask(replica.url, rows[0], "first")
        prometheus.until(
            lambda: len(prometheus.values("seatrial_drift_sampled_total", "instance")) == 2
        )
        for place, row in enumerate(rows + unknown):
            ask(replicas[place % 2].url, row, f"row-{place}")
        island = 'sum(seatrial_drift_total{field="island"})'
        prometheus.until(
            lambda: prometheus.values(island, "") == {"": len(replicas) + len(rows) + REFUSED}
        )
        want = expected(bundle, rows)
        unseen = 'seatrial:drift_live:share{field="island",bin="(unseen)"}'
        records = {
            "seatrial:drift_psi": {field: psi for field, (psi, _) in want.items()},
            "seatrial:drift_js": {field: js for field, (_, js) in want.items()},
            unseen: {"island": REFUSED / (len(rows) + REFUSED)},
        }

        def settled() -> bool:
            seen = {record: prometheus.values(record, "field") for record in records}
            return all(
                seen[record].get(field) == pytest.approx(figure, rel=CLOSE)
                for record, figures in records.items()
                for field, figure in figures.items()
            )

        prometheus.until(settled)
        done = CliRunner().invoke(
            cli, ["drift", str(bundle), "--prometheus", prometheus.url, "--json"]
        )
        assert done.exit_code == 1, done.output
        fields = {each["field"]: each for each in json.loads(done.output)["fields"]}
        for field, (psi, js) in want.items():
            assert (fields[field]["psi"], fields[field]["js"]) == pytest.approx(
                (psi, js), rel=CLOSE
            )
        refused = json.loads(done.output)["refused"]["E_CATEGORY"]
        assert refused == pytest.approx(REFUSED, abs=3)  # `increase` extrapolates
        exemplars = prometheus.get(
            "query_exemplars",
            query="seatrial_request_phase_seconds_bucket",
            start="0",
            end="9999999999",
        )
        assert any(
            each["labels"]["request_id"].startswith("row-")
            for series in exemplars
            for each in series["exemplars"]
        )
    for url in urls:
        check = ["promtool", "check", "metrics"]
        done = subprocess.run(check, input=httpx.get(url).content, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def ask(url: str, row: dict[str, Any], request_id: str) -> None:
    reply = httpx.post(
        f"{url}/v1/models/penguins:predict",
        json={"instances": [row]},
        headers={"X-Request-Id": request_id},
    )
    assert reply.status_code == (400 if row["island"] == "Atlantis" else 200), reply.text


@pytest.mark.skipif(not INSTALLED, reason=WHY)
def test_the_rules_of_the_page_are_rules(tmp_path: Path) -> None:
    assert RULES is not None
    (tmp_path / "rules.yaml").write_text(RULES[1])
    subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")],
        check=True,
        capture_output=True,
    )
