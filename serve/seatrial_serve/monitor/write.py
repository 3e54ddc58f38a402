"""Writing the rules, their tests and the dashboard of bundles into a folder.

Prometheus and Grafana read that folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import check_name
from seatrial_serve.monitor.dashboard import dashboard_json
from seatrial_serve.monitor.figures import Windows
from seatrial_serve.monitor.rules import rule_file, test_file

HEADER = (
    "# Written by `seatrial monitor` from the contract of {name} {version}; "
    "write it anew rather than editing it.\n"
)


def called(bundle: Bundle, name: str) -> Bundle:
    """A bundle as servers call it by another name, to write rules of; it is no sealed one.

    Raises `DeclarationError` for what is no name.
    """
    try:
        named = bundle.manifest.model_copy(update={"name": check_name(name)})
    except ValueError as error:
        raise DeclarationError("--model", ascii(name[:60]), str(error)) from None
    return replace(bundle, manifest=named)


def write_monitoring(bundles: Iterable[Bundle], out: Path, windows: Windows) -> list[Path]:
    """Write the rules, their test and the dashboard of each bundle; each file appears whole.

    The files are `rules/NAME.rules.yaml`, `rules/NAME.test.yaml` and `dashboards/NAME.json`.
    """
    written = []
    for bundle in bundles:
        rules = out / "rules" / f"{bundle.name}.rules.yaml"
        tests = rules.with_name(f"{bundle.name}.test.yaml")
        written += [
            _write(rules, _yaml(bundle, rule_file(bundle, windows))),
            _write(tests, _yaml(bundle, test_file(bundle, windows, rules.name))),
            _write(out / "dashboards" / f"{bundle.name}.json", dashboard_json(bundle, windows)),
        ]
    return written


def _yaml(bundle: Bundle, value: dict[str, Any]) -> str:
    header = HEADER.format(name=bundle.name, version=bundle.version)
    body: str = yaml.safe_dump(value, sort_keys=False, width=160, allow_unicode=True)
    return header + body


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, text.encode())
