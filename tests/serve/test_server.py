"""A real server over the example bundles.

Every answer is its asker's, hostile input is refused, SIGTERM loses nothing.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image as Pillow
from support.conformance import seal
from support.servers import OURS

import seatrial as st

pytestmark = pytest.mark.slow
PENGUIN = {
    "island": "Biscoe",
    "sex": "female",
    "bill_length_mm": 46.5,
    "bill_depth_mm": 14.1,
    "flipper_length_mm": 217.0,
    "body_mass_g": 5200.0,
    "year": 2008,
}


def ask(url: str, model: str, row: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/models/{model}:predict", json={"instances": [row]}, timeout=60)


def picture(fmt: str, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    sink = io.BytesIO()
    Pillow.fromarray(pixels).save(sink, fmt)
    return sink.getvalue()


async def test_64_clients_each_get_the_answer_to_their_own_row(server: Any, examples: Path) -> None:
    rows = [
        {
            **PENGUIN,
            "bill_length_mm": 30 + i / 4,
            "body_mass_g": None if i % 7 == 0 else 3000.0 + 40 * i,
        }
        for i in range(64)
    ]
    texts = [{"text": " ".join(["penguins swim"] * (1 + i % 12)) + f" {i}"} for i in range(64)]
    async with httpx.AsyncClient(
        base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=64)
    ) as client:
        for model, asked in (("penguins", rows), ("sentences", texts)):
            contract = st.open_bundle(examples / model / "1.0.0").contract

            async def one(
                row: Any, model: str = model, contract: Any = contract
            ) -> dict[str, np.ndarray]:
                reply = await client.post(f"/v1/models/{model}:predict", json={"instances": [row]})
                assert reply.status_code == 200, reply.text
                return contract.recover(reply.json()["predictions"][0])

            alone = [await one(row) for row in asked]
            for _ in range(3):
                together = await asyncio.gather(*(one(row) for row in asked))
                found = st.compare_outputs(
                    alone, together, st.Tolerance(relative_to_max=1e-6, relative=1e-5)
                )
                assert found.passed, str(found)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            {"bill_length_mm": 412.0},
            "E_RANGE",
            "input 'bill_length_mm', row 0: got 412.0, want a number from 10 to 100 mm",
        ),
        ({"bill_length_mm": "39.1"}, "E_TYPE", "got a string of 4 characters"),
        ({"island": "Atlantis"}, "E_CATEGORY", "one of 'Biscoe', 'Dream', 'Torgersen'"),
        ({"year": None}, "E_MISSING", "got null"),
        ({"wings": 2}, "E_UNKNOWN_FIELD", "a field that the contract does not have"),
    ],
)
def test_a_bad_penguin_is_refused_with_the_mend(
    change: dict[str, Any], code: str, words: str, server: Any
) -> None:
    reply = ask(server.url, "penguins", {**PENGUIN, **change})
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert words in reply.json()["error"]
    assert "Atlantis" not in reply.text


def test_a_penguin_with_a_missing_bill_is_answered(server: Any) -> None:
    without = {name: value for name, value in PENGUIN.items() if name != "bill_length_mm"}
    for row in ({**PENGUIN, "bill_length_mm": None}, without):
        assert (
            ask(server.url, "penguins", row).json()["predictions"][0]["species"]["label"]
            == "Gentoo"
        )


def test_a_file_is_the_body_or_base64_and_both_get_one_answer(server: Any) -> None:
    data = picture("PNG", (40, 30))
    for headers in ({"content-type": "image/png"}, {"content-type": "application/octet-stream"}):
        raw = httpx.post(f"{server.url}/v1/models/digits:predict", content=data, headers=headers)
        assert (
            raw.json()["predictions"]
            == ask(server.url, "digits", {"image": base64.b64encode(data).decode()}).json()[
                "predictions"
            ]
        )


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: picture("JPEG", (8000, 5000)), 413, ("E_PIXELS", "E_IMAGE_BYTES", "E_BODY_BYTES")),
        (lambda: picture("PNG", (200, 100))[:20_000], 400, ("E_IMAGE",)),
        (lambda: picture("PNG", (200, 100))[:-12], 400, ("E_IMAGE",)),
        (lambda: picture("JPEG", (200, 100))[:3000], 400, ("E_IMAGE",)),
        (lambda: picture("GIF", (20, 10)), 415, ("E_IMAGE_FORMAT",)),
        (lambda: b"%PDF-1.7 not an image", 415, ("E_IMAGE_FORMAT",)),
        (lambda: b"", 400, ("E_EMPTY", "E_IMAGE_BYTES", "E_IMAGE")),
    ],
)
def test_hostile_images_are_refused_and_the_server_goes_on(
    make: Callable[[], bytes], status: int, code: tuple[str, ...], server: Any
) -> None:
    reply = httpx.post(
        f"{server.url}/v1/models/digits:predict",
        content=make(),
        headers={"content-type": "image/jpeg"},
        timeout=60,
    )
    assert reply.json()["code"] in code, reply.text
    assert reply.status_code in (status, 413)
    assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200


def test_a_flat_40_megapixel_jpeg_is_refused_before_it_is_decoded(server: Any) -> None:
    sink = io.BytesIO()
    Pillow.new("L", (8000, 5000), 128).save(sink, "JPEG")
    before = psutil.Process(server.process.pid).memory_info().rss
    reply = httpx.post(
        f"{server.url}/v1/models/digits:predict",
        content=sink.getvalue(),
        headers={"content-type": "image/jpeg"},
    )
    assert (reply.status_code, reply.json()["code"]) == (413, "E_PIXELS")
    assert "8000 x 5000 pixels" in reply.json()["error"]
    assert psutil.Process(server.process.pid).memory_info().rss - before < 40e6


def test_a_text_of_a_million_characters_is_refused(server: Any) -> None:
    reply = ask(server.url, "sentences", {"text": "x" * 1_000_000})
    assert (reply.status_code, reply.json()["code"]) == (400, "E_TEXT_LIMIT")


def test_metrics_have_a_listener_of_their_own_and_counted_all_this(server: Any) -> None:
    ask(server.url, "penguins", PENGUIN)
    text = httpx.get(server.metrics_url).text
    assert 'seatrial_requests_total{code="ok",model="penguins",version="1.0.0"}' in text
    assert (
        'seatrial_request_phase_seconds_bucket{le="0.001",model="penguins",phase="total",version="1.0.0"}'
        in text
    )
    assert httpx.get(f"{server.url}/metrics").status_code == 404


def test_the_openapi_document_holds_what_schemathesis_tries(server: Any) -> None:
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{server.url}/openapi.json",
        "--max-examples",
        "15",
        "--phases",
        "examples,fuzzing",
        "--seed",
        "1",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection",
        "--include-path-regex",
        "penguins|sentences|health",
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_a_bundle_with_one_flipped_bit_in_a_weight_takes_no_traffic(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(examples / "penguins", tmp_path / "penguins")
    graph = tmp_path / "penguins" / "1.0.0" / "graphs" / "fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    started = serve(tmp_path)
    status, body = started.wait_until_loaded()
    assert status == 503
    assert "E_BUNDLE_CHANGED" in body
    assert ask(started.url, "penguins", PENGUIN).status_code == 503
    assert started.stop() == 0


def drive(url: str, stop_at_s: float, outcomes: list[str]) -> Any:
    """Send one client's requests again and again, on connections as the server leaves them.

    `outcomes` holds what happened to each request.
    """

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=30) as session:
            while time.monotonic() < stop_at_s:
                try:
                    reply = await session.post(
                        "/v1/models/penguins:predict", json={"instances": [PENGUIN]}
                    )
                    outcomes.append(str(reply.status_code))
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                    outcomes.append(type(error).__name__)
                    if isinstance(error, httpx.ConnectError):
                        return

    return client()


async def test_sigterm_under_load_answers_all_that_was_accepted_and_exits_with_0(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(examples / "penguins", tmp_path / "penguins")
    started = serve(tmp_path, "--drain-window-s", "0.5")
    assert started.wait_until_loaded()[0] == 200
    outcomes: list[str] = []
    clients = [
        asyncio.ensure_future(drive(started.url, time.monotonic() + 20, outcomes))
        for _ in range(16)
    ]
    while len(outcomes) < 200:
        await asyncio.sleep(0)
    started.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*clients)
    assert await asyncio.to_thread(started.process.wait, 20) == 0
    assert outcomes.count("200") > 200
    assert set(outcomes) <= {"200", "ConnectError"}, {
        kind: outcomes.count(kind) for kind in set(outcomes)
    }
    assert not any("Traceback" in line for line in started.log)


def test_a_taken_port_and_an_empty_folder_are_told_in_one_line(
    server: Any, examples: Path, tmp_path: Path
) -> None:
    port = server.url.rpartition(":")[2]
    for arguments, words in (
        ([str(examples), "--http-port", port], f"listening on 127.0.0.1:{port}"),
        ([str(tmp_path)], "no bundle in it"),
        ([str(tmp_path / "none")], "no such folder"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "seatrial", "serve", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


FAILING = """
from seatrial.main import main
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.observers import sampling
async def fail(self):
    raise DeclarationError("the sampler", "nothing", "a start")
