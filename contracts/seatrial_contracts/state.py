"""State: a field that goes in and comes out under one name, which a client gives back.

The names of a graph's values are all different, so the graph calls such an output `NAME.out`. No
output's own name has a dot.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

OUT = ".out"


def graph_answer(name: str, takes: Container[str]) -> str:
    """What a graph that takes these inputs calls the answer `name`."""
    return f"{name}{OUT}" if name in takes else name


def answer_names(outputs: Iterable[str], takes: Container[str]) -> list[str]:
    """The answers that a graph's outputs are, in their order."""
    bare = [(output, output.removesuffix(OUT)) for output in outputs]
    return [name if name in takes else output for output, name in bare]
