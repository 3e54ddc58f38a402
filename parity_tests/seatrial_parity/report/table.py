"""The parity table: a receipt as people read it, within 80 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from seatrial_contracts.receipt import Receipt, Trial
from seatrial_parity.printable import printable

LEFT = ("runner", "graph", "on", "rows x batch")
RIGHT = ("refused", "worst\nerror", "allowed", "passed")


def parity_table(receipt: Receipt, size_bytes: int | None = None) -> Table:
    """One line for each runner and variant: its worst trial, and what was tried.

    52+450 are golden and held-out rows; 52+450+121 are golden, held-out and drawn rows.
    "allowed" is the tolerance at the place of the worst error.
    """
    size = "" if size_bytes is None else f", {size_bytes / 1e6:.2f} MB"
    title = words(f"{receipt.name} {receipt.version}{size}, sha256:{receipt.digest[:12]}")
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False
    )
    for heading in LEFT:
        table.add_column(heading, no_wrap=True)
    for heading in RIGHT:
        table.add_column(heading, justify="right")
    for trials in grouped(receipt):
        answered = [trial for trial in trials if trial.rows]
        worst = max(answered or trials, key=severity)
        sizes = ",".join(
            dict.fromkeys(str(size) for trial in answered for size in trial.batch_sizes)
        )
        rows = "+".join(map(str, {trial.row_set: trial.rows for trial in answered}.values()))
        error = "-" if worst.worst_error is None else f"{worst.worst_error:.1e}"
        passed = "[green]yes" if all(trial.passed for trial in trials) else "[red]NO"
        refused = str(sum(trial.refusals for trial in trials))
        table.add_row(
            words(worst.runner),
            words(worst.variant),
            words(short(worst.provider)),
            f"{rows} x {sizes}" if answered else "-",
            refused,
            error,
            "-" if worst.allowed is None else f"{worst.allowed:.1e}",
            passed,
        )
    return table


def words(text: str) -> Text:
    """A stranger's text as one line in which nothing is markup."""
    return Text(printable(" ".join(text.split())))


def grouped(receipt: Receipt) -> list[list[Trial]]:
    """Trials by runner and variant, in order."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in receipt.trials:
        groups.setdefault((trial.runner, trial.variant), []).append(trial)
    return list(groups.values())


def severity(trial: Trial) -> float:
    """Rank a trial by its error over the allowed one; failed trials above all.

    Where nothing is allowed, the rank is the error.
    """
    if not trial.passed:
        return float("inf")
    return (trial.worst_error or 0.0) / (trial.allowed or 1.0)


def short(provider: str | None) -> str:
    """`CPUExecutionProvider` -> `CPU`."""
    return (provider or "-").removesuffix("ExecutionProvider")
