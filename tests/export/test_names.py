"""Foreign names become unlike field names, in any script.

scikit-learn itself is the judge of what the columns mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.contract_fields import is_field_name
from seatrial_export.adopt.names import field_names, match_names

COLUMNS = ("a/b", "a.b", "a-b", "T", "t", "年齢", "Größe", "0", "copy", "2nd floor")
FIELDS = ("a_b", "a_b_2", "a_b_3", "T", "t", "年齢", "Größe", "x0", "copy_", "x2nd_floor")


def test_unlike_names_stay_unlike_and_each_is_a_field_name() -> None:
    assert tuple(map(field_names(COLUMNS).get, COLUMNS)) == FIELDS
    assert all(map(is_field_name, FIELDS))
    assert field_names(["a b", "a_b"]) == {"a_b": "a_b", "a b": "a_b_2"}, (
        "a name that is one already is kept"
    )


def test_a_name_in_other_case_or_signs_is_found_where_it_can_only_be_one() -> None:
    assert match_names(["Sepal Length (cm)", "ID"], ["sepal_length_cm", "id"]) == {
        "Sepal Length (cm)": "sepal_length_cm",
        "ID": "id",
    }
    assert match_names(["T", "t"], ["t", "temperature"]) == {"t": "t"}
    assert match_names(["A b", "a B"], ["a_b"]) == {}


@pytest.mark.slow
def test_an_estimator_of_columns_that_differ_in_signs_case_and_script_answers_as_it_predicts() -> (
    None
):
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table = pandas.DataFrame(
        np.random.default_rng(0).normal(size=(40, len(COLUMNS))).astype(np.float32), columns=COLUMNS
    )
    scaled = ColumnTransformer(
        [(f"s{n}", StandardScaler(), [name]) for n, name in enumerate(COLUMNS)]
    )
    estimator = make_pipeline(scaled, LinearRegression()).fit(
        table, table.to_numpy() @ (10.0 ** np.arange(len(COLUMNS)) / 1e4)
    )
    rows = type(
        "Columns",
        (st.Row,),
        {"__annotations__": dict.fromkeys(FIELDS, float), "__module__": __name__},
    )
    value = type(
        "Value", (st.Answer,), {"__annotations__": {"value": float}, "__module__": __name__}
    )
    golden: list[dict[str, Any]] = [
        dict(zip(FIELDS, map(float, row), strict=True)) for row in table.to_numpy()[:4]
    ]
    adoption = st.Adoption.of_estimator(
        estimator, name="columns", version="1.0.0", inputs=rows, outputs=value, golden=golden
    )
    from seatrial_export.adopt.fit import fit

    fitted = fit(adoption.graph, adoption, adoption.renamed, {})
    import onnxruntime

    session = onnxruntime.InferenceSession(fitted.model.SerializeToString())
    feeds = {name: np.array([row[name] for row in golden], np.float32) for name in FIELDS}
    (answers,) = session.run(None, feeds)
    assert np.allclose(np.ravel(answers), estimator.predict(table[:4]), rtol=1e-5)
