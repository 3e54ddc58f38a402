"""What an ONNX graph names outside itself is found before any runtime sees it.

It is found wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from onnx import TensorProto, helper, numpy_helper
from support.toys import toy_files, toy_manifest

import seatrial as st
from seatrial_contracts.bundle import Bundle, write_bundle
from seatrial_contracts.graph_references import INSIDE, MAX_DEPTH, MalformedGraph, graph_references
from seatrial_contracts.manifest import Variant

Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def tensor(location: str | None = "weights.bin", name: str = "w") -> TensorProto:
    """Three numbers that lie in a file, or inside."""
    made = numpy_helper.from_array(np.ones(3, np.float32), name)
    if location is not None:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
        made.external_data.add(key="length", value="12")
    return made


def graph(*nodes: onnx.NodeProto, **parts: object) -> onnx.GraphProto:
    return helper.make_graph(
        list(nodes) or [helper.make_node("Identity", ["w"], ["y"])], "g", [], [Y], **parts
    )


def model(inner: onnx.GraphProto, **parts: object) -> onnx.ModelProto:
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 20)], **parts)


def constant(**value: object) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.extend(helper.make_attribute(name, part) for name, part in value.items())
    return node


def sparse(values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(values, indices, [3])


def in_a_branch() -> onnx.ModelProto:
    branch = graph(constant(value=tensor()))
    return model(
        graph(
            helper.make_node(
                "If",
                ["c"],
                ["y"],
                then_branch=graph(
                    helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=graph())
                ),
                else_branch=graph(),
            )
        )
    )


def in_a_function() -> onnx.ModelProto:
    body = helper.make_function(
        "own", "F", [], ["y"], [constant(value=tensor())], [helper.make_opsetid("", 20)]
    )
    return model(graph(helper.make_node("F", [], ["y"], domain="own")), functions=[body])


def in_a_default_of_a_function() -> onnx.ModelProto:
    body = helper.make_function("own", "F", [], ["y"], [], [helper.make_opsetid("", 20)])
    body.attribute_proto.append(helper.make_attribute("value", tensor()))
    return model(graph(), functions=[body])


def in_training() -> onnx.ModelProto:
    made = model(graph(initializer=[tensor(None)]))
    made.training_info.add().initialization.CopyFrom(graph(initializer=[tensor()]))
    return made


def without_a_location() -> onnx.ModelProto:
    odd = tensor()
    del odd.external_data[0]
    return model(graph(initializer=[odd]))


def marked_alone() -> onnx.ModelProto:
    odd = tensor(None)
    odd.data_location = TensorProto.EXTERNAL
    return model(graph(initializer=[odd]))


INDICES = numpy_helper.from_array(np.arange(3), "i")
OUTSIDE: dict[str, Callable[[], onnx.ModelProto]] = {
    "beside it": lambda: model(graph(initializer=[tensor("weights.bin")])),
    "above it": lambda: model(graph(initializer=[tensor("../weights.bin")])),
    "at an absolute path": lambda: model(graph(initializer=[tensor("/weights.bin")])),
    "at a sealed file's own name": lambda: model(graph(initializer=[tensor("contract.json")])),
    "without a location": without_a_location,
    "marked, and nothing more": marked_alone,
    "in an attribute": lambda: model(graph(constant(value=tensor()))),
    "in a list of an attribute": lambda: model(graph(constant(values=[tensor(None), tensor()]))),
    "in a branch of a branch": in_a_branch,
    "in a list of graphs": lambda: model(graph(constant(bodies=[graph(constant(value=tensor()))]))),
    "in a function": in_a_function,
    "in a default of a function": in_a_default_of_a_function,
    "in a sparse initializer": lambda: model(graph(sparse_initializer=[sparse(tensor(), INDICES)])),
    "in a sparse initializer's places": lambda: model(
        graph(sparse_initializer=[sparse(tensor(None), tensor())])
    ),
    "in a sparse attribute": lambda: model(graph(constant(sparse_value=sparse(tensor(), INDICES)))),
    "in a sparse list": lambda: model(graph(constant(values=[sparse(tensor(), INDICES)]))),
    "in what trains it": in_training,
    "compiled by a provider": lambda: model(
        graph(
            helper.make_node(
                "EPContext",
                [],
                ["y"],
                domain="com.microsoft",
                embed_mode=0,
                ep_cache_context="engine.bin",
            )
        )
    ),
}


def seal(folder: Path, data: bytes) -> st.Bundle:
    variant = Variant(name="fp32", graph="graphs/fp32.onnx")
    files = toy_files() | {"graphs/fp32.onnx": data}
    del files["graphs/toy.fake"]
    return write_bundle(folder, toy_manifest().model_copy(update={"variants": (variant,)}), files)


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_graph_that_names_weights_outside_it_is_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = OUTSIDE[case]().SerializeToString()
    with pytest.raises(
        st.BundleError, match=r"graph 'graphs/fp32.onnx': got data outside it"
    ) as refused:
        seal(tmp_path / "sealed", data)
    assert refused.value.code == "E_BUNDLE_GRAPH"
    with monkeypatch.context() as sealer:  # one who seals without our checks
        sealer.setattr(Bundle, "check", lambda _: None)
        path = seal(tmp_path / "bundles", data).path
    with pytest.raises(st.BundleError) as refused:
        st.open_bundle(path)
    assert refused.value.code == "E_BUNDLE_GRAPH"


def test_a_graph_with_all_of_its_weights_inside_is_opened(tmp_path: Path) -> None:
    whole = [
        model(graph(initializer=[tensor(None)])),
        model(graph(constant(value=tensor(None))), producer_name="a tool"),
        model(graph(sparse_initializer=[sparse(tensor(None), INDICES)])),
    ]
    for place, each in enumerate(whole):
        st.open_bundle(seal(tmp_path / str(place), each.SerializeToString()).path)


def ways_to_files(message: Descriptor) -> dict[str, dict[int, str]]:
    """Return message -> field -> message, of all fields by which files can be reached.

    They are the fields below `message` by which a tensor or a node can be reached, found by
    protobuf's own reflection.
    """
    ends = {"onnx.TensorProto", "onnx.NodeProto"}
    fields: dict[str, dict[int, str]] = {}
    waiting = [message]
    while waiting:
        at = waiting.pop()
        if at.full_name in fields:
            continue
        inner = [
            (field.number, field.message_type)
            for field in at.fields
            if field.message_type is not None
        ]
        fields[at.full_name] = {number: kind.full_name for number, kind in inner}
        waiting += [kind for _, kind in inner]
    reaching = set(ends)
    while (
        more := {name for name, inner in fields.items() if set(inner.values()) & reaching}
        - reaching
    ):
        reaching |= more
    return {
        name: {number: kind for number, kind in inner.items() if kind in reaching}
        for name, inner in fields.items()
        if name in reaching
    }


def test_every_way_to_a_tensor_that_this_onnx_knows_is_walked() -> None:
    ours = {"Training": "TrainingInfo", "OperatorType": ""}
    full = lambda name: f"onnx.{ours.get(name, name)}Proto"
    walked = {
        full(name): {
            number: full(kind) for number, kind in fields.items() if kind != "OperatorType"
        }
        for name, fields in INSIDE.items()
    } | {"onnx.TensorProto": {}}
    assert walked == ways_to_files(onnx.ModelProto.DESCRIPTOR)


def wrapped(number: int, data: bytes) -> bytes:
    """A message as a field of another."""
    size, prefix = len(data), bytearray([number << 3 | 2])
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes([*prefix, size]) + data


def field(number: int, wire: int, rest: bytes) -> bytes:
    return bytes([number << 3 | wire]) + rest


WHOLE = model(graph(initializer=[tensor(None)])).SerializeToString()
MALFORMED: dict[str, bytes] = {
    "cut short": WHOLE[:-3],
    "a group": field(1, 3, b"") + field(1, 4, b""),
    "a wire type that there is not": field(1, 6, b""),
    "field 0": field(0, 0, b"\x01"),
    "a field longer than the file": field(7, 2, b"\x7f"),
    "a length cut short": field(7, 2, b"\xff"),
    "a fixed number cut short": field(9, 1, b"123"),
    "a number without end": field(1, 0, b"\x80" * 12),
    "a field number beyond 32 bits": b"\x88\x80\x80\x80\x80\x01\x00",
    "the graph as a number": field(7, 0, b"\x01"),
    "a file of another format of the runtime": b"\x18\x00\x00\x00ORTM" + b"\x00" * 64,
    "words": b"not a graph at all",
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_plain_protobuf_is_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedGraph):
        list(graph_references(MALFORMED[case]))
    with pytest.raises(st.BundleError, match=r"graph 'graphs/fp32\.onnx'") as refused:
        seal(tmp_path, MALFORMED[case])
    assert refused.value.code == "E_BUNDLE_GRAPH"


def test_graphs_nested_beyond_what_the_runtimes_parser_takes_are_refused() -> None:
    def nested(branches: int) -> bytes:
        data = graph().SerializeToString()
        for _ in range(branches):  # a graph in an attribute of a node of a graph
            data = wrapped(1, wrapped(5, wrapped(6, data)))
        return wrapped(7, data)

    assert list(graph_references(nested(MAX_DEPTH // 3 - 1))) == []
    with pytest.raises(MalformedGraph, match="nested deeper"):
        list(graph_references(nested(MAX_DEPTH // 3 + 1)))
