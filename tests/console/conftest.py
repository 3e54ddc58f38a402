"""A browser for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import browsers
from support.browsers import Opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser of the file's own: it ends with it, as playwright's event loop must."""
    with browsers.started() as browser:
        yield browser


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open pages, in a context for each."""
    with browsers.opening(browser) as opened:
        yield opened
