"""Completion of verbs and options by the user's shell, as click writes it."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from seatrial_contracts.errors import DeclarationError

NAME, VARIABLE = "seatrial", "_SEATRIAL_COMPLETE"
PLACES = {
    "bash": ("XDG_DATA_HOME", ".local/share", "bash-completion/completions/seatrial"),
    "fish": ("XDG_CONFIG_HOME", ".config", "fish/completions/seatrial.fish"),
    "zsh": ("ZDOTDIR", ".", ".zfunc/_seatrial"),
}
"""Shell -> a variable that names a folder, that folder below the home, and the file below it."""
SHELLS = tuple(PLACES)
ZSH = "; have these lines in .zshrc: fpath+=(${ZDOTDIR:-~}/.zfunc); autoload -Uz compinit; compinit"


def install(context: click.Context, parameter: click.Parameter, shell: str | None) -> None:  # noqa: ARG001  (click's signature)
    """Write the completion of a shell where it looks for it, and end the command.

    Raises `DeclarationError` where the file cannot be written.
    """
    if shell is None:
        return
    variable, folder, name = PLACES[shell]
    path = Path(os.environ.get(variable) or Path.home() / folder) / name
    made = get_completion_class(shell)
    assert made is not None
    text = made(context.command, {}, NAME, VARIABLE).source()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        where, got = f"completion file '{path}'", error.strerror or "an error"
        raise DeclarationError(where, got, "a file that can be written") from None
    click.echo(f"{path}: {shell} completes `{NAME}` from its next start on{ZSH * (shell == 'zsh')}")
    context.exit()
