"""What a server with `--load on-demand` will do: what fits, what is evicted, which p99 comes.

    python benchmarks/plan.py figures URL > figures.json
    python benchmarks/plan.py simulate figures.json --model-memory-bytes 2000000000 --cores 4 \\
        --request-seconds 0.0004 (--trace FILE | --rate 100 --seconds 600) [--p99-ms 50]
    python benchmarks/plan.py check

`figures` reads what a server says of the models that it has loaded: cost line, batch sizes, memory,
load time. `simulate` plays arrivals: of a file (`seconds,model` a line), or drawn (a Poisson stream
over models whose popularity is Zipf's). With `--p99-ms` it seeks the fewest cores, or with
`--card-slots` the fewest cards of so many slots each, whose p99 is no higher. `check` plays one
trace to a real server on core 0, from a client on core 1, and prints predicted beside measured.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "models"))
from many import WIDE, Served, ask_each, cpu_s, make, server
from open_loop import Due, play
from simulated_server import ModelFigures, Outcome, ServerFigures, simulate

from seatrial_serve.inference.pace import Pace
from seatrial_serve.scheduling.batch_rule import BatchRule

MOST = 256
"""Cores or cards that are tried."""
SIZES = {3600: 80, 12_000: 40}
"""Of `check`: width of the hidden layer -> how many models have it (1 and 3.4 MB)."""
SHARE, RATE, SECONDS, EXPONENT = 0.4, 40.0, 45.0, 1.1
"""Of `check`: the memory that is granted, in that of all models; requests a second; Zipf's law."""
CALIBRATED = 200
UNLOADED = re.compile(r"(\S+) \S+ is unloaded, ([\d.]+) MB")


def read_figures(url: str) -> dict[str, Any]:
    """What a server says of each model that it has loaded."""
    with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as reply:
        names = [each["name"] for each in json.loads(reply.read())["models"]]
    found = {}
    for name in names:
        with urllib.request.urlopen(f"{url}/v1/models/{name}", timeout=60) as reply:
            page = json.loads(reply.read())
        if "execution" in page:
            kept = ("execution", "memory_bytes", "load_seconds")
            found[name] = {key: page[key] for key in kept}
    return found


def models_of(figures: Mapping[str, Any]) -> dict[str, ModelFigures]:
    """The same as the simulation takes it."""
    found = {}
    for name, page in figures.items():
        runs = page["execution"]
        seconds = {int(rows): s for rows, s in runs["batch_seconds"].items()}
        rule = BatchRule(runs["batch_rows"], runs["deep_batch_rows"], runs["batch_cost"])
        pace = Pace(seconds, runs["cost_seconds"]["row_units"])
        found[name] = ModelFigures(pace, rule, page["memory_bytes"], page["load_seconds"])
    return found


def drawn(
    names: Sequence[str], rate: float, seconds: float, exponent: float, seed: int
) -> list[Due]:
    """Arrivals of a Poisson process, over models whose popularity falls by Zipf's law."""
    dice = np.random.default_rng(seed)
    at = np.cumsum(dice.exponential(1 / rate, round(2 * rate * seconds) + 100))
    share = 1 / np.arange(1, len(names) + 1) ** exponent
    chosen = dice.choice(len(names), len(at), p=share / share.sum())
    return [(float(t), names[place]) for t, place in zip(at, chosen, strict=True) if t < seconds]


def read_trace(path: Path, models: Container[str]) -> list[Due]:
    """Arrivals of a file: seconds and model a line, in any order. Exits where a line is none."""
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        at, _, name = (part.strip() for part in line.partition(","))
        if not re.fullmatch(r"\d+(\.\d+)?", at) or name not in models:
            want = "seconds from the start and a model that has figures: 0.5,churn"
            sys.exit(f"line {number} of {path}: got {line!r}, want {want}")
        found.append((float(at), name))
    if not found:
        sys.exit(f"{path}: got no arrival, want a line for each: 0.5,churn")
    return sorted(found)


def quantile_ms(seconds: Sequence[float], share: float) -> float | None:
    """A quantile in milliseconds; None of nothing."""
    return round(float(np.quantile(seconds, share)) * 1e3, 2) if seconds else None


