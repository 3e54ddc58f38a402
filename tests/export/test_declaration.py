"""What golden rows show of a declaration: a missing one is refused before any export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from test_text import small_tokenizer
from torch import Tensor, nn

import seatrial as st


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().reshape(len(x), -1).mean(1)


class Value(st.Answer):
    value: float


def pipeline(annotation: Any, *values: Any, **options: Any) -> st.Pipeline:
    rows = type("Rows", (st.Row,), {"__annotations__": {"x": annotation}, "__module__": __name__})
    return st.Pipeline(name="m", version="1.0.0", inputs=rows, outputs=Value, model=Mean(),
                       golden=[{"x": value} for value in values], **options)  # fmt: skip


@pytest.mark.parametrize("value", [1764321521, 16777217.0, -123456789])
def test_a_whole_number_that_float32_rounds_wants_its_type_said(value: float) -> None:
    rounded = int(torch.tensor(value, dtype=torch.float64).float().double().item())
    for annotation in (float, float | None, Annotated[float, st.Number(unit="s")]):
        with pytest.raises(
            st.DeclarationError, match=f"golden, input 'x', row 1: got {int(value)}, .* {rounded}"
        ) as refused:
            _ = pipeline(annotation, 1.5, value).encoded_golden
        assert 'dtype="float64"' in str(refused.value)
    for annotation in (
        Annotated[float, st.Number(dtype="float64")],
        Annotated[float, st.Number(dtype="float32")],
        int,
    ):
        assert (
            len(pipeline(annotation, 1 if annotation is int else 1.5, int(value)).encoded_golden)
            == 2
        )
    assert len(pipeline(float, 16777216, 2**30, 0.1, 1e300**0 * 1e30).encoded_golden) == 4


@pytest.mark.parametrize("which", ["golden", "held_out"])
def test_a_text_that_spells_a_special_token_is_refused_where_nothing_was_said(which: str) -> None:
    tokenizer = small_tokenizer().to_str().encode()
    rows = {"golden": ["a", "b"], "held_out": ["a"], which: ["a", "a [SEP] b"]}
    for special in (None, "take", "words"):
        kind = st.Text(tokenizer=tokenizer, special=special)
        made = pipeline(
            Annotated[str, kind],
            *rows["golden"],
            held_out=[{"x": text} for text in rows["held_out"]],
        )
        if special is None:
            with pytest.raises(st.DeclarationError, match=rf"pipeline {which}, input 'x', row 1"):
                _ = made.encoded_golden, made.encoded_held_out
        else:
            assert len(made.encoded_golden) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = 5", "line 3: got A non-annotated attribute was detected: `x = 5`"),
        ("x: float = Field(3, default_factory=float)", "line 4: got TypeError"),
    ],
)  # fmt: skip
def test_a_class_that_pydantic_refuses_is_told_with_its_line_and_without_an_address(
    line: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.py"
    file.write_text(
        "import seatrial as st\nfrom pydantic import Field, field_validator\n"
        f"class Rows(st.Row):\n    {line}\n"
    )
    with pytest.raises(st.DeclarationError) as refused:
        st.load_pipeline(f"{file}:pipeline")
    assert words in str(refused.value)
    assert "http" not in str(refused.value)


def test_a_golden_row_that_no_request_has_room_for_is_refused_with_the_limit_that_it_needs() -> (
    None
):
    rows = [[0.123456789] * 1000, [1.0] * 1000]
    wide = st.Tensor[np.float64, None]
    with pytest.raises(
        st.DeclarationError, match=r"row 0: got (\d+) bytes as a request, want at most 2000"
    ) as refused:
        _ = pipeline(wide, *rows, limits=st.Limits(max_body_bytes=2000)).encoded_golden
    needed = int(str(refused.value).split("max_body_bytes=")[1].split(")")[0])
    made = pipeline(wide, *rows, limits=st.Limits(max_body_bytes=needed))
    assert len(made.encoded_golden) == 2
    assert len(pipeline(wide, [0.1] * 300_000, [0.1]).encoded_golden) == 2
    with pytest.raises(st.DeclarationError, match="max_body_bytes"):
        _ = pipeline(wide, [0.123456789012] * 300_000, [0.1]).encoded_golden


@pytest.mark.parametrize(
    ("annotation", "longest"),
    [
        (st.Tensor[np.float32, 3, 700, 700], -1.1754944e-38),
        (st.Tensor[np.float64, 300_000], -1.7976931348623157e308),
        (st.Tensor[np.uint8, 3, 1000, 1000], 255),
        (st.Tensor[np.int64, 400_000], -(2**63)),
        (st.Tensor[bool, 1_000_000], False),
    ],
)
def test_the_largest_row_of_a_fixed_shape_fits_in_a_request(annotation: Any, longest: Any) -> None:
    import orjson

    contract = pipeline(annotation, 0, 0).contract
    kind: Any = contract.inputs[0].kind
    row = np.full(kind.fixed_shape, longest, kind.dtype)
    assert (
        len(orjson.dumps({"instances": [{"x": row}]}, option=orjson.OPT_SERIALIZE_NUMPY))
        <= contract.max_body_bytes
    )


def test_the_longest_text_fits_in_a_request_however_json_writes_it() -> None:
    import json

    kind = st.Text(tokenizer=small_tokenizer().to_str().encode(), max_chars=1_000_000)
    contract = pipeline(Annotated[str, kind], "a", "b").contract
    for text in ("\u5e74" * 1_000_000, "\x01" * 1_000_000):
        assert len(json.dumps({"instances": [{"x": text}]})) <= contract.max_body_bytes
    assert (
        len(
            json.dumps(
                {"instances": [{"x": "\U0001f600" * 1_000_000}]}, ensure_ascii=False
            ).encode()
        )
        <= contract.max_body_bytes
    )
