"""A body of unknown names takes memory by its own size, however many fields it lacks."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import json, resource
import seatrial as st
from seatrial_contracts.errors import Refusal
from seatrial_contracts.predict_request import RequestReader

fields = {f"f{place}": float for place in range(100)}
Row = type("Row", (st.Row,), {"__annotations__": fields, "__module__": __name__})

class Out(st.Answer):
    y: float

reader = RequestReader(st.contract_from_rows(Row, Out))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unknown = {f"k{place}": 1 for place in range(50_000)}
for body in ({"instances": [unknown]}, {"inputs": {name: [1] for name in unknown}}):
    for by_row in (False, True):
        try:
            found = reader.read(json.dumps(body).encode(), by_row=by_row)
            refusal = found.refused[0]
        except Refusal as error:
            refusal = error
        assert refusal.code == "E_MISSING", refusal
        assert refusal.unlisted == 50_000, refusal.unlisted
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_unknown_names_are_not_copied_for_each_field_that_a_row_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300, "megabytes; a copy for each of 100 fields takes over 500"
