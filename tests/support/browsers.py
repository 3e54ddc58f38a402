"""A real browser, and pages whose log and requests are checked at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
NEEDED = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
Opened = Callable[..., Any]


@contextmanager
def started() -> Iterator[Any]:
    """Chromium. Skips the test where playwright is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="it is in the extra 'dev'")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opening(browser: Any) -> Iterator[Opened]:
    """Open the console; at the end check its browser's log and the hosts that it called.

    The browser's console is empty, and no other host was called.
    """
    pages, wrong = [], []

    def open_page(url: str, model: str = "", size: dict[str, int] = WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport=size, **options)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: wrong.append(request.url) if elsewhere(request.url, url) else None,
        )
        pages.append(context)
        page.goto(f"{url}/{f'#/{model}' if model else ''}")
        page.get_by_role("heading", level=1, name=model or None).wait_for()
        return page

    yield open_page
    for context in pages:
        context.close()
    # A refusal is a status, which the browser notes.
    wrong = [text for text in wrong if "status of 4" not in text]
    assert not wrong, wrong


def elsewhere(asked: str, url: str) -> bool:
    """Is this address neither of the server at `url`, nor one of the page's own files?"""
    return not asked.startswith((f"{url}/", f"blob:{url}/", "data:"))
