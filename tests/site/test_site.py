"""The docs as a site: built strictly, whole without a network, and fit for everybody.

The judges are mkdocs, a browser, and axe.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support import browsers
from support.pages import DOCS

ROOT = DOCS.parent
MKDOCS = ROOT / "build/docs/bin/mkdocs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MKDOCS.exists(), reason="no build/docs here: make docs"),
]
FOUND = {
    "on demand": "Models on demand",
    "many models": "Models on demand",
    "keys": "Keys and scopes",
}
"""What a reader may type -> the title of the page that should come first."""
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""Elements that make a browser fetch something, and the attribute that says what."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site, built once, as `make docs` builds it."""
    own = tmp_path_factory.getbasetemp()
    out = (own if worker_id == "master" else own.parent) / "site"
    with FileLock(out.with_suffix(".lock")):
        if not out.exists():
            environment = os.environ | {"SITE_PYTHON": sys.executable, "NO_MKDOCS_2_WARNING": "1"}
            done = subprocess.run(
                [MKDOCS, "build", "--strict", "--site-dir", out.with_suffix(".unfinished")],
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            out.with_suffix(".unfinished").rename(out)
    return out


class Loads(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the element loads."""
        given = dict(attrs)
        key = LOADED.get(tag, "href" if tag == "link" else "")
        self.found += filter(None, [given.get(key)])


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.glob("**/*.html"))
    assert len(pages) > 100
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.found
        for each in loads.found:
            assert not re.match(r"(?:[a-z]+:)?//", each), (page.name, each)
            # An error's page is shown at any path, so its own are those of the root.
            where = site / each[1:] if each.startswith("/") else page.parent / each
            assert each.startswith("data:") or where.exists(), (page.name, each)
    for style in site.glob("**/*.css"):
        for each in re.findall(r"(?:url\(|@import\s*)[\"']?([^\"')]+)", style.read_text("utf-8")):
            assert not re.match(r"(?:https?:)?//", each), (style.name, each)


@pytest.fixture
def url(site: Path) -> Iterator[str]:
    """The site over the loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def open_page(browser: Any, address: str, width: int, scheme: str, wrong: list[str]) -> Any:
    """A page, whose errors and requests to elsewhere are noted."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:"))
            else wrong.append(asked.url)
        ),
    )
    page.goto(address)
    page.wait_for_load_state("load")
    return page


@browsers.NEEDED
@pytest.mark.timeout(240)
def test_a_reader_finds_a_code_sees_diagrams_and_axe_finds_nothing(site: Path, url: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="extra 'dev'").Axe()
    wrong: list[str] = []
    with browsers.started() as browser:
        for where in (url, site.as_uri()):  # over HTTP, and as a file that was double-clicked
            page = open_page(browser, f"{where}/index.html", 1440, "light", wrong)
            page.locator(".md-search__input").click()
            page.keyboard.type("E_TOKENS")
            first = page.locator(".md-search-result__item").first
            first.wait_for(timeout=30_000)
            assert "E_TOKENS" in first.inner_text()
        for words, title in FOUND.items():
            page = open_page(browser, f"{url}/index.html", 1440, "light", wrong)
            page.locator(".md-search__input").click()
            page.keyboard.type(words)
            first = page.locator(".md-search-result__item").first
            first.get_by_role("heading", name=title).first.wait_for(timeout=30_000)
        for name, width, scheme in (
            ("tutorial/seal.html", 1440, "dark"),
            ("concepts/request.html", 390, "light"),
        ):
            page = open_page(browser, f"{url}/{name}", width, scheme, wrong)
            if 'class="mermaid"' in (site / name).read_text("utf-8"):
                page.wait_for_function(
                    "document.querySelector('div.mermaid')?.getBoundingClientRect().height > 50"
                )
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            found = axe.run(page).response["violations"]
            assert not found, (name, [(each["id"], each["nodes"][0]["html"]) for each in found])
    assert not wrong
