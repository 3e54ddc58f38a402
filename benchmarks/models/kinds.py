"""Seal 128 kinds of PyTorch models as people first write them, and judge each by PyTorch.

    python benchmarks/models/kinds.py                 # every kind, a line each, and the count
    python benchmarks/models/kinds.py lstm mask       # kinds with one of the words in the name

Each kind is one that people have: from tabular networks to transformers with random weights, with
the habits and the faults of first versions. The judge is the module itself in eager mode, on each
row alone, at rows that are no golden ones; the engine of the server answers them alone and in
batches of eight. A kind is right, refused (the message is printed), wrong, or a crash. The script
exits with 1 if one is wrong or crashes.
"""

from __future__ import annotations

import collections
import copy
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kind import F32, KINDS, TOWNS, Kind
from kinds_pictures import pictures
from kinds_sequences import sequences
from kinds_tabular import fields, habits, tabular
from kinds_transformers import texts, vision_transformers

import seatrial as st
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

GOLDEN, TRIED = 6, 24


def eager(kind: Kind, model: Any, given: dict[str, Any]) -> list[np.ndarray]:
    """What the module answers to one row, with tensors made by hand."""
    feeds = []
    for name, field in kind.inputs.model_fields.items():
        value = given[name]
        if isinstance(value, str):
            feeds.append(torch.tensor([TOWNS.index(value)]))
        elif value is None:
            feeds.append(torch.tensor([float("nan")]))
        else:
            whole = "int64" in repr(field.metadata) or field.annotation is int
            plain = bool if isinstance(value, bool) else np.int64 if whole else F32
            feeds.append(torch.from_numpy(np.array([value], plain)))
    with torch.no_grad():
        made = model(*feeds)
    made = list(made.values()) if isinstance(made, dict) else made
    return [each[0].numpy() for each in (made if isinstance(made, (tuple, list)) else [made])]


def raised(model: Any) -> Any:
    """The module; with its weights in float32 where they have 16 bits, as they are sealed."""
    narrow = {torch.bfloat16, torch.float16}
    if any(each.dtype in narrow for each in model.parameters()):
        return copy.deepcopy(model).float()
    return model


def tried(kind: Kind) -> str:
    """ "right", or what is the matter: "refused: ...", "wrong: ...", "crash: ..."."""
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    golden = [kind.draw(chance) for _ in range(GOLDEN)]
    others = [kind.draw(chance) for _ in range(TRIED)]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            model = kind.make()
            pipeline = st.Pipeline(
                name="kind",
                version="1.0.0",
                inputs=kind.inputs,
                outputs=kind.outputs,
                model=model,
                golden=golden,
            )
            bundle = st.open_bundle(st.export(pipeline, Path(folder)).path)
        except st.SeatrialError as error:
            return f"refused: {error}"
        except Exception:  # a crash is what this script counts
            return f"crash: {traceback.format_exc(limit=-3)}"
        try:
            engine = load_engine(bundle, RuntimeOptions())
            answers = [engine.answer(others, 1)]
            if bundle.manifest.batchable:
                answers.append(engine.answer(others, 8))
        except Exception as error:  # whatever it is, a row that was taken has no answer
            return f"wrong: it raises while it serves: {error}"
        try:
            judge = raised(model)
            want = [eager(kind, judge, given) for given in others]
        except Exception as error:  # sealing a module must leave it as it was
            return f"crash: the module itself raises after it was sealed: {error}"
        return judged(want, answers) or ("right" if bundle.manifest.batchable else "right, alone")


def judged(want: list[list[np.ndarray]], answers: list[list[Any]]) -> str:
    """Where a batch size departs from the module."""
    for got in answers:
        for row_, one in zip(want, got, strict=True):
            for a, b in zip(row_, one.values(), strict=True):
                if a.shape != np.shape(b):
                    return f"wrong: shape {np.shape(b)} for {a.shape}"
                off = np.abs(a.astype(np.float64) - np.asarray(b, np.float64)).max(initial=0.0)
                if off > 1e-4 * max(1.0, np.abs(a).max(initial=0.0)):
                    return f"wrong: by {off:.3g}"
    return ""


def main() -> int:
    """Try the kinds that the arguments name, or all."""
    for family in (tabular, habits, fields, sequences, pictures, texts, vision_transformers):
        family()
    torch.set_num_threads(1)
    wanted = [name for name in KINDS if not sys.argv[1:] or any(w in name for w in sys.argv[1:])]
    count: collections.Counter[str] = collections.Counter()
    for name in wanted:
        found = tried(KINDS[name])
        count[found.partition(":")[0].partition(",")[0]] += 1
        print(f"{name}: {found}", flush=True)
    print(f"{len(wanted)} kinds: {dict(count)}")
    return 1 if count["wrong"] or count["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
