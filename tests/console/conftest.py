"""A browser for the tests of one file's page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import browsers
from support.browsers import Opened


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open pages in a browser of the test's own."""
    with browsers.started() as browser, browsers.opening(browser) as opened:
        yield opened
