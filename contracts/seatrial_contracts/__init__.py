"""The shared package of seatrial: plain values that exporter and server exchange.

It imports Pydantic and numpy, and no other part of seatrial.
"""

import seatrial_contracts.telemetry  # noqa: F401  (before anything imports onnxruntime)
from seatrial_contracts.bundle import Bundle, open_bundle, write_bundle
from seatrial_contracts.compare import Comparison, Tolerance, compare_outputs
from seatrial_contracts.contract import Contract, Limits, Objective
from seatrial_contracts.declaration import contract_from_rows
from seatrial_contracts.errors import (
    BundleError,
    DeclarationError,
    GateError,
    MissingExtra,
    ModelError,
    Refusal,
    SeatrialError,
    Unavailable,
)
from seatrial_contracts.golden import Golden, Refused
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.judge import Verdict, judge
from seatrial_contracts.manifest import Manifest, Prepare, Variant
from seatrial_contracts.measures import Measures, measure, measure_slices
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import Machine, Receipt, Trial
from seatrial_contracts.row import Answer, Row
from seatrial_contracts.sample import Sample

__all__ = [
    "Answer",
    "Bundle",
    "BundleError",
    "Comparison",
    "Contract",
    "DeclarationError",
    "GateError",
    "Golden",
    "HostStage",
    "Limits",
    "Machine",
    "Manifest",
    "Measures",
    "MissingExtra",
    "ModelError",
    "Objective",
    "Prepare",
    "Promise",
    "Receipt",
    "Refusal",
    "Refused",
    "Row",
    "Sample",
    "SeatrialError",
    "Tolerance",
    "Trial",
    "Unavailable",
    "Variant",
    "Verdict",
    "collate",
    "compare_outputs",
    "contract_from_rows",
    "judge",
    "measure",
    "measure_slices",
    "open_bundle",
    "write_bundle",
]  # fmt: skip
