from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import figures

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.deploy.measured import MEASURED, read_measured, write_measured
from seatrial_serve.deploy.pod import PORTS
from seatrial_serve.deploy.sizing import BUDGET_SHARE, MOST_BUDGET_BYTES, Sizing
from seatrial_serve.process import resources
from seatrial_serve.settings import Settings


def test_the_memory_holds_what_was_measured_beside_what_the_server_lets_requests_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources.os, "sysconf", lambda _: 2**31)
    for resident in (50_000_000, 400_000_000, 9_000_000_000, 60_000_000_000):
        limit = Sizing(figures(resident_bytes=resident)).memory_bytes
        (tmp_path / "memory.max").write_text(str(limit))
        budget = resources.plan_bytes(tmp_path)
        assert budget == min(int(limit * BUDGET_SHARE), MOST_BUDGET_BYTES)
        assert resident * 1.2 <= limit - budget < resident * 1.2 + 2**26
        assert limit % 2**26 == 0


def test_a_pod_lives_until_its_last_request_can_have_been_answered() -> None:
    sizing = Sizing(figures(slowest_answer_s=7.2))
    assert sizing.grace_s == Settings.model_fields["request_timeout_s"].default + 8
    assert sizing.termination_s == 5 + sizing.grace_s + 5


def test_a_start_may_take_ten_times_as_long_and_a_bundle_has_time_to_arrive() -> None:
    assert Sizing(figures(start_s=0.5)).start_s == 60
    assert Sizing(figures(start_s=20.0, bundle_bytes=3_000_000_000)).start_s == 500
    assert Sizing(figures(start_s=200.0)).progress_s > Sizing(figures(start_s=200.0)).start_s


def test_a_replica_keeps_its_cores_and_is_not_the_first_to_be_evicted() -> None:
    found = Sizing(figures(cores=3)).resources
    assert found["requests"] == found["limits"]
    assert found["limits"]["cpu"] == "3"


def test_every_figure_says_where_it_comes_from() -> None:
    said = "\n".join(Sizing(figures()).reasons())
    for part in ("a processor", "180 MB", "7 s", "0.25 s", "64 rows", "2026-11-29", "2 threads"):
        assert part in said


def test_figures_are_kept_and_a_file_of_something_else_says_how_to_mend(tmp_path: Path) -> None:
    assert read_measured(tmp_path) is None
    write_measured(tmp_path, figures())
    assert read_measured(tmp_path) == figures()
    (tmp_path / MEASURED).write_text("{}")
    with pytest.raises(DeclarationError, match=r"no figures.*remove it"):
        read_measured(tmp_path)


def test_the_ports_are_those_that_the_image_exposes() -> None:
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text("utf-8")
    (line,) = (line for line in dockerfile.splitlines() if line.startswith("EXPOSE "))
    assert [int(port) for port in line.split()[1:]] == list(PORTS.values())
