"""The steps that a bundle passed on its way into being: what each proved, and how long it took."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_STEPS = 100
"""Steps of one gate, as a receipt may name them."""
WAIVED = "waived: "
"""How progress begins for a step that its author waived: the step's name follows."""
PROVES = {
    "arguments": "forward takes the contract's tensors, at its open sizes",
    "training mode": "no module is in training mode",
    "precision": "what the graph computes in is known, and its error",
    "temperature": "temperatures are fitted where labels are calibrated",
    "two runs": "two runs on one input agree to the bit",
    "state": "no call changes what the next one answers",
    "row in batch": "a row is answered alike alone and among others",
    "torch.export": "one path holds for every size of the contract",
    "surroundings": "no answer depends on hour, environment or machine",
    "torch.onnx.export": "every operator has a form in ONNX",
    "opset": "the graph has the opset that was asked for",
    "category lookup": "words are looked up as the contract lists them",
    "graph": "the graph runs elsewhere too: no operator of one tool",
    "contract": "inputs and outputs of the graph are the contract's",
    "lint": "no baked sizes, no chance, no rows that meet",
    "strip": "the graph holds no notes of where it was made",
    "onnxruntime": "onnxruntime loads every graph",
    "other sizes": "the graph answers as the module at other sizes",
    "scores": "scores are probabilities, or the receipt says otherwise",
    "answers": "the reference answers every golden row, with numbers",
    "parity": "golden and held-out rows: as the training side",
    "drawn rows": "rows at the contract's edges: as the training side",
    "judge": "raw rows: as the pipeline's own judge, if it has one",
    "labels": "the file's own labels are those of its scores",
    "batch independence": "rows may share a batch, or batchable is false",
    "fresh copy": "a copy that was never called answers alike",
    "fresh process": "the file makes the same model in a new process",
    "sealing": "every file has a digest, and none names this machine",
}
"""Step -> what it proves of a model that passes, in at most 58 characters."""


class GateStep(BaseModel):
    """One step of the export gate that a bundle passed, or that its author waived."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: Annotated[str, Field(max_length=64)]
    proved: Annotated[str, Field(max_length=200)] = ""
    """What is proven by it; empty where it was waived."""
    waived: Annotated[str, Field(max_length=4096)] = ""
    """The author's reason; empty where it ran."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long it took there."""
