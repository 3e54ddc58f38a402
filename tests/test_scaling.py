"""What to scale by: the page's object, and the simulation that its figures are from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks/scaling"))
from replicas import Model, Replicas  # noqa: E402  (found through the line above)
from rules import Hpa, RayServe  # noqa: E402  (as above)
from simulate import KEDA, MODELS, POLICIES, RAY, day, gently  # noqa: E402  (as above)
from traffic import DAY_S, Traffic  # noqa: E402  (as above)

from seatrial_serve.metrics import names  # noqa: E402  (as above)

PAGE = (ROOT / "docs/how-to/scaling.md").read_text("utf-8")
CARD = MODELS["photos on a card"]


def test_scalers_are_written_with_the_simulated_speeds_and_target() -> None:
    text = (ROOT / "deploy/kubernetes/sentences/components/keda/scaledobject.yaml").read_text()
    spec = yaml.safe_load(text)["spec"]
    assert spec["triggers"][0]["metadata"]["threshold"] == "0.5"
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    speeds = {
        (side, policy["type"]): (policy["value"], policy["periodSeconds"])
        for side, one in behavior.items()
        for policy in one["policies"]
    }
    rule = gently()
    assert speeds == {
        ("scaleUp", "Percent"): (100 * rule.up, rule.every_s),
        ("scaleUp", "Pods"): (4, rule.every_s),
        ("scaleDown", "Percent"): (100 * rule.down, 60),
    }
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == rule.window_s


def test_the_pages_metrics_are_the_servers() -> None:
    told = set(re.findall(r"^\| `(seatrial_\w+)` \|", PAGE, re.MULTILINE))
    assert told == {
        names.PREDICTED_WAIT, names.PREDICTED_QUEUE, names.OBJECTIVE_SECONDS,
        names.REQUESTS_WAITING, names.REQUESTS_RUNNING,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "load", "wanted"),
    [(3, 2.0, 6), (6, 0.5, 6), (10, 1.05, 10), (10, 0.95, 10), (1, 9.0, 5), (10, 9.0, 20)],
    ids=["double", "down waits", "within tolerance", "within it below", "4 Pods", "twice at most"],
)
def test_the_hpa_as_kubernetes_documents_it(count: int, load: float, wanted: int) -> None:
    rule = Hpa()
    rule.wanted(0, count, 1.0)
    assert rule.wanted(15, count, load) == wanted


def test_the_hpa_goes_down_to_the_most_that_its_window_wanted() -> None:
    rule = Hpa(window_s=60)
    found = [
        rule.wanted(now, 10, load) for now, load in ((0, 0.8), (15, 0.5), (30, 0.3), (75, 0.3))
    ]
    assert found == [8, 8, 8, 3]


def test_ray_holds_on_before_it_scales() -> None:
    rule = RayServe(up_s=3)
    assert [rule.wanted(now, 2, 2.0) for now in range(5)] == [2, 2, 2, 4, 2]


def test_within_rays_tolerance_the_count_stays() -> None:
    rule = RayServe(up_s=0, tolerance=0.1)
    assert [rule.wanted(now, 20, 1.09) for now in range(3)] == [20, 20, 20]
    assert RayServe(up_s=0).wanted(0, 20, 1.09) == 22


@pytest.mark.parametrize("steps_per_s", [1, 20])
def test_no_request_of_a_simulated_step_is_lost(steps_per_s: int) -> None:
    dice, model = np.random.default_rng(7), Model(10.0, 0.5, 2.0, 1.0, 5.0, steps_per_s)
    replicas = Replicas(model, np.zeros(3))
    arrived = refused = 0
    answered = 0.0
    for _ in range(300 * steps_per_s):
        before = replicas.waiting.sum()
        one = replicas.step(60.0, dice)
        arrived, refused = arrived + one.arrived, refused + one.refused
        answered += before + one.arrived - one.refused - replicas.waiting.sum()
    assert refused > 0
    assert arrived == pytest.approx(refused + answered + replicas.waiting.sum())
    assert answered <= 300 * 3 * model.per_s + 1e-6


def test_a_simulated_queue_is_that_of_queueing_theory() -> None:
    model = Model(1 / 0.3, 0.5, 30.0, 1.0, 5.0, steps_per_s=50)
    replicas, dice, requests = Replicas(model, np.zeros(200)), np.random.default_rng(7), []
    for step in range(3000):
        replicas.step(200 * 0.6 * model.per_s, dice)
        if step > 500:
            requests.append(np.ceil(replicas.waiting).mean())
    share = 0.6  # M/D/1, Pollaczek-Khinchine: as many are there on average
    assert np.mean(requests) == pytest.approx(share + share**2 / 2 / (1 - share), rel=0.1)


@pytest.mark.parametrize("name", [KEDA, RAY])
def test_an_idle_model_is_not_scaled_up_however_slow_it_is(name: str) -> None:
    slow, idle = MODELS["a slow model"], np.zeros(1200)
    assert 1 / slow.per_s == pytest.approx(0.6 * slow.objective_s)
    assert day(slow, POLICIES[name], idle).most == 1
    assert day(slow, POLICIES["longest wait, KEDA, gently"], idle).most == 1000


def test_one_request_at_a_time_does_not_take_every_replica() -> None:
    slow = MODELS["a slow model"]
    rates = np.full(1200, 0.3 * slow.per_s)
    assert day(slow, POLICIES[KEDA], rates).most <= 5
    assert day(slow, POLICIES["longest queue, KEDA, gently"], rates).most > 10


def test_the_simulated_objectives_are_the_contracts() -> None:
    for title, pipeline in (
        ("sentences", "sentences"), ("penguins", "penguins"), ("photos on a card", "photos"),
    ):  # fmt: skip
        text = (ROOT / f"examples/{pipeline}/pipeline.py").read_text("utf-8")
        assert f"st.Objective(p99_s={MODELS[title].objective_s})" in text


def test_a_full_card_is_seen_by_the_wait_and_not_by_processor_time() -> None:
    rates = Traffic(peak_per_s=CARD.per_s * 6).per_s(DAY_S, np.random.default_rng(7))[18_000:23_400]
    by_cpu, by_wait = (
        day(CARD, POLICIES[name], rates) for name in ("CPU, HPA", "predicted queue, KEDA, gently")
    )
    assert by_cpu.refused > 0.05 * by_cpu.arrived
    assert by_wait.refused < 0.02 * by_wait.arrived
