"""What goes out over the wire comes back the same, in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from seatrial_contracts.answer_faults import OutputFault
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import (
    BundleError,
    ModelError,
    OutOfMemory,
    Refusal,
    SeatrialError,
    TooLate,
    Unavailable,
)
from seatrial_contracts.host_stage import ColumnBlock
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_serve.engines.wire import HEAD as HEAD_OF_FRAME
from seatrial_serve.engines.wire import (
    JOINED_BYTES,
    MOST_BYTES,
    BrokenFrame,
    Frames,
    Kind,
    Ran,
    RowCodec,
    error_of,
    frame_of,
    json_frame,
    packed_ran,
    told_error,
    unpacked_ran,
)

WORDS = some.text(max_size=5)


def same(got: Any, want: Any) -> None:
    """Bit for bit, of one shape and type; NaN is NaN."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert got.tolist() == want.tolist() or got.tobytes() == want.tobytes()


@some.composite
def specs_and_rows(draw: some.DrawFn) -> tuple[list[TensorSpec], list[tuple[Any, ...]]]:
    """Some tensors of a graph, and rows that have them."""
    plain = draw(some.booleans())
    made = [
        TensorSpec(
            name=f"t{place}",
            dtype=dtype,
            dims=() if plain else tuple(f"d{side}" for side in range(draw(some.integers(0, 3)))),
        )
        for place, dtype in enumerate(
            draw(
                some.lists(
                    some.sampled_from([*V2_DATATYPES] if not plain else ["float32", "int64"]),
                    min_size=1,
                    max_size=4,
                )
            )
        )
    ]
    rows = [tuple(draw(value_of(spec)) for spec in made) for _ in range(draw(some.integers(1, 3)))]
    return made, rows


def value_of(spec: TensorSpec) -> some.SearchStrategy[Any]:
    """What a row has for a tensor: an array, or one value."""
    shape = some.tuples(*(some.integers(0, 4) for _ in spec.dims))
    if spec.dtype == "string":
        return shape.flatmap(lambda sides: arrays.arrays(object, sides, elements=WORDS))
    return shape.flatmap(lambda sides: arrays.arrays(np.dtype(spec.dtype), sides))


@given(specs_and_rows())
def test_rows_come_back_as_they_went(found: tuple[list[TensorSpec], list[tuple[Any, ...]]]) -> None:
    specs, rows = found
    codec = RowCodec(specs)
    with_notes = [(*row, "a note, which stays") for row in rows]
    body = memoryview(b"".join(codec.pack(with_notes)))
    back = codec.unpack(body, len(rows), columns=False)
    assert not isinstance(back, ColumnBlock)
    for got, want in zip(back, rows, strict=True):
        for spec, here, there in zip(specs, got, want, strict=True):
            same(np.asarray(here, spec.array_dtype), np.asarray(there, spec.array_dtype))


def test_columns_come_back_as_they_went() -> None:
    specs = [TensorSpec(name="a", dtype="float32"), TensorSpec(name="b", dtype="int64", dims=(2,))]
    block = ColumnBlock((np.arange(3, dtype=np.float32), np.arange(6).reshape(3, 2)))
    body = memoryview(b"".join(RowCodec(specs).pack(block)))
    back = RowCodec(specs).unpack(body, 3, columns=True)
    assert isinstance(back, ColumnBlock)
    for got, want in zip(back.columns, block.columns, strict=True):
        same(got, want)


@given(
    some.lists(some.binary(max_size=40), min_size=1, max_size=4),
    some.lists(some.integers(1, 50), min_size=1),
)
def test_frames_are_whole_whatever_the_pieces(bodies: Sequence[bytes], cuts: Sequence[int]) -> None:
    stream = b"".join(
        b"".join(frame_of(Kind.RUN, place, [body])) for place, body in enumerate(bodies)
    )
    frames, found = Frames(), list[tuple[int, int, bytes]]()
    for piece in pieces_of(stream, cuts):
        found += [(each.kind, each.tickets, bytes(each.body)) for each in frames.feed(piece)]
    assert found == [(Kind.RUN, place, body) for place, body in enumerate(bodies)]


def pieces_of(stream: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    at = place = 0
    while at < len(stream):
        size = cuts[place % len(cuts)]
        yield stream[at : at + size]
        at, place = at + size, place + 1


def test_a_large_array_is_sent_as_it_lies_and_comes_back() -> None:
    array = np.random.default_rng(0).normal(size=(3, JOINED_BYTES)).astype(np.float32)[:, ::2]
    ran = Ran(1.0, 2.0, ((3, 1),), True, [7], [3], {"y": array}, {})
    pieces = packed_ran(ran)
    assert len(pieces) > 1
    (frame,) = Frames().feed(b"".join(pieces))
    same(unpacked_ran(frame).outputs["y"], array)


def test_a_batch_that_ran_comes_back_as_it_went() -> None:
    ran = Ran(
        1.25, 2.5, ((1, 7), (2, 3)), False, [2**63, 4], [1, 2],
        {
            "words": np.array([["é"], ["b"], [""]], object),
            "none": np.zeros((3, 0), np.float16),
            "yes": np.array([True, False, True]),
        },
        {2: OutputFault("yes", "3, above 2")},
    )  # fmt: skip
    (frame,) = Frames().feed(b"".join(packed_ran(ran)))
    back = unpacked_ran(frame)
    assert back._replace(outputs={}) == ran._replace(outputs={})
    for name, array in ran.outputs.items():
        same(back.outputs[name], array)


def test_a_head_that_says_more_than_any_frame_holds_is_none() -> None:
    with pytest.raises(BrokenFrame):
        list(Frames().feed(HEAD_OF_FRAME.pack(MOST_BYTES + 1, Kind.RUN, 1)))


def test_json_is_a_frame_too() -> None:
    (frame,) = Frames().feed(json_frame(Kind.SHRUNK, {"rows": 2}))
    assert (frame.kind, bytes(frame.body)) == (Kind.SHRUNK, b'{"rows": 2}')


@pytest.mark.parametrize(
    "error",
    [
        Refusal("E_MODEL_INPUT", "input 'x', row 0", "-1", "an index", "another"),
        TooLate(),
        OutOfMemory("too large"),
        Unavailable("E_OVERLOADED", "full", 3.5),
        ModelError("E_MODEL", "the model failed"),
        BundleError("E_BUNDLE_CHANGED", "bundle a 1.0.0", "x", "the sealed bytes", "copy it again"),
    ],
)
def test_an_error_is_raised_at_the_other_end_as_it_was_here(error: SeatrialError) -> None:
    back = error_of(told_error(error))
    assert (type(back), str(back)) == (type(error), str(error))
    assert vars(back) == vars(error)


def test_a_bug_is_told_without_what_it_says() -> None:
    back = error_of(told_error(KeyError("a secret")))
    assert (type(back), str(back)) == (
        RuntimeError, "the engine process failed; its log says why",
    )  # fmt: skip
