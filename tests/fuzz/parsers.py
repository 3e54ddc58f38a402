"""The parsers under atheris: a parser gives a value or one of seatrial's own errors.

That holds whatever the bytes.

python tests/fuzz/parsers.py v1|v2|image [libFuzzer options, such as -runs=20000]
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["seatrial_contracts", "seatrial_serve"]):
    from seatrial_contracts.bundle import open_bundle
    from seatrial_contracts.errors import SeatrialError
    from seatrial_contracts.host_stage import HostStage
    from seatrial_contracts.predict_request import RequestReader
    from seatrial_serve.api.v2_infer import wanted_outputs
    from seatrial_serve.v2.columns import columns_of
    from seatrial_serve.v2.http_body import header_length, read_request

sys.path.insert(0, str(Path(__file__).parent.parent))
from refusals.case import INPUTS, ROW
from refusals.sealed import picture, seal

FOLDER = tempfile.mkdtemp()
seal(Path(FOLDER))
TABULAR, PHOTO = (open_bundle(Path(FOLDER, name, "1.0.0")) for name in ("tabular", "photo"))
READER = RequestReader(TABULAR.contract)
FRONT = HostStage(PHOTO.contract, PHOTO.files)
SEEDS = {
    "v1": [json.dumps({"instances": [ROW]}).encode()],
    "v2": [b"\xff\xff" + json.dumps({"inputs": list(INPUTS.values())}).encode()],
    "image": [picture(fmt) for fmt in ("PNG", "JPEG", "GIF", "WEBP", "TIFF")],
}


def parse_v1(data: bytes) -> None:
    for by_row in (False, True):
        with suppress(SeatrialError):
            READER.read(data, by_row=by_row)


def parse_v2(data: bytes) -> None:
    """The first two bytes say how much of the rest is JSON."""
    body = data[2:]
    length = str(int.from_bytes(data[:2], "little")).encode()
    head = (
        None
        if data[:2] == b"\xff\xff"
        else header_length({b"inference-header-content-length": length}, len(body))
    )
    request = read_request(body, head, TABULAR.contract)
    wanted_outputs(TABULAR.contract, request)
    columns, rows = columns_of(TABULAR.contract, request.inputs)
    TABULAR.contract.validate_columns(columns, rows)


def parse_image(data: bytes) -> None:
    FRONT.encode_row(PHOTO.contract.validate_row({"image": data}))


TARGETS = {"v1": parse_v1, "v2": parse_v2, "image": parse_image}


def main() -> None:
    """Fuzz one parser; atheris ends the process.

    The process ends with an error if another kind of exception came out.
    """
    parse = TARGETS[sys.argv[1]]
    corpus = Path(tempfile.mkdtemp())
    for place, seed in enumerate(SEEDS[sys.argv[1]]):
        (corpus / str(place)).write_bytes(seed)

    def try_one(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(SeatrialError):
                parse(data)

    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
