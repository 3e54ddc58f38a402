"""The sealed bundle answers what it should, and refuses what it must.

pyproject.toml adds the parity trial of the same bundle.
"""

import pytest

import seatrial as st

BUNDLE = "bundles/model-name/1.0.0"


@pytest.fixture(scope="module")
def bundle():
    return st.open_bundle(BUNDLE)


def test_the_example_of_the_contract_is_answered(bundle):
    answer = bundle.predict(bundle.contract.example_row())
    assert answer.keys() == {field.name for field in bundle.contract.outputs}


def test_a_field_that_the_contract_does_not_know_is_refused(bundle):
    row = {**bundle.contract.example_row(), "no_such_field": 1}
    with pytest.raises(st.Refusal, match="no_such_field"):
        bundle.predict(row)
