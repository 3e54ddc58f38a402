"""The `seatrial` command: one file for each of its verbs, found in `commands/`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import click

from seatrial.completion import SHELLS, install
from seatrial.extras import extra_of
from seatrial_contracts.errors import MissingExtra, SeatrialError

COMMANDS = {
    "adopt": "Seal a model that others made: an ONNX file, or a scikit-learn estimator.",
    "audit": "Verify an audit log: is it as it was written?",
    "bench": "Measure what a server answers in a second, how fast, and where its knee is.",
    "client": "Write a typed client of a served model: one file that needs httpx alone.",
    "contract": "Print a pipeline's contract, write it to a file, or compare it with one.",
    "deploy": "Write manifests for Kubernetes, KServe or Ray Serve from bundles.",
    "diff": "Compare two versions: contracts, answers, size, speed.",
    "doctor": "Look at this machine: what is installed, what would be refused and why.",
    "drift": "Compare what comes now with what the model was trained on.",
    "encrypt": "Encrypt a bundle for recipients; its manifest stays readable.",
    "export": "Seal a trained pipeline: run the export gate and write a bundle.",
    "inspect": "Show what is in a bundle: contract, variants, receipts, provenance.",
    "keys": "Make, list and revoke the keys that a server asks for.",
    "list": "List bundles: in a folder, or at a server.",
    "monitor": "Write Prometheus rules, their tests and a Grafana dashboard from bundles.",
    "new": "Write a project that runs at once: training, contract, tests, CI, README.",
    "ortpackage": "Write a bundle as a model package of onnxruntime.",
    "parity": "Try a bundle: do all runners answer as training did?",
    "pull": "Fetch a bundle from a registry or an object store.",
    "push": "Push a bundle to a registry or an object store.",
    "predict": "Ask a bundle, or a server, for predictions.",
    "quantize": "Make faster and smaller graphs of a bundle, within what it promises.",
    "replay": "Run a request again that a server failed on.",
    "report": "Write what was proven of a bundle as one HTML file.",
    "serve": "Serve bundles over HTTP.",
    "sign": "Sign a bundle, or a receipt: who made it.",
    "triton": "Write a model repository for NVIDIA Triton.",
    "verify": "Verify who signed a bundle, and that it is whole.",
}
"""Name -> short help, so that `seatrial --help` imports nothing heavy."""


WING_OF = {
    "client": "seatrial_client",
    "adopt": "seatrial_export.adopt",
    "new": "seatrial_export.adopt",
    "contract": "seatrial_export",
    "export": "seatrial_export",
    "ortpackage": "seatrial_export",
    "quantize": "seatrial_export",
    "parity": "seatrial_parity",
    "report": "seatrial_parity",
}
"""Where a command begins to import; the others begin in the server's package."""


def wing_of(words: Sequence[str]) -> str:
    """The package of the command in a command line."""
    return WING_OF.get(next((word for word in words if word in COMMANDS), ""), "seatrial_serve")


class LazyGroup(click.Group):
    """Loads a command's file when it is called."""

    commands_of: Mapping[str, str] = COMMANDS
    """Name -> short help."""
    package = "seatrial.commands"
    """Where a file of each name has a `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """The verbs, in the order of a model's life."""
        return list(self.commands_of)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's signature)
        """The command of this name."""
        if cmd_name not in self.commands_of:
            return None
        command: click.Command = importlib.import_module(f"{self.package}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is asked for. Raises `click.UsageError` that names the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.commands_of, n=1)
            if not near:
                raise
            said = f"{error.message} Did you mean '{near[0]}'?"
            raise click.UsageError(said, error.ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's signature)
        """The list of verbs, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.commands_of.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--debug",
    is_flag=True,
    help="Show the whole traceback of an error; it is for reports, not for daily use.",
)
@click.version_option(package_name="seatrial")
@click.option(
    "--install-completion",
    type=click.Choice(SHELLS),
    is_eager=True,
    expose_value=False,
    callback=install,
    help="Let this shell complete verbs and options from its next start on.",
)
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Seal a trained PyTorch model, prove that it answers as training did, serve it.

    The model is sealed with its preprocessing and input contract.

    \b
    The way of a model:
      seatrial export model.py:pipeline --out bundles     seal it
      seatrial parity bundles/NAME/VERSION                try it
      seatrial serve bundles                              serve it
    """  # noqa: D301  (click's mark)
    context.obj = debug


def run_command() -> int | None:
    """Run the command; click gives back the code of one that exits.

    An extension module that is being imported makes an ImportError of Ctrl-C: it is one here.
    """
    try:
        code: int | None = cli(standalone_mode=False)
    except Exception as error:  # whatever it is, Ctrl-C may be its cause
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__cause__ or cause.__context__
        raise
    return code


def main() -> None:
    """Run the command line.

    An error of seatrial is one screen of text and exit code 1; `--debug` shows its origin.
    """
    try:
        code = run_command()
    except SeatrialError as error:
        if "--debug" in sys.argv:
            raise
        more = [f"  {note}" for note in getattr(error, "__notes__", ())]
        cause = None if isinstance(error, MissingExtra) else error.__cause__
        if isinstance(cause, ModuleNotFoundError) and (extra := extra_of(cause, "")) is not None:
            more.append(f"  {MissingExtra(f'this file, by {cause.name},', extra)}")
        click.echo("\n".join([f"seatrial: {error}", *more]), err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        extra = extra_of(error, wing_of(sys.argv[1:]))
        if extra is None or "--debug" in sys.argv:
            raise  # the installation is broken, or seatrial is: nothing that an extra mends
        click.echo(f"seatrial: {MissingExtra('this command', extra)}", err=True)
        sys.exit(1)
    except Exception as error:  # the user's pipeline may raise anything; a screen of text is said
        if "--debug" in sys.argv:
            raise
        click.echo(
            f"seatrial: {type(error).__name__}: {error}\n"
            "(a bug in seatrial, or an error in your pipeline file: --debug shows where)",
            err=True,
        )
        sys.exit(2)
    sys.exit(code or 0)
