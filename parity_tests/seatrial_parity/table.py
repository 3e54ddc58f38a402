"""The parity table: a receipt as people read it."""

from __future__ import annotations

from rich.table import Table

from seatrial_contracts.receipt import Receipt, Trial


def parity_table(receipt: Receipt) -> Table:
    """One line for each runner and variant: its worst trial, and what was tried."""
    table = Table(title=f"{receipt.name} {receipt.version}  ({receipt.digest[:12]})", title_justify="left")
    for heading in (
        "runner",
        "variant",
        "provider",
        "rows x batch sizes",
        "refusals",
        "worst error",
        "allowed there",
        "passed",
    ):
        table.add_column(heading, justify="right" if "error" in heading or "allowed" in heading else "left")
    for trials in grouped(receipt):
        answered = [trial for trial in trials if trial.rows]
        worst = max(answered or trials, key=severity)
        sizes = ",".join(str(size) for trial in answered for size in trial.batch_sizes)
        rows = f"{answered[0].rows} x {sizes}" if answered else "-"
        passed = all(trial.passed for trial in trials)
        error = "-" if worst.worst_error is None else f"{worst.worst_error:.1e}"
        table.add_row(worst.runner, worst.variant, short(worst.provider), rows, str(sum(trial.refusals for trial in trials)),
                      error, f"{worst.allowed:.1e}", "[green]yes" if passed else "[red]NO")  # fmt: skip
    return table


def grouped(receipt: Receipt) -> list[list[Trial]]:
    """Trials by runner and variant, in order."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in receipt.trials:
        groups.setdefault((trial.runner, trial.variant), []).append(trial)
    return list(groups.values())


def severity(trial: Trial) -> float:
    """How near a trial came to its tolerance; failed ones above all."""
    if not trial.passed:
        return float("inf")
    return (trial.worst_error or 0.0) / trial.allowed if trial.allowed else 0.0


def short(provider: str | None) -> str:
    """`CPUExecutionProvider` -> `CPU`."""
    return (provider or "-").removesuffix("ExecutionProvider")
