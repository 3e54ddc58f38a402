"""`seatrial serve`: its options are the server's settings, read off them."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from seatrial_contracts.errors import MissingExtra

try:
    from seatrial_serve.settings import PREFIX, Settings, load_settings, split
except ImportError as error:
    raise MissingExtra("seatrial serve", "serve") from error


DEFAULTS = {
    "max_batch_rows": "measured while loading",
    "budget_bytes": "a quarter of the memory",
    "grpc_message_bytes": "the longest body of a model",
    "runtime": "this process",
    "model_name": "the bundle's",
    "container": "none",
    "predict_path": "none",
    "health_path": "none",
    "variant": "the first",
    "identity": "none",
    "identity_command": "none",
    "threads": "granted cores",
    "devices": "the first card",
    "device_memory_bytes": "what is free",
    "provider_options": "none",
    "otlp_endpoint": "nowhere",
    "keep_failures": "none are kept",
    "keep_failures_key": "none",
    "tls_cert": "nothing is encrypted",
    "tls_key": "none",
    "tls_client_ca": "clients need no certificate",
}
"""What a setting is where nobody says, and its value does not."""


SHORTER = {"http_port": ("--port",)}
"""Setting -> what its flag is called too: as most servers call theirs."""


def option(name: str, field: FieldInfo) -> click.Option:
    """Make a setting a command-line option.

    Where the option is left out, environment, file and default decide.
    """
    flag = name.replace("_", "-")
    kind = click_type(field.annotation)
    default = DEFAULTS.get(name, field.default)
    shown = ",".join(default) if isinstance(default, tuple) else default
    help_ = f"{field.description}  [{PREFIX}{name.upper()}; default: {shown}]"
    declared = f"--{flag}/--no-{flag}" if field.annotation is bool else f"--{flag}"
    shorter = SHORTER.get(name, ())
    return click.Option(
        [declared, *shorter, name],
        type=None if field.annotation is bool else kind,
        default=None,
        help=help_,
        multiple=False,
    )


def click_type(annotation: Any) -> Any:
    """The click type of a setting."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if get_origin(annotation) is tuple:
        return CommaSeparated()
    return click.Path(path_type=Path) if annotation is Path else annotation


class CommaSeparated(click.ParamType[Any]):
    """`a,b` as a tuple."""

    name = "a,b"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002  (click's signature)
        ctx: click.Context | None,  # noqa: ARG002  (click's signature)
    ) -> tuple[str, ...]:
        """Split it."""
        parts: tuple[str, ...] = split(value)
        return parts


def run(bundles: tuple[str, ...], config: Path | None, **flags: Any) -> None:
    """Load the settings and serve."""
    from seatrial_serve.server import serve

    serve(load_settings(config, bundles=bundles or None, **flags))


command = click.Command(
    "serve",
    callback=run,
    params=[
        click.Argument(["bundles"], nargs=-1, metavar="[BUNDLES]..."),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            help="A TOML file of settings, by their names: http_port = 8000.",
        ),
        *(
            option(name, field)
            for name, field in Settings.model_fields.items()
            if name != "bundles"
        ),
    ],
    help="""Serve bundles over HTTP and gRPC.

    BUNDLES are folders of bundles (by default ./bundles), bundles' own folders, or the like in
    stores: oci://HOST/NAME:TAG, mlflow:models:/NAME/VERSION, s3://, gs://, az://, https://.

    A model takes traffic once its load gate has replayed its golden rows on this machine; until
    then, and where it fails, /v2/health/ready says 503 and why. Each setting can also stand in the
    environment or in a TOML file; flags win. On SIGTERM the readiness probe fails, requests are
    still answered for --drain-window-s, then the process ends.

    \b
      seatrial serve bundles
      seatrial serve bundles/churn/1.0.0 --port 9000
      seatrial serve oci://registry.example/models/churn:stable --watch
    """,
)