sampling.Sampler.__aenter__ = fail
main()
"""
"""A server of which one part does not start."""


def test_a_server_of_which_a_part_does_not_start_accepts_nobody_and_exits_with_1_and_one_line(
    tmp_path: Path,
) -> None:
    seal(tmp_path)
    command = [
        sys.executable,
        "-c",
        FAILING,
        "serve",
        str(tmp_path),
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--metrics-port",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("seatrial: the sampler: got nothing, want a start\n")
    assert "Traceback" not in done.stderr


def test_a_server_is_not_ended_by_a_reload_that_comes_while_it_starts(tmp_path: Path) -> None:
    seal(tmp_path)
    command = [*OURS, str(tmp_path), "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    services = {
        "SEATRIAL_METRICS_PORT": "tcp://10.96.0.7:8002",
        "SEATRIAL_METRICS_SERVICE_HOST": "10.96.0.7",
    }
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **services}
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            while "passed its load gate" not in said:  # from its first line on
                process.send_signal(signal.SIGHUP)
                line = process.stderr.readline()
                assert line, said
                said += line
            assert (
                said.count(
                    "ignored, since Kubernetes sets them for Services: SEATRIAL_METRICS_PORT, "
                    "SEATRIAL_METRICS_SERVICE_HOST"
                )
                == 1
            )
            process.terminate()
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0


def test_one_model_s_pipe_in_place_of_its_labels_holds_up_neither_others_nor_reloads_nor_the_end(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    seal(tmp_path)
    shutil.copytree(tmp_path / "conformance", tmp_path / "odd")
    os.mkfifo(tmp_path / "odd" / "labels.json")
    started = serve(tmp_path)
    status, body = started.wait_until_loaded()
    assert status == 503
    assert "labels.json of 'odd': got no plain file" in body
    assert [each["name"] for each in json.loads(body)["not_ready"]] == ["odd"]
    assert httpx.get(f"{started.url}/v2/models/conformance/ready").status_code == 200
    started.process.send_signal(signal.SIGHUP)
    assert httpx.get(f"{started.url}/v2/models/conformance/ready").status_code == 200
    assert started.stop() == 0


def test_paths_of_an_orchestrator_are_answered(serve: Callable[..., Any], examples: Path) -> None:
    started = serve(examples / "penguins/1.0.0", "--predict-path", "/score", "--health-path", "/up")
    assert started.wait_until_loaded()[0] == 200
    asked = httpx.post(f"{started.url}/score", json={"instances": [PENGUIN]}, timeout=60)
    assert len(asked.json()["predictions"]) == 1
    assert httpx.get(f"{started.url}/up", timeout=60).json()["ready"] is True


def test_a_client_that_leaves_in_the_middle_of_its_request_disturbs_nobody(server: Any) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(
                b"POST /v1/models/penguins:predict HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
            )
    assert ask(server.url, "penguins", PENGUIN).status_code == 200


def test_numbers_on_the_wire_are_in_their_shortest_form(server: Any) -> None:
    text = ask(server.url, "sentences", {"text": "short"}).text
    values = json.loads(text)["predictions"][0]["embedding"]
    assert len(values) == 384
    assert max(len(part) for part in text.split("[")[1].split("]")[0].split(",")) <= 16
    assert abs(sum(value * value for value in values) - 1) < 1e-5
