"""model-name: a folder as transformers' save_pretrained writes it.

Contract, labels and maximum lengths are the folder's. The library itself is the judge.

Seal it:  seatrial export pipeline.py:pipeline
"""

from pathlib import Path

import seatrial as st

FOLDER = Path(__file__).parent / "model"


def pipeline():
    """Read the folder, and declare what is to be sealed; nothing is fetched."""
    return st.from_pretrained(FOLDER, name="model-name", version="1.0.0")
