"""seatrial: seal a trained model with its preprocessing and contract, prove it, serve it.

`import seatrial as st`. The names here are loaded when they are first used, so that a server never
imports torch and a notebook never a web framework.

Declare: Row, Answer, Options, Option, Pipeline, Sample, Refused, Limits, Objective, Tolerance,
    Promise, Contract, contract_from_rows, load_pipeline, suppress
Fields: Number, Flag, Category, Text, TextPair, Image, Audio, LogMel, Series, Items, Tensor, Size,
    Date, DateTime, Duration, Columns, Ranges, Truncation
Answers: Label, Labels, Embedding, SparseEmbedding, Quantiles, Forecast, Ranking, Spans, Extract,
    Detections, Mask, Segments, Picture, Transcript
Seal: export, adopt_model, Adoption, from_pretrained, greedy_decode, ctc_greedy_decode
Look and predict: open_bundle, Bundle
Prove and compare: parity, Parity, Receipt, diff, Versions, compare_outputs
Make smaller: quantize, Quantized, Fp16, Int8, Int8Dynamic, Int8PerToken, Int8Weights, Int4Weights
Serve and ask: serve, ThreadServer, Client, AsyncClient, Retries
Rows of files and frames: read_rows, row_code, rows_of_frame
Errors: SeatrialError, Refusal, DeclarationError, GateError, BundleError, MissingExtra, ModelError,
    Unavailable
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seatrial.bundle import Bundle, open_bundle
    from seatrial.comparing import diff
    from seatrial.exporting import export
    from seatrial.quantizing import Quantized, quantize
    from seatrial.serving import serve
    from seatrial.trying import Parity, parity
    from seatrial_client.client import AsyncClient, Client
    from seatrial_client.plan import Retries
    from seatrial_contracts.compare import Tolerance, compare_outputs
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
    from seatrial_contracts.frames import row_code, rows_of_frame
    from seatrial_contracts.golden import Refused
    from seatrial_contracts.kinds.audio import Audio
    from seatrial_contracts.kinds.category import Category
    from seatrial_contracts.kinds.columns import Columns
    from seatrial_contracts.kinds.date import Date
    from seatrial_contracts.kinds.date_time import DateTime
    from seatrial_contracts.kinds.detections import Detections
    from seatrial_contracts.kinds.duration import Duration
    from seatrial_contracts.kinds.embedding import Embedding
    from seatrial_contracts.kinds.extract import Extract
    from seatrial_contracts.kinds.flag import Flag
    from seatrial_contracts.kinds.forecast import Forecast
    from seatrial_contracts.kinds.image import Image
    from seatrial_contracts.kinds.items import Items
    from seatrial_contracts.kinds.label import Label
    from seatrial_contracts.kinds.labels import Labels
    from seatrial_contracts.kinds.log_mel import LogMel
    from seatrial_contracts.kinds.mask import Mask
    from seatrial_contracts.kinds.number import Number
    from seatrial_contracts.kinds.picture import Picture
    from seatrial_contracts.kinds.quantiles import Quantiles
    from seatrial_contracts.kinds.ranking import Ranking
    from seatrial_contracts.kinds.segments import Segments
    from seatrial_contracts.kinds.series import Series
    from seatrial_contracts.kinds.spans import Spans
    from seatrial_contracts.kinds.sparse_embedding import SparseEmbedding
    from seatrial_contracts.kinds.tensor import Tensor
    from seatrial_contracts.kinds.tensor_size import Size
    from seatrial_contracts.kinds.text import Text
    from seatrial_contracts.kinds.text_pair import TextPair
    from seatrial_contracts.kinds.transcript import Transcript
    from seatrial_contracts.kinds.truncation import Truncation
    from seatrial_contracts.options import Option, Options
    from seatrial_contracts.promise import Promise
    from seatrial_contracts.receipt import Receipt
    from seatrial_contracts.row import Answer, Row
    from seatrial_contracts.rows_file import read_rows
    from seatrial_contracts.sample import Sample
    from seatrial_contracts.vector_forms import Ranges
    from seatrial_export.adopt.adoption import Adoption
    from seatrial_export.adopt.gate import adopt_model
    from seatrial_export.decoding import ctc_greedy_decode, greedy_decode
    from seatrial_export.hub.from_pretrained import from_pretrained
    from seatrial_export.load_pipeline import load_pipeline
    from seatrial_export.pipeline import Pipeline
    from seatrial_export.suppress import suppress
    from seatrial_export.variants.fp16 import Fp16
    from seatrial_export.variants.int4_weights import Int4Weights
    from seatrial_export.variants.int8 import Int8
    from seatrial_export.variants.int8_dynamic import Int8Dynamic
    from seatrial_export.variants.int8_per_token import Int8PerToken
    from seatrial_export.variants.int8_weights import Int8Weights
    from seatrial_parity.versions import Versions
    from seatrial_serve.thread_server import ThreadServer

    __version__: str

HOMES = {
    "seatrial.bundle": ("Bundle", "open_bundle"),
    "seatrial.comparing": ("diff",),
    "seatrial.exporting": ("export",),
    "seatrial.quantizing": ("Quantized", "quantize"),
    "seatrial.serving": ("serve",),
    "seatrial.trying": ("Parity", "parity"),
    "seatrial_client.client": ("AsyncClient", "Client"),
    "seatrial_client.plan": ("Retries",),
    "seatrial_contracts.compare": ("Tolerance", "compare_outputs"),
    "seatrial_contracts.contract": ("Contract", "Limits", "Objective"),
    "seatrial_contracts.declaration": ("contract_from_rows",),
    "seatrial_contracts.errors": (
        "BundleError",
        "DeclarationError",
        "GateError",
        "MissingExtra",
        "ModelError",
        "Refusal",
        "SeatrialError",
        "Unavailable",
    ),
    "seatrial_contracts.golden": ("Refused",),
    "seatrial_contracts.kinds.audio": ("Audio",),
    "seatrial_contracts.kinds.category": ("Category",),
    "seatrial_contracts.frames": ("row_code", "rows_of_frame"),
    "seatrial_contracts.kinds.columns": ("Columns",),
    "seatrial_contracts.kinds.date": ("Date",),
    "seatrial_contracts.kinds.date_time": ("DateTime",),
    "seatrial_contracts.kinds.detections": ("Detections",),
    "seatrial_contracts.kinds.duration": ("Duration",),
    "seatrial_contracts.kinds.embedding": ("Embedding",),
    "seatrial_contracts.kinds.extract": ("Extract",),
    "seatrial_contracts.kinds.flag": ("Flag",),
    "seatrial_contracts.kinds.forecast": ("Forecast",),
    "seatrial_contracts.kinds.image": ("Image",),
    "seatrial_contracts.kinds.items": ("Items",),
    "seatrial_contracts.kinds.label": ("Label",),
    "seatrial_contracts.kinds.labels": ("Labels",),
    "seatrial_contracts.kinds.log_mel": ("LogMel",),
    "seatrial_contracts.kinds.mask": ("Mask",),
    "seatrial_contracts.kinds.number": ("Number",),
    "seatrial_contracts.kinds.quantiles": ("Quantiles",),
    "seatrial_contracts.kinds.ranking": ("Ranking",),
    "seatrial_contracts.kinds.segments": ("Segments",),
    "seatrial_contracts.kinds.series": ("Series",),
    "seatrial_contracts.kinds.spans": ("Spans",),
    "seatrial_contracts.kinds.sparse_embedding": ("SparseEmbedding",),
    "seatrial_contracts.kinds.picture": ("Picture",),
    "seatrial_contracts.kinds.tensor": ("Tensor",),
    "seatrial_contracts.kinds.tensor_size": ("Size",),
    "seatrial_contracts.kinds.text": ("Text",),
    "seatrial_contracts.kinds.text_pair": ("TextPair",),
    "seatrial_contracts.kinds.transcript": ("Transcript",),
    "seatrial_contracts.kinds.truncation": ("Truncation",),
    "seatrial_contracts.options": ("Option", "Options"),
    "seatrial_contracts.promise": ("Promise",),
    "seatrial_contracts.receipt": ("Receipt",),
    "seatrial_contracts.row": ("Answer", "Row"),
    "seatrial_contracts.rows_file": ("read_rows",),
    "seatrial_contracts.sample": ("Sample",),
    "seatrial_contracts.vector_forms": ("Ranges",),
    "seatrial_export.adopt.adoption": ("Adoption",),
    "seatrial_export.adopt.gate": ("adopt_model",),
    "seatrial_export.decoding": ("ctc_greedy_decode", "greedy_decode"),
    "seatrial_export.hub.from_pretrained": ("from_pretrained",),
    "seatrial_export.load_pipeline": ("load_pipeline",),
    "seatrial_export.pipeline": ("Pipeline",),
    "seatrial_export.suppress": ("suppress",),
    "seatrial_export.variants.fp16": ("Fp16",),
    "seatrial_export.variants.int4_weights": ("Int4Weights",),
    "seatrial_export.variants.int8": ("Int8",),
    "seatrial_export.variants.int8_dynamic": ("Int8Dynamic",),
    "seatrial_export.variants.int8_per_token": ("Int8PerToken",),
    "seatrial_export.variants.int8_weights": ("Int8Weights",),
    "seatrial_parity.versions": ("Versions",),
    "seatrial_serve.thread_server": ("ThreadServer",),
}
_home_of = {name: module for module, names in HOMES.items() for name in names}

__all__ = [
    "Adoption",
    "Answer",
    "AsyncClient",
    "Audio",
    "Bundle",
    "BundleError",
    "Category",
    "Client",
    "Columns",
    "Contract",
    "Date",
    "DateTime",
    "DeclarationError",
    "Detections",
    "Duration",
    "Embedding",
    "Extract",
    "Flag",
    "Forecast",
    "Fp16",
    "GateError",
    "Image",
    "Int4Weights",
    "Int8",
    "Int8Dynamic",
    "Int8PerToken",
    "Int8Weights",
    "Items",
    "Label",
    "Labels",
    "Limits",
    "LogMel",
    "Mask",
    "MissingExtra",
    "ModelError",
    "Number",
    "Objective",
    "Option",
    "Options",
    "Parity",
    "Picture",
    "Pipeline",
    "Promise",
    "Quantiles",
    "Quantized",
    "Ranges",
    "Ranking",
    "Receipt",
    "Refusal",
    "Refused",
    "Retries",
    "Row",
    "Sample",
    "SeatrialError",
    "Segments",
    "Series",
    "Size",
    "Spans",
    "SparseEmbedding",
    "Tensor",
    "Text",
    "TextPair",
    "ThreadServer",
    "Tolerance",
    "Transcript",
    "Truncation",
    "Unavailable",
    "Versions",
    "adopt_model",
    "compare_outputs",
    "contract_from_rows",
    "ctc_greedy_decode",
    "diff",
    "export",
    "from_pretrained",
    "greedy_decode",
    "load_pipeline",
    "open_bundle",
    "parity",
    "quantize",
    "read_rows",
    "row_code",
    "rows_of_frame",
    "serve",
    "suppress",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("seatrial")
    if name not in _home_of:
        raise AttributeError(f"seatrial has no '{name}'")
    try:
        value = getattr(importlib.import_module(_home_of[name]), name)
    except ModuleNotFoundError as error:
        from seatrial.extras import extra_of
        from seatrial_contracts.errors import MissingExtra

        extra = extra_of(error, _home_of[name])
        if extra is None:
            raise
        raise MissingExtra(f"st.{name}", extra) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names whose extras are installed: those that `help(st)` can show."""
    from seatrial.extras import is_installed, needed_by

    return [name for name in __all__ if is_installed(needed_by(_home_of[name]))]
