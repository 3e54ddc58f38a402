"""The console and the API's page of a server that asks for keys, in a real browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.browsers import NEEDED, PHONE, Opened
from support.keyed import key_of
from support.servers import Server
from support.waiting import until

pytestmark = [pytest.mark.slow, NEEDED]


class Keyed:
    def __init__(self, server: Server, key: str, other: str, teller: str) -> None:
        self.url, self.key, self.other, self.teller = server.url, key, other, teller


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory, examples: Path, serve: Callable[..., Server]
) -> Keyed:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    key, other = key_of(file, "page", "infer", "read"), key_of(file, "other", "metrics")
    teller = key_of(file, "teller", "infer", "read", "feedback")
    server = serve(examples / "penguins" / "1.0.0", "--api-keys", str(file))
    until(lambda: server.wait_until_loaded()[0] == 200)  # why it is not is not told
    return Keyed(server, key, other, teller)


def enter(page: Any, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Go on").click()


def test_the_console_asks_for_a_key_and_keeps_it_in_memory_alone(
    keyed: Keyed, opened: Opened
) -> None:
    page = opened(keyed.url)
    assert page.get_by_role("heading", level=1).text_content() == "This server asks for a key"
    assert not Axe().run(page).response["violations"]
    enter(page, "st_wrong")
    said = page.locator("#key-said")
    said.get_by_text("got one that this server does not know").wait_for()
    enter(page, keyed.other)
    said.get_by_text("got one with the scopes metrics, want one with the scope read").wait_for()
    enter(page, keyed.key)
    page.get_by_role("heading", level=1, name="penguins").wait_for()
    page.get_by_role("button", name="Predict").click()
    page.get_by_role("meter").first.wait_for()
    stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert keyed.key not in json.dumps(page.context.storage_state())
    assert stored[2] == ""
    assert keyed.key not in page.content()
    page.reload()
    page.get_by_role("heading", level=1, name="This server asks for a key").wait_for()


def test_the_lines_to_copy_read_the_key_from_the_environment(keyed: Keyed, opened: Opened) -> None:
    page = opened(keyed.url, size=PHONE)
    enter(page, keyed.key)
    page.get_by_role("heading", level=1, name="penguins").wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.lines code')].every((one) => one.textContent)"
    )
    lines = {
        one.locator("summary").text_content(): one.locator("code").text_content()
        for one in page.locator(".lines details").all()
    }
    assert lines.keys() == {"curl", "Python", "tritonclient"}
    for title, line in lines.items():
        program = ["bash", "-c", line] if title == "curl" else [sys.executable, "-c", line]
        ran = subprocess.run(
            program, env=os.environ | {"KEY": keyed.key}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "species" in ran.stdout, (title, ran.stdout)


def test_what_a_key_may_not_do_is_not_offered(keyed: Keyed, opened: Opened) -> None:
    for key, offered in ((keyed.key, 0), (keyed.teller, 1)):
        page = opened(keyed.url)
        enter(page, key)
        page.locator("summary", has_text="Examples to try").click()
        page.get_by_role("button", name="sex missing").click()
        page.get_by_role("button", name="Predict").click()
        page.get_by_role("img", name="Time in the server: ").wait_for()
        asked = page.locator("summary", has_text="Was it right?")
        assert asked.count() == offered
    asked.click()
    page.get_by_role("button", name="Send the truth").click()
    page.get_by_text("Counted: ").wait_for()


def test_the_api_s_page_asks_for_a_key(keyed: Keyed, opened: Opened) -> None:
    page = opened(keyed.url)
    page.on("dialog", lambda dialog: dialog.accept(keyed.key))
    page.goto(f"{keyed.url}/docs")
    page.get_by_text("/v1/models/penguins:predict", exact=True).first.wait_for()
