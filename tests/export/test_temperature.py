"""Temperature scaling: the fit, and the sealed graph against the formula.

The fit is compared to scikit-learn's loss and SciPy's search.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.measures import calibration_error
from seatrial_export.temperature import fit
from seatrial_parity.runners.pytorch import PyTorchRunner
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

CLASSES = ("a", "b", "c")


def overconfident(
    rows: int = 400, times: float = 3.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits `times` as large as they should be, and true classes.

    The classes are drawn from what the logits should be.
    """
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 3)) * 2
    true = np.array([random.choice(3, p=shares) for shares in softmax(logits, axis=1)])
    return logits * times, true


@pytest.mark.parametrize(("rows", "times"), [(400, 3.0), (400, 0.5), (40, 2.0)])
def test_the_temperature_is_the_one_that_outside_judges_find(rows: int, times: float) -> None:
    logits, true = overconfident(rows, times)
    loss = lambda log_t: log_loss(true, softmax(logits / np.exp(log_t), axis=1))
    judge = np.exp(
        minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x
    )
    found = fit("word", logits, true)
    assert found.temperature == pytest.approx(judge, rel=1e-4)
    plain, honest = softmax(logits, axis=1), softmax(logits / found.temperature, axis=1)
    assert (found.loss_before, found.loss_after) == (
        pytest.approx(log_loss(true, plain)),
        pytest.approx(log_loss(true, honest)),
    )
    right = (logits.argmax(1) == true).astype(float)
    assert found.error_after == pytest.approx(calibration_error(honest.max(1), right))


def test_an_overconfident_model_is_mended_and_its_probabilities_give_the_same_temperature_as_its_logits() -> (  # noqa: E501  (a test's name is a sentence)
    None
):
    logits, true = overconfident(2000)
    found, again = fit("word", logits, true), fit("word", softmax(logits, axis=1), true)
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.error_after < 0.04 < 0.15 < found.error_before
    assert (again.temperature, again.from_probabilities, found.from_probabilities) == (
        pytest.approx(found.temperature, rel=1e-5),
        True,
        False,
    )


def test_rows_that_are_all_right_do_not_ask_for_certainty() -> None:
    logits, _ = overconfident(60, 1.0)
    found = fit("word", logits, logits.argmax(1))
    assert found.temperature == pytest.approx(1)
    nearly = np.append(logits.argmax(1)[:-1], (logits[-1].argmax() + 1) % 3)
    assert fit("word", logits * 1e-3, nearly).temperature < 1


class Point(st.Row):
    x: st.Tensor[np.float32, 3]


class Both(st.Answer):
    word: Annotated[str, st.Label(*CLASSES)]
    size: float


class Net(nn.Module):
    """Its logits are its input."""

    def __init__(self, *, softmaxed: bool, named: bool) -> None:
        super().__init__()
        self.softmaxed, self.named = softmaxed, named

    def forward(self, x: Tensor) -> Any:
        word, size = (torch.softmax(x, 1) if self.softmaxed else x), x.sum(1)
        return {"size": size, "word": word} if self.named else (word, size)


def pipeline(rows: int = 200, **other: Any) -> st.Pipeline:
    logits, true = overconfident(rows)
    held_out = [
        st.Sample({"x": row.astype(np.float32)}, {"word": CLASSES[place]})
        for row, place in zip(logits, true, strict=True)
    ]
    golden = [
        {"x": row}
        for row in np.array([[0, 0, 0], [9, 1, -4], [200, -200, 0], [-1, 1, 0]], np.float32)
    ]
    declared: dict[str, Any] = {
        "model": Net(softmaxed=True, named=False).eval(),
        "golden": golden,
        "held_out": held_out,
    }
    return st.Pipeline(
        name="words",
        version="1.0.0",
        inputs=Point,
        outputs=Both,
        temperature=True,
        **declared | other,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("softmaxed", "named"), [(True, False), (False, True)])
def test_the_temperature_is_in_the_graph_and_in_the_reference(
    softmaxed: bool, named: bool, tmp_path: Path
) -> None:
    declared = pipeline(model=Net(softmaxed=softmaxed, named=named).eval())
    bundle = st.export(declared, tmp_path)
    (found,) = bundle.receipts()[0].calibrations
    assert (found.output, found.rows, found.from_probabilities) == ("word", 200, softmaxed)
    assert found.error_after < found.error_before
    rows = bundle.golden.rows
    want = softmax(np.array([row["x"] for row in rows]) / found.temperature, axis=1)
    for answers in (
        load_engine(bundle, RuntimeOptions()).answer(rows, 2),
        PyTorchRunner(declared).run(rows, 1),
    ):
        np.testing.assert_allclose([answer["word"] for answer in answers], want, atol=2e-6)
        assert answers[1]["size"] == pytest.approx(6)
    assert (
        declared.call(declared.encode(rows))["word"].argmax(1).tolist() == want.argmax(1).tolist()
    )
    trial = next(trial for trial in bundle.receipts()[0].trials if trial.held_out)
    assert trial.measures is not None
    assert trial.measures.calibration_error == pytest.approx(found.error_after, abs=1e-5)


def test_too_few_rows_with_a_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        st.DeclarationError, match="19 held-out rows with a truth, want held_out with 20 samples"
    ):
        st.export(pipeline(rows=19), tmp_path)
    with pytest.raises(st.DeclarationError, match="0 held-out rows"):
        st.export(pipeline(held_out=()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_in_training_mode_is_found_before_its_temperature_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(st.GateError, match="training mode"):
        st.export(pipeline(model=Net(softmaxed=True, named=False).train()), tmp_path)
