"""Help screens: every command has examples, each on a line of its own, that its options parse."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from seatrial.main import cli
from seatrial_serve.settings import Settings
from seatrial_serve.stores.address import EXTRA_OF

CHECKED = (click.Choice, click.types.IntParamType, click.types.FloatParamType)


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of a command and of all below it."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*words, name))


def examples(words: tuple[str, ...]) -> list[str]:
    """The example lines of a command's help; a line that ends with a backslash goes on."""
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0, done.output
    assert "\\b" not in done.output
    assert "\b" not in done.output
    lines = done.output.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("seatrial ")]


def test_serve_names_each_kind_of_address() -> None:
    told = CliRunner().invoke(cli, ["serve", "--help"]).output
    described = str(Settings.model_fields["bundles"].description)
    for scheme in ("oci:", "mlflow:", *(f"{each}://" for each in EXTRA_OF if each != "http")):
        assert scheme in told
        assert scheme in described


@pytest.mark.parametrize("words", [*commands(cli)], ids=" ".join)
def test_each_command_shows_examples_that_its_options_parse(words: tuple[str, ...]) -> None:
    found = examples(words)
    assert found
    for example in found:
        # What stands behind two spaces tells what the line does.
        _, *given = shlex.split(example.partition("    ")[0].replace("...", ""))
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group):
            name, below, given = command.resolve_command(context, given)
            assert below is not None, example
            context, command = click.Context(below, context, name), below
        parsed, rest, order = command.make_parser(context).parse_args(list(given))
        assert rest == [], example
        assert parsed.keys() <= {each.name for each in command.params}, example
        assert order or not given, example
        for each in command.params:  # of files, only the names are there
            if isinstance(each.type, CHECKED) and parsed.get(each.name) is not None:
                each.type_cast_value(context, parsed[each.name])
    if words:
        assert any(example.split()[1 : 1 + len(words)] == [*words] for example in found)
