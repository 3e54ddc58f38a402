"""`seatrial audit`: is an audit log as it was written?"""

from __future__ import annotations

from pathlib import Path

import click


@click.group("audit")
def command() -> None:
    """Read audit logs, as `seatrial serve --audit-log` writes them.

    \b
      seatrial audit verify audit.log
    """  # noqa: D301  (click's mark)


@command.command("verify")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)  # fmt: skip
@click.option(
    "--last",
    metavar="DIGEST",
    help="The digest of the last line, as this command printed it earlier: it must be among them.",
)
def verify(files: tuple[Path, ...], last: str | None) -> None:
    """Verify that no line of a log was changed, added or removed.

    Several FILEs, the oldest first, are one log that was moved away now and then. Lines of a syslog
    may have any prefix, and lines of other programs between them. Prints the number
    of lines and the digest of the last one: keep it elsewhere, and give it as --last the next time,
    so that a log that was cut at its end is found too. Exits with 1 where the chain breaks.

    \b
      seatrial audit verify audit.log.1 audit.log
      seatrial audit verify audit.log --last DIGEST
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.canonical import sha256
    from seatrial_serve.process.audit_lines import follow_chain, lines_of

    chain = follow_chain(files)
    if chain.fault:
        click.echo(f"{chain.fault}; {chain.lines} lines before it are as they were written")
        raise click.exceptions.Exit(1)
    if last is not None and last not in (sha256(line.data) for line in lines_of(files)):
        click.echo(f"no line of digest {last}: the log was cut, or is another one")
        raise click.exceptions.Exit(1)
    of = f" of {chain.processes} processes" if chain.processes > 1 else ""
    click.echo(f"{chain.lines} lines{of}, last {chain.last}")
