"""The pytest plugin: `pytest --bundle bundles/penguins/1.0.0 [--url http://...]` tries bundles in a user's own CI.

Each bundle becomes one test of its own, beside whatever else is collected; its failure says where the answers part.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options."""
    group = parser.getgroup("seatrial")
    group.addoption(
        "--bundle",
        action="append",
        default=[],
        metavar="DIR",
        help="a sealed bundle to try: <bundles>/<name>/<version> (again for more)",
    )
    group.addoption(
        "--url", default=None, metavar="URL", help="a running server to try too; it must hold the same bundle"
    )
    for name, what in (
        ("grpc", "its gRPC, host:port"),
        ("triton", "NVIDIA's Triton, http://host:port"),
        ("triton-grpc", "its gRPC"),
    ):
        group.addoption(f"--{name}", default=None, metavar="ADDRESS", help=f"try {what} too")
    group.addoption("--pipeline", default=None, metavar="FILE.py:NAME", help="the training side, to be asked again")


def pytest_configure(config: pytest.Config) -> None:
    """The plugin's marker."""
    config.addinivalue_line("markers", "parity: a trial of a sealed bundle, made by the seatrial plugin")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each bundle named on the command line."""
    paths = config.getoption("--bundle")
    items += [BundleItem.from_parent(session, name=f"parity[{path}]", bundle_path=Path(path)) for path in paths]


class BundleItem(pytest.Item):
    """The whole trial of one bundle."""

    def __init__(self, *, bundle_path: Path, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self._bundle_path = bundle_path
        self.add_marker("parity")

    def runtest(self) -> None:
        """Try it; fail with every finding."""
        from seatrial_contracts.bundle import open_bundle
        from seatrial_parity.runners.runner import Asked
        from seatrial_parity.trial import try_bundle

        target = self.config.getoption("--pipeline")
        pipeline = None
        if target is not None:
            from seatrial_export.load_pipeline import load_pipeline

            pipeline = load_pipeline(target)
        servers = {name: self.config.getoption(name) for name in ("url", "grpc", "triton", "triton_grpc")}
        receipt = try_bundle(Asked(open_bundle(self._bundle_path), pipeline, **servers))
        findings = [f"{trial.runner} {trial.variant}: {trial.finding}" for trial in receipt.trials if not trial.passed]
        if findings:
            raise ParityMiss("\n".join(findings))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:  # noqa: ARG002
        """The findings alone, without a traceback of ours."""
        from seatrial_contracts.errors import SeatrialError

        return str(excinfo.value) if isinstance(excinfo.value, (ParityMiss, SeatrialError)) else str(excinfo.getrepr())

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says the test is."""
        return self._bundle_path, None, self.name


class ParityMiss(AssertionError):
    """A bundle does not answer as it was sealed to."""
