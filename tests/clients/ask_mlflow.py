"""Calls a server by MLflow's own client of its scoring server.

python tests/clients/ask_mlflow.py http://127.0.0.1:8000
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

TEXTS = ["a ship", "two boats"]


def ask(url: str) -> dict[str, Any]:
    """Its probe, and predictions for each form that it sends."""
    at = urlsplit(url)
    client = ScoringServerClient(at.hostname or "", at.port or 0)
    client.wait_server_ready(timeout=5)  # raises where its probe is not answered
    try:
        client.invoke(pd.DataFrame({"letters": TEXTS}))
        refused = ""
    except Exception as error:  # the client raises nothing narrower
        refused = str(error)
    return {
        "ready": True,
        "version": client.get_version(),
        "frame": client.invoke(pd.DataFrame({"text": TEXTS})).get_predictions().to_dict("records"),
        "records": client.invoke([{"text": text} for text in TEXTS])
        .get_predictions()
        .to_dict("records"),
        "columns": client.invoke(json.dumps({"inputs": {"text": TEXTS}}))
        .get_predictions()
        .to_dict("records"),
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1])))
