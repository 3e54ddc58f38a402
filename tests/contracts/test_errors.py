"""Messages say where, got, want and the mend; a missing extra names its pip line."""

from __future__ import annotations

import seatrial as st


def test_a_message_holds_the_parts_that_are_there() -> None:
    assert (
        str(st.Refusal("E", "input 'a', row 3", "412.0", "10 to 100 mm"))
        == "input 'a', row 3: got 412.0, want 10 to 100 mm"
    )
    assert str(st.DeclarationError("x", mend="do y")) == "x; do y"
    assert str(st.Refusal("E", "", "a", "b", "c").at("input 'z'")) == "input 'z': got a, want b; c"


def test_a_missing_extra_is_its_own_pip_line() -> None:
    assert "pip install 'seatrial[text]'" in str(st.MissingExtra("a text field", "text"))


def test_every_public_name_is_there_and_the_root_of_errors_catches_them_all() -> None:
    assert all(getattr(st, name) is not None for name in st.__all__)
    assert set(dir(st)) == set(st.__all__)
    for name in ("Refusal", "DeclarationError", "BundleError", "MissingExtra", "Unavailable"):
        assert issubclass(getattr(st, name), st.Refusal.__base__)
