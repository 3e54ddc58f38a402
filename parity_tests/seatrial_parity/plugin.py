"""The pytest plugin: trials of bundles in a user's own CI.

Run it:  pytest --seatrial-bundle bundles/penguins/1.0.0

Each bundle becomes one test of its own, beside whatever else is collected; its failure says where
the answers part. The plugin is loaded by every pytest of its environment, so all its names begin
with `seatrial`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ADDRESSES = {
    "url": ("URL", "a running server, http://host:port; it must hold the same bundle"),
    "grpc": ("HOST:PORT", "its gRPC"),
    "triton": ("URL", "NVIDIA's Triton, with a repository that `seatrial triton` wrote"),
    "triton_grpc": ("HOST:PORT", "Triton's gRPC"),
    "edge": ("URL", "our server before a Triton"),
    "container": ("URL", "our server in a container"),
    "ray": ("URL", "our replicas behind Ray Serve's HTTP proxy"),
    "ray_grpc": ("HOST:PORT", "Ray Serve's gRPC"),
}
"""Name in `TrialRequest` -> how an address beside the bundle is written, and what stands there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options: those of `seatrial parity`, with a prefix."""
    group = parser.getgroup("seatrial")
    group.addoption(
        "--seatrial-bundle",
        action="append",
        default=[],
        metavar="DIR",
        help="a sealed bundle to try: <bundles>/<name>/<version> (again for more)",
    )
    group.addoption(
        "--seatrial-pipeline", metavar="FILE.py:NAME", help="the training side, to be asked again"
    )
    for name, (metavar, what) in ADDRESSES.items():
        group.addoption(
            f"--seatrial-{name.replace('_', '-')}", metavar=metavar, help=f"try too: {what}"
        )
    group.addoption(
        "--seatrial-model",
        metavar="NAME",
        help="what our servers call the model, where that is not the bundle's name",
    )
    group.addoption(
        "--seatrial-key-file",
        type=Path,
        metavar="FILE",
        help="a file whose first line is the key that the server asks for",
    )
    group.addoption(
        "--seatrial-trust-torchscript",
        action="store_true",
        help="run TorchScript graphs of the bundles, which are programs, here",
    )
    group.addoption(
        "--seatrial-runner",
        action="append",
        default=[],
        metavar="NAME",
        help="try this runner alone (again for more): http v1",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The plugin's marker."""
    config.addinivalue_line(
        "markers", "seatrial: a trial of a sealed bundle, made by the seatrial plugin"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each bundle named on the command line."""
    paths = config.getoption("seatrial_bundle")
    items += [
        BundleItem.from_parent(session, name=f"seatrial[{path}]", bundle_path=Path(path))
        for path in paths
    ]


class BundleItem(pytest.Item):
    """The whole trial of one bundle."""

    def __init__(self, *, bundle_path: Path, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self._bundle_path = bundle_path
        self.add_marker("seatrial")

    def runtest(self) -> None:
        """Try it; fail with every finding."""
        from seatrial_contracts.bundle import open_bundle
        from seatrial_parity.runners import check_runners
        from seatrial_parity.runners.runner import TrialRequest
        from seatrial_parity.trial import try_bundle

        option = self.config.getoption
        target = option("seatrial_pipeline")
        pipeline = None
        if target is not None:
            from seatrial_export.load_pipeline import load_pipeline

            pipeline = load_pipeline(target)
        addresses = {name: option(f"seatrial_{name}") for name in ADDRESSES}
        trusted = option("seatrial_trust_torchscript")
        asked = TrialRequest(
            open_bundle(self._bundle_path),
            pipeline,
            model=option("seatrial_model"),
            key_file=option("seatrial_key_file"),
            trust_torchscript=trusted,
            **addresses,
        )
        only = option("seatrial_runner")
        check_runners(only)
        receipt = try_bundle(asked, only)
        findings = [
            f"{trial.runner} {trial.variant}: {trial.finding}"
            for trial in receipt.trials
            if not trial.passed
        ]
        if findings:
            raise ParityMiss("\n".join(findings))

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: object = None,  # noqa: ARG002  (pytest's signature)
    ) -> str:
        """The findings alone, without a traceback of ours."""
        from seatrial_contracts.errors import SeatrialError

        return (
            str(excinfo.value)
            if isinstance(excinfo.value, (ParityMiss, SeatrialError))
            else str(excinfo.getrepr())
        )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says the test is."""
        return self._bundle_path, None, self.name


class ParityMiss(AssertionError):
    """A bundle does not answer as it was sealed to."""
