"""What tests of the server share: the fake runtime, and an app over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.running import Running, run_app
from support.toys import fake_runtimes, toy_bundle

from seatrial_serve.runtimes.fake import FakeRuntime


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """The fake runtime that toy bundles run on."""
    return fake_runtimes(monkeypatch)


@pytest.fixture
async def running(tmp_path: Path, runtime: FakeRuntime) -> AsyncIterator[Running]:
    """A served toy model."""
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as app:
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A served toy model for the tests of a file that leave nothing behind in it.

    They run on its loop: `@pytest.mark.asyncio(loop_scope="module")`.
    """
    folder = tmp_path_factory.mktemp("toy")
    toy_bundle(folder)
    with pytest.MonkeyPatch.context() as patch:
        fake_runtimes(patch)
        async with run_app(folder) as app:
            yield app
