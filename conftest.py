"""What the slow tests of both suites share: the example bundles, sealed once, and real servers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from support import properties
from support.pages import CHURN, code_of, page, run_command
from support.servers import EXAMPLES, OURS, ROOT, Server

import seatrial as st

properties.register()

SLOW = "mark.slow"
ALL_SLOW = re.compile(r"^pytestmark = .*\bmark\.(slow|hub)\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the conformance suite finds a server that is not ours."""
    parser.addoption(
        "--oip-url", help="HTTP address of a running server, for tests/oip: http://127.0.0.1:8000"
    )
    parser.addoption("--oip-grpc-url", help="its gRPC address: 127.0.0.1:8001")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file none of whose tests is to run: its imports take time, all of them seconds.

    With `-m "not slow ..."` these are files of slow or hub tests alone, with `-m slow` those
    without a slow one.
    """
    asked = config.option.markexpr
    if collection_path.suffix != ".py" or "slow" not in asked:
        return None
    text = collection_path.read_text("utf-8")
    none = ALL_SLOW.search(text) if "not slow" in asked else asked == "slow" and SLOW not in text
    return bool(none) or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longest: at the end they would run beside an idle core."""

    def timeout_s(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return mark.args[0] if mark else 0.0

    items.sort(key=timeout_s, reverse=True)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of this run's own: nothing depends on what an earlier one left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with the bundles of all examples, sealed once.

    Each of the tests' processes that needs the folder seals those that no other is at. The second
    run of their files, in a fresh process, would double the time: `tests/export` tries it.
    """
    own = tmp_path_factory.getbasetemp()
    out = (own if worker_id == "master" else own.parent) / "examples"
    for timeout_s in (0, -1):  # at last it waits for those that another is at
        for name in reversed(EXAMPLES):
            with suppress(Timeout), FileLock(out.with_suffix(f".{name}.lock"), timeout_s):
                if not (out / name).exists():
                    st.export(st.load_pipeline(f"{ROOT}/examples/{name}/pipeline.py:pipeline"), out)
    return out


@pytest.fixture(scope="session")
def churn(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with the tutorial's `churn.py` and, in `bundles`, its bundle, sealed once."""
    own = tmp_path_factory.getbasetemp()
    out = (own if worker_id == "master" else own.parent) / "churn"
    with FileLock(out.with_suffix(".lock")):
        if not (out / "bundles").exists():
            out.mkdir(exist_ok=True)
            (out / "churn.py").write_text(code_of(page(CHURN)))
            run_command("seatrial export churn.py:pipeline", out)
    return out


@contextmanager
def _serving(
    bundles: Path,
    *flags: str,
    program: Sequence[str] = OURS,
    context: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    server = Server(bundles, *flags, program=program, context=context)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server that ends with the tests of the file at the latest."""
    with ExitStack() as stack:
        yield lambda bundles, *flags, **how: stack.enter_context(_serving(bundles, *flags, **how))


@pytest.fixture(scope="session")
def server(examples: Path) -> Iterator[Server]:
    """All examples, served, each through its load gate."""
    with _serving(examples) as started:
        status, body = started.wait_until_loaded()
        assert status == 200, body
        yield started