def summary(
    seconds_warm: Sequence[float], seconds_cold: Sequence[float], refused: int, loads: int,
    evictions: int, most_bytes: int, cpu: float, seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """What is said of a run, simulated or real."""
    count = len(seconds_warm) + len(seconds_cold) + refused
    return {
        "requests": count,
        "refused": refused,
        "loads": loads,
        "evictions": evictions,
        "cold_share": round(len(seconds_cold) / max(count, 1), 4),
        "memory_mb": round(most_bytes / 1e6, 1),
        "busy_cores": round(cpu / seconds, 4),
        "cpu_us_a_request": round(cpu / max(count, 1) * 1e6, 1),
        "warm_p50_ms": quantile_ms(seconds_warm, 0.5),
        "warm_p99_ms": quantile_ms(seconds_warm, 0.99),
        "cold_p50_ms": quantile_ms(seconds_cold, 0.5),
        "cold_p99_ms": quantile_ms(seconds_cold, 0.99),
    }


def told(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What is said of a simulated run."""
    answered = [each for each in outcome.came if each.seconds >= 0]
    said = summary(
        [each.seconds for each in answered if not each.cold],
        [each.seconds for each in answered if each.cold],
        len(outcome.came) - len(answered), outcome.loads, outcome.evictions, outcome.most_bytes,
        outcome.busy_s, max(seconds, outcome.seconds),
    )  # fmt: skip
    return said | {"fit": outcome.held}


def fewest(
    server_of: Any, models: Mapping[str, ModelFigures], due: Sequence[Due], p99_ms: float, of: str
) -> int | None:
    """The fewest cores, or cards, whose p99 is no higher; None where `MOST` are too few.

    `server_of` gives the server of a number; `of`: of which requests the p99 is, warm or cold.
    """
    for number in range(1, MOST + 1):
        said = told(simulate(server_of(number), models, due), due[-1][0])
        p99 = said[f"{of}_p99_ms"]
        if not said["refused"] and (p99 is None or p99 <= p99_ms):
            return number
    return None


def run_simulate(asked: argparse.Namespace) -> dict[str, Any]:
    """A trace over models of which figures were read."""
    models = models_of(json.loads(asked.figures.read_text("utf-8")))
    due = (
        read_trace(asked.trace, models)
        if asked.trace is not None
        else drawn(sorted(models), asked.rate, asked.seconds, asked.exponent, asked.seed)
    )

    def server_of(number: int) -> ServerFigures:
        cards = asked.card_slots * number
        return ServerFigures(
            asked.cores if cards else number, asked.model_memory_bytes, asked.request_seconds,
            asked.wire_seconds, card_slots=cards,
        )  # fmt: skip

    figures = server_of(1 if asked.card_slots else asked.cores)
    found = told(simulate(figures, models, due), due[-1][0])
    if asked.p99_ms is not None:
        what = "fewest_cards" if asked.card_slots else "fewest_cores"
        found[what] = fewest(server_of, models, due, asked.p99_ms, asked.of)
    return found


def run_check(out: Path, seed: int) -> dict[str, Any]:
    """Predicted beside measured."""
    names = [f"m{place:03}" for place in range(sum(SIZES.values()))]
    dealt = [hidden for hidden, count in SIZES.items() for _ in range(count)]
    np.random.default_rng(1).shuffle(dealt)
    for hidden in SIZES:
        make(out, [name for name, its in zip(names, dealt, strict=True) if its == hidden], hidden)
    body = json.dumps({"instances": [{"x": [0.5] * WIDE}]}).encode()
    for _ in range(2):  # the first run keeps receipts
        with server(out, "--load", "on-demand", core=0) as survey:
            ask_each(survey.address, names, body)
            models = models_of(read_figures(f"http://{survey.address}"))
    limit = round(sum(model.memory_bytes for model in models.values()) * SHARE)
    due = drawn(names, RATE, SECONDS, EXPONENT, seed)
    flags = ("--load", "on-demand", "--model-memory-bytes", str(limit))
    with server(out, *flags, core=0) as served:
        first, figures = calibrated(served, names, models, body, limit)
        models = measured_again(models, dict(zip(names, dealt, strict=True)), served.log)
        begun = Counted(served)
        replies = play(served.address, due, body, core=1)
        spent, loads, evictions, waited = Counted(served).since(begun)
        held = read_figures(f"http://{served.address}")
    warm = [each.seconds for each in replies if each.status == 200 and not each.load_s]
    cold = [each.seconds for each in replies if each.status == 200 and each.load_s]
    measured = summary(
        warm, cold, sum(each.status != 200 for each in replies), loads, evictions,
        sum(each["memory_bytes"] for each in held.values()), spent, SECONDS,
    )  # fmt: skip
    begin_s = first[-1][0] + 5.0
    trace = [*first, *((begin_s + at, name) for at, name in due)]
    predicted = told(simulate(figures, models, trace, begin_s), SECONDS)
    late = [each.late_s for each in replies]
    return {
        "request_us": round(figures.request_s * 1e6, 1),
        "load_ms": round((figures.load_s or 0) * 1e3, 2),
        "wire_ms": round(figures.wire_s * 1e3, 3), "limit_mb": round(limit / 1e6, 1),
        "held": len(held), "waited_for_a_core_s": round(waited, 2), "ran_s": round(spent, 2),
        "sent_late_p99_ms": quantile_ms(late, 0.99),
        "predicted": predicted, "measured": measured,
        "ratio": {
            key: round(predicted[key] / value, 3)
            for key, value in measured.items()
            if value
        },
    }  # fmt: skip


class Counted:
    """A server's processor time, loads and evictions so far."""

    def __init__(self, served: Served) -> None:
        lines = list(served.log)
        self.cpu_s, self.waited_s = cpu_s(served.process), cpu_s(served.process, waited=True)
        self.loads = sum("passed its load gate" in line for line in lines)
        self.evictions = sum(" is unloaded, " in line for line in lines)

    def since(self, begun: Counted) -> tuple[float, int, int, float]:
        """Processor seconds, loads, evictions, and seconds that threads waited for a core."""
        return (
            self.cpu_s - begun.cpu_s, self.loads - begun.loads, self.evictions - begun.evictions,
            self.waited_s - begun.waited_s,
        )  # fmt: skip


def measured_again(
    models: Mapping[str, ModelFigures], classes: Mapping[str, int], log: Sequence[str]
) -> dict[str, ModelFigures]:
    """The models with what their loads, and those of their like, were measured to take.

    By what the server said of each that it unloaded. Memory that a process has used before is given
    out again, so that later loads take less than the first, and not all as much.
    """
    seen: dict[int, list[int]] = {}
    for line in list(log):
        found = UNLOADED.search(line)
        if found is not None:
            seen.setdefault(classes[found[1]], []).append(round(float(found[2]) * 1e6))
    return {
        name: model._replace(
            memory_bytes=round(median(seen[classes[name]])),
            memory_seen=tuple(seen[classes[name]]),
        )
        for name, model in models.items()
    }


def calibrated(
    served: Served, names: Sequence[str], models: Mapping[str, ModelFigures], body: bytes,
    limit: int,
) -> tuple[list[Due], ServerFigures]:  # fmt: skip
    """What was asked meanwhile, and what a request and a load cost, at a low rate."""
    loading = [(place / RATE, name) for place, name in enumerate([*names, *names])]
    play(served.address, loading[:1], body, core=1)
    time.sleep(1.0)
    begun = Counted(served)
    play(served.address, loading, body, core=1)
    time.sleep(3.0)  # memory is given back meanwhile
    spent, loads, _, _ = Counted(served).since(begun)
    last, begun = names[-1], Counted(served)
    warm = [(place / RATE, last) for place in range(CALIBRATED)]
    replies = play(served.address, warm, body, core=1)
    warm_s, *_ = Counted(served).since(begun)
    batch_s = models[last].pace.predict_s(models[last].pace.length)
    request_s = warm_s / CALIBRATED - batch_s
    wire_s = float(np.median([each.seconds for each in replies])) - request_s - batch_s
    load_s = (spent - len(loading) * (request_s + batch_s)) / loads
    begin_s = loading[-1][0] + 3.0
    figures = ServerFigures(1, limit, request_s, max(wire_s, 0.0), load_s)
    return [*loading, *((begin_s + at, name) for at, name in warm)], figures


def main() -> None:
    """Print what was found as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(dest="way", required=True)
    reads = ways.add_parser("figures")
    reads.add_argument("url")
    plays = ways.add_parser("simulate")
    plays.add_argument("figures", type=Path)
    plays.add_argument("--model-memory-bytes", type=int, required=True)
    plays.add_argument("--cores", type=int, default=1)
    plays.add_argument("--card-slots", type=int, default=0, help="batches at once on one card")
    plays.add_argument("--request-seconds", type=float, required=True, help="beside its batch")
    plays.add_argument("--wire-seconds", type=float, default=0.0)
    plays.add_argument("--trace", type=Path)
    plays.add_argument("--rate", type=float, default=100.0)
    plays.add_argument("--seconds", type=float, default=600.0)
    plays.add_argument("--exponent", type=float, default=1.1)
    plays.add_argument("--seed", type=int, default=1)
    plays.add_argument("--p99-ms", type=float)
    plays.add_argument("--of", choices=("warm", "cold"), default="warm")
    checks = ways.add_parser("check")
    checks.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.way == "figures":
        found = read_figures(asked.url.rstrip("/"))
    elif asked.way == "simulate":
        found = run_simulate(asked)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = run_check(Path(folder), asked.seed)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
