"""Threads are planned from what the process is really granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from seatrial_serve.process.resources import cgroup_limit, plan_threads, usable_cores


@pytest.mark.parametrize(
    ("text", "limit"),
    [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("broken", None)],
)
def test_a_cgroup_v2_limit_is_read(text: str, limit: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cgroup_limit(tmp_path) == limit


@pytest.mark.parametrize(("quota", "limit"), [("-1", None), ("300000", 3.0)])
def test_a_cgroup_v1_limit_is_read(quota: str, limit: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cgroup_limit(tmp_path) == limit


def test_cores_are_the_smaller_of_affinity_and_limit_and_at_least_one(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000")
    assert usable_cores(tmp_path) == 1
    assert usable_cores(tmp_path / "none") >= 1
    assert plan_threads(0).runs == 1
    assert plan_threads(4).intra_op == 1
