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
    "--first",
    metavar="DIGEST",
    multiple=True,
    help="The digest of the line that the first one follows, where older files are kept elsewhere; "
    "of a syslog, one for each process whose first lines are.",
)
@click.option(
    "--last",
    metavar="DIGEST",
    help="The digest of the last line, as this command printed it earlier: it must be among them.",
)
def verify(files: tuple[Path, ...], first: tuple[str, ...], last: str | None) -> None:
    """Verify that each line of a log follows the one before it, from the first line on.

    Finds lines that were changed, added or removed before the last line. Prints the number of lines
    and the digest of the last one: keep it elsewhere, and give it as --last the next time. Whoever
    may write a log can also write it anew up to its end, or cut it there: then that digest is
    missing. Lines that were added behind it are not told from the server's.

    Several FILEs, the oldest first, are one log that was moved away now and then. If the oldest are
    kept elsewhere, --first names the last line of those. Lines of a syslog may have any prefix, and
    lines of other programs between them. Exits with 1 where the chain breaks.

    \b
      seatrial audit verify audit.log.1 audit.log
      seatrial audit verify audit.log --last DIGEST
      seatrial audit verify audit.log --first DIGEST
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.canonical import sha256
    from seatrial_serve.process.audit_lines import follow_chain, lines_of

    chain = follow_chain(files, first)
    if chain.fault:
        click.echo(f"{chain.fault}; {chain.lines} lines before it are as they were written")
        raise click.exceptions.Exit(1)
    if last is not None and last not in (sha256(line.data) for line in lines_of(files)):
        click.echo(f"no line of digest {last}: the log was cut, or is another one")
        raise click.exceptions.Exit(1)
    of = f" of {chain.processes} processes" if chain.processes > 1 else ""
    click.echo(f"{chain.lines} lines{of}, last {chain.last}")
