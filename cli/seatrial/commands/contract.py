"""`seatrial contract`: a pipeline's contract as a file to be committed, and compared with it."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.canonical import canonical_json, read_json, readable_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.errors import DeclarationError

MOST_BYTES = 64 * 2**20
WANT = "a contract that `seatrial contract --out` wrote"


@click.command("contract")
@click.argument("target", metavar="FILE.py:NAME")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file."
)
@click.option(
    "--check",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Exit with 1 if it is not the contract of this file, and say what changed.",
)
def command(target: str, out: Path | None, check: Path | None) -> None:
    """Print the contract of a pipeline, or write it to a file, or compare it with one.

    A contract that is committed shows in review what clients will meet. The hook seatrial-contract
    of pre-commit compares it before each commit.

    \b
      seatrial contract churn.py:pipeline --out contract.json
      seatrial contract churn.py:pipeline --check contract.json
    """  # noqa: D301  (click's mark)
    from seatrial_export.load_pipeline import load_pipeline

    if out is not None and check is not None:
        raise click.UsageError("--out or --check: one of both")
    contract = load_pipeline(target).contract
    text = readable_json(read_json(contract.to_json()))
    if check is not None:
        differences = compare_contracts(read_contract(check), contract)
        for difference in differences:
            kind = "breaking" if difference.breaking else "safe"
            click.echo(f"{kind}: {difference.place}: {difference.text}")
        if check.read_bytes() != text:
            mend = f"seatrial contract {target} --out {check}"
            said = f"{check} is not the contract of {target}; if it should be, run: {mend}"
            click.echo(said, err=True)
            raise click.exceptions.Exit(1)
    elif out is not None:
        write_whole(out, text)
        click.echo(f"wrote {out}")
    else:
        click.echo(text.decode(), nl=False)


def read_contract(path: Path) -> Contract:
    """The contract in a file. Raises `DeclarationError`."""
    where = f"--check '{path}'"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DeclarationError(where, "a larger file", WANT)
        return Contract.from_json(canonical_json(read_json(path.read_bytes())))
    except OSError as error:
        mend = f"make it: seatrial contract FILE.py:NAME --out {path}"
        raise DeclarationError(where, error.strerror or "no file", WANT, mend) from None
    except (ValueError, RecursionError):
        raise DeclarationError(where, "no contract", WANT) from None
