"""The commands of docs/how-to/clouds.md work as they stand, and its table is what the code does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fixed_ports import fixed_ports
from support.mounts import with_folders
from support.ports import free_ports
from support.waiting import until

from seatrial_serve.containers import CONTAINERS

PAGE = (Path(__file__).resolve().parent.parent / "docs/how-to/clouds.md").read_text("utf-8")
STARTS, CURLS = (
    block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
)
WAYS = {
    "sagemaker": ("/ping", "/invocations"), "vertex": ("/up", "/ask"),
    "azureml": ("/ping", "/score"), "cloudrun": ("/ping", "/v1/models/penguins:predict"),
}  # fmt: skip
"""Container -> what its cloud asks for health and for a prediction, after the page's lines."""
ROW = {
    "island": "Biscoe", "sex": None, "bill_length_mm": 45.2, "bill_depth_mm": 14.8,
    "flipper_length_mm": 212, "body_mass_g": 5200, "year": 2009,
}  # fmt: skip


def test_every_cloud_stands_in_the_table_and_has_a_line() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(CONTAINERS)
    assert {container_of(line) for line in STARTS} == set(WAYS) == {*CONTAINERS} - {"image"}


def container_of(line: str) -> str:
    """The container that a line starts."""
    found = re.search(r"(?:SEATRIAL_CONTAINER=|--container )(\w+)", line)
    assert found is not None
    return found[1]


@contextmanager
def started(line: str, folder: Path) -> Iterator[tuple[str, str]]:
    """A line of the page, on a port of the loopback that is free: its container, and its URL."""
    (port,) = free_ports(1)
    line, named = re.subn(r"(PORT)=8080\b", rf"\1={port}", line)
    port = port if named else 5001
    program = ["bash", "-c", line]
    if container_of(line) == "sagemaker":
        program = with_folders({"/opt/ml/model": folder / "bundles/penguins/1.0.0"}, *program)
    more = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SEATRIAL_HOST": "127.0.0.1", "SEATRIAL_METRICS_PORT": "0",
    }  # fmt: skip
    process = subprocess.Popen(
        program, cwd=folder, env=os.environ | more, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield container_of(line), f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_each_clouds_line_starts_a_server_that_is_asked_as_the_cloud_asks(
    examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundles").symlink_to(examples)

    def answers(url: str) -> bool:
        try:
            return httpx.get(url).status_code == 200
        except httpx.TransportError:
            return False

    with ExitStack() as stack:
        stack.enter_context(fixed_ports(5001))
        servers = [stack.enter_context(started(line, tmp_path)) for line in STARTS]
        for container, url in servers:
            health, predict = WAYS[container]
            until(lambda asked=url + health: answers(asked), 60)  # type: ignore[misc]
            reply = httpx.post(url + predict, json={"instances": [ROW]})
            assert reply.json()["predictions"][0]["species"]["label"] == "Gentoo", container


@pytest.mark.slow
def test_the_commands_are_answered(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(examples / "penguins" / "1.0.0")
    assert server.wait_until_loaded()[0] == 200
    answers = []
    for line in CURLS:
        asked = line.replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run(
            ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        answers += [json.loads(done.stdout)] if done.stdout else []
    json_answer, csv_answer = answers
    assert json_answer == csv_answer
    assert json_answer["predictions"][0]["species"]["label"] == "Gentoo"
