"""A receipt as JUnit XML, which every CI system reads."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from seatrial_contracts.receipt import Receipt


def write_junit(receipt: Receipt, path: Path) -> None:
    """One test case for each trial; a failure's text says where it failed."""
    failures = sum(not trial.passed for trial in receipt.trials)
    suite = Element(
        "testsuite",
        name=f"seatrial parity {receipt.name} {receipt.version}",
        tests=str(len(receipt.trials)),
        failures=str(failures),
        errors="0",
        timestamp=receipt.made_at,
    )
    for trial in receipt.trials:
        rows = f"{trial.row_set} rows"
        what = (
            f"refusals ({trial.refusals})"
            if trial.refusals or not trial.rows
            else f"{rows}, batch {','.join(map(str, trial.batch_sizes))}"
        )
        case = SubElement(
            suite, "testcase", classname=f"{receipt.name}.{trial.runner}.{trial.variant}", name=what
        )
        if not trial.passed:
            SubElement(case, "failure", message=trial.finding).text = trial.finding
    root = Element("testsuites")
    root.append(suite)
    indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
