"""Seal 115 distinct things as people first write them, and judge each by its own library.

    python benchmarks/models/things.py                 # every thing, a line each, and the count
    python benchmarks/models/things.py lstm file       # things with one of the words in the name
    python benchmarks/models/things.py --new           # those that no other script has

Things are modules, estimators, files, folders, and rows of every kind. Those of `kinds.py` and
`estimators.py` are judged as there. The others are sealed by the API or by the command, and
answered by the engine of the server alone and in batches; the judge gets the raw row and calls the
library that made the thing. A thing is right, refused (the message is printed), wrong, or a crash.
The script exits with 1 if one is wrong or crashes.
"""

from __future__ import annotations

import collections
import functools
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import estimators
import kinds
import torch
from kind import KINDS
from things_made import THINGS, Made, Said

import seatrial as st
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

OF_KINDS = (
    *("mlp with batch norm and dropout", "softmax labels", "several heads by name", "quantiles"),
    *("mixture density", "autoencoder error", "factorization machine", "survival curve"),
    *("feature tokens", "ensemble", "radial basis", "mixture of experts", "numpy inside"),
    *("fields, embedded words", "two towers", "weight norm", "compiled", "data parallel"),
    *("bfloat16 weights", "double weights", "lstm, last step", "gru, two layers, both ways"),
    *("rnn, last step", "lstm, a step loop", "conv over time, pooled to one", "causal conv"),
    *("matrix factorisation",),
    *("an answer for each step", "transformer encoder", "transformer, causal", "next item"),
    *("linear forecast", "spectrum of a wave", "conv on a wave", "cnn, fixed side"),
    *("cnn, pooled to seven", "unet", "mask of classes", "super-resolution"),
    *("spatial transformer", "a grid of boxes", "boxes above a threshold", "generator"),
    *("points", "a set of vectors", "a dense graph", "keypoints by soft argmax", "bert"),
    *("gpt-2, next token", "t5 encoder", "vit", "resnet", "segformer"),
)
OF_ESTIMATORS = (
    *("logistic mixed", "forest 3 classes", "gradient-boosting mixed", "hist-boosting"),
    *("svc-platt", "calibrated-svc", "voting-soft", "stacking", "grid-search", "gaussian-nb"),
    *("neighbours", "gaussian-process", "hist-regressor", "log-target", "missing forest"),
    *("imputer-mixed boosting", "words target", "isolation-forest", "k-means", "pca alone"),
    *("several multi-output", "text tfidf", "text hashed", "text mixed logistic"),
)


def tried(make: Callable[[Path], Made]) -> str:
    """ "right", or what is the matter: "refused: ...", "wrong: ...", "crash: ..."."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            made = make(Path(folder))
        except (st.SeatrialError, Said) as error:
            return f"refused: {error}"
        except Exception:  # a crash is what this script counts
            return f"crash: {traceback.format_exc(limit=-3)}"
        try:
            engine = load_engine(st.open_bundle(made.bundle), RuntimeOptions())
            sizes = (1, 4) if engine.bundle.manifest.batchable else (1,)
            answers = [engine.answer(made.rows, size) for size in sizes]
        except Exception as error:  # whatever it is, a row that was taken has no answer
            return f"wrong: it raises while it serves: {type(error).__name__}: {error}"
        names = list(made.judge(made.rows[0]))
        want = [list(made.judge(row).values()) for row in made.rows]
        got = [[{name: one[name] for name in names} for one in each] for each in answers]
        return kinds.judged(want, got) or ("right" if len(sizes) > 1 else "right, alone")


def things() -> dict[str, Callable[[], str]]:
    """Every thing by its name."""
    for family in (
        kinds.tabular,
        kinds.habits,
        kinds.fields,
        kinds.sequences,
        kinds.pictures,
        kinds.texts,
        kinds.vision_transformers,
    ):
        family()
    cases = {case.name: case for case in estimators.cases()}
    partial = functools.partial
    return {
        **{name: partial(tried, make) for name, make in THINGS.items()},
        **{f"scikit-learn, {n}": partial(estimators.tried, cases[n]) for n in OF_ESTIMATORS},
        **{name: partial(kinds.tried, KINDS[name]) for name in OF_KINDS},
    }


def main() -> int:
    """Try the things that the arguments name, or all."""
    torch.set_num_threads(1)
    new, words = "--new" in sys.argv, [word for word in sys.argv[1:] if word != "--new"]
    count: collections.Counter[str] = collections.Counter()
    begun = time.process_time()
    for name, thing in things().items():
        if (new and name not in THINGS) or (words and not any(word in name for word in words)):
            continue
        try:
            found = thing()
        except Exception as error:  # a thing that cannot be made is counted as such
            found = f"not made: {type(error).__name__}: {error}"
        count[found.partition(":")[0].partition(",")[0]] += 1
        print(f"{name}: {found}", flush=True)
    seconds = time.process_time() - begun
    print(f"{count.total()} things: {dict(count)}, {seconds:.0f} s of one core")
    return 1 if count["wrong"] or count["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
