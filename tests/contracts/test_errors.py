"""Messages say where, got, want and the mend; a missing extra names its pip line."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest

import seatrial as st


def test_a_message_holds_the_parts_that_are_there() -> None:
    assert (
        str(st.Refusal("E", "input 'a', row 3", "412.0", "10 to 100 mm"))
        == "input 'a', row 3: got 412.0, want 10 to 100 mm"
    )
    assert str(st.DeclarationError("x", mend="do y")) == "x; do y"
    assert str(st.Refusal("E", "", "a", "b", "c").at("input 'z'")) == "input 'z': got a, want b; c"


def test_a_message_escapes_what_a_contract_says_that_acts_on_a_terminal_or_a_log() -> None:
    class Row(st.Row):
        word: Literal["a", "\x1b[2J\nINFO \u202e"]
        size: Annotated[float, st.Number(ge=0, unit="m\r\n")]

    class Size(st.Answer):
        size_: float

    contract = st.contract_from_rows(Row, Size)
    for row in ({"word": "b", "size": 1.0}, {"word": "a", "size": -1.0}):
        with pytest.raises(st.Refusal) as said:
            contract.validate_row(row)
        assert str(said.value).isprintable()
        assert str(said.value.in_row(3)).isprintable()
    assert str(st.BundleError("E", "file 'a\nb'")) == "file 'a\\nb'"
    assert str(st.Refusal("E", "größe 東京")) == "größe 東京"


def test_a_missing_extra_is_its_own_pip_line() -> None:
    assert "pip install '.[text]'" in str(st.MissingExtra("a text field", "text"))


def test_every_public_name_is_there_and_the_root_of_errors_catches_them_all() -> None:
    assert all(getattr(st, name) is not None for name in st.__all__)
    assert set(dir(st)) == set(st.__all__)
    for name in ("Refusal", "DeclarationError", "BundleError", "MissingExtra", "Unavailable"):
        assert issubclass(getattr(st, name), st.Refusal.__base__)
