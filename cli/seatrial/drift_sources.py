"""The sources of drift: rows on disk, or the counters of servers.

Rows run through the engine. Counters are those of every server that a Prometheus scrapes.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.bins import UNSEEN_BIN
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_serve.metrics import names

WINDOW = re.compile(r"([1-9]\d{0,5}[smhdw])+")
TIMEOUT_S = 30
BATCH_ROWS = 32
Live = Mapping[str, Sequence[float]]
"""Field -> values in each of its bins."""


@dataclass(frozen=True)
class Seen:
    """What was counted: values by bin, and the rows that were refused, by code."""

    live: Live
    refused: Mapping[str, int]


def drift_of_rows(bundle: Bundle, rows: Sequence[Any]) -> Seen:
    """Validate the rows, run the model on them and count; words that are refused count as unseen.

    Raises `DeclarationError` where no row is left.
    """
    from seatrial_contracts.profile import DriftFeatures, columns_of
    from seatrial_serve.inference.engine import load_engine
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    engine = load_engine(bundle, RuntimeOptions())
    features, good, values = DriftFeatures(engine.front), list[Any](), list[dict[str, Any]]()
    refused, unseen = Counter[str](), Counter[str]()
    for place, row in enumerate(rows):
        try:
            checked = bundle.contract.validate_row(row, place)
            engine.front.encode_row(checked, place)
        except Refusal as refusal:
            refused[refusal.code] += 1
            unseen[refusal.field or ""] += refusal.code == "E_CATEGORY"
            continue
        good.append(row)
        values.append(checked)
    if not good:
        raise DeclarationError(
            "rows", f"{len(rows)}, none of which the contract takes", "rows as clients send them"
        )
    answers = engine.answer(good, BATCH_ROWS if bundle.manifest.batchable else 1)
    live = {
        field: counts.tolist()
        for field, counts in features.count(
            bundle.profile, columns_of(values), columns_of(answers)
        ).items()
    }
    for field, histogram in bundle.profile.inputs.items():
        if UNSEEN_BIN in histogram.bins.names:
            live[field][histogram.bins.names.index(UNSEEN_BIN)] += unseen[field]
    return Seen(live, refused)


def drift_of_servers(bundle: Bundle, url: str, window: str, name: str | None = None) -> Seen:
    """What all servers of this version counted within the window.

    `name`: what they call the model, where that is not the bundle's name. Raises
    `DeclarationError`.
    """
    if not WINDOW.fullmatch(window):
        raise DeclarationError(
            "--window", f"'{window[:20]}'", "a time as Prometheus writes it: 30m, 1h, 7d"
        )
    name = name or bundle.name
    model = f'model="{name}",version="{bundle.version}"'
    counted = query(url, f"sum by (field, bin) (increase({names.DRIFT}{{{model}}}[{window}]))")
    by_bin = {
        (each["metric"]["field"], each["metric"]["bin"]): float(each["value"][1])
        for each in counted
    }
    live = {
        field: [by_bin.get((field, name), 0.0) for name in histogram.bins.names]
        for field, histogram in bundle.profile.fields.items()
    }
    if not any(map(sum, live.values())):
        want = "a server of it, scraped at least twice while it answered requests"
        raise DeclarationError(
            f"Prometheus, the last {window}", f"no values of {name} {bundle.version}", want
        )
    codes = query(
        url, f'sum by (code) (increase({names.REQUESTS}{{{model},code!~"ok|other"}}[{window}]))'
    )
    refused = {each["metric"]["code"]: round(float(each["value"][1])) for each in codes}
    return Seen(live, {code: count for code, count in refused.items() if count})


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """The series that a Prometheus answers now. Raises `DeclarationError`."""
    if not url.startswith(("http://", "https://")):
        raise DeclarationError("--prometheus", f"'{url[:60]}'", "a URL: http://127.0.0.1:9090")
    asked = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as reply:  # noqa: S310  (http or https alone, see above)
            found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        lost = isinstance(error, (OSError, http.client.HTTPException))
        got = f"no answer ({type(error).__name__})" if lost else "an answer of another kind"
        raise DeclarationError(
            f"Prometheus at {url}", got, "one that listens there: --prometheus URL"
        ) from None
    return found
