"""`seatrial monitor`: Prometheus rules, their tests and a Grafana dashboard from bundles."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial.identity_option import identity_option


@click.command("monitor")
@click.argument(
    "paths", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("deploy/monitoring"),
    show_default=True,
    help="Folder for rules/ and dashboards/; files of the same model are written anew.",
)
@click.option(
    "--drift-window",
    default="1h",
    show_default=True,
    help="Over how long drift is taken, as Prometheus writes it. Longer is calmer; "
    "a thousand values in it say something.",
)
@click.option(
    "--hold",
    default="5m",
    show_default=True,
    help="How long a condition holds before its alert fires.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="What the servers call the model of a single bundle (`seatrial serve --model-name`, an "
    "InferenceService).  [default: the bundle's name]",
)
@identity_option
def command(
    paths: tuple[Path, ...], out: Path, drift_window: str, hold: str, model: str | None
) -> None:
    """Write alert rules, their tests and a dashboard, each from the bundle's own contract.

    The latency alert burns the contract's objective, drift is measured field by field against the
    sealed profile, and every alert comes with a test that promtool runs and with a line that says
    what to do.

    \b
      seatrial monitor bundles/churn/1.0.0 --out monitoring
      seatrial monitor bundles/churn/1.0.0 --model my-inference-service --out monitoring
      promtool check rules deploy/monitoring/rules/NAME.rules.yaml
      promtool test rules deploy/monitoring/rules/NAME.test.yaml
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_bundle
    from seatrial_contracts.errors import DeclarationError, MissingExtra

    try:
        from seatrial_serve.monitor.figures import DURATION, Windows
        from seatrial_serve.monitor.write import called, write_monitoring
    except ImportError as error:
        raise MissingExtra("seatrial monitor", "monitor") from error
    for name, value in (("--drift-window", drift_window), ("--hold", hold)):
        if not DURATION.fullmatch(value):
            raise DeclarationError(
                name, value, "a duration as Prometheus writes it: 30s, 5m, 1h, 1d"
            )
    if model is not None and len(paths) > 1:
        raise DeclarationError("--model", f"{len(paths)} bundles", "one, which it names")
    bundles = [open_bundle(path) for path in paths]
    if model is not None:
        bundles = [called(bundles[0], model)]
    for bundle in bundles:
        if bundle.contract.objective.p99_s is None:
            click.echo(
                f"{bundle.name}: no latency alert, "
                "since the contract has no objective=st.Objective(p99_s=...)"
            )
        if not bundle.profile.rows:
            click.echo(f"{bundle.name}: no drift alert, since the pipeline had no reference rows")
    for path in write_monitoring(bundles, out, Windows(drift=drift_window, hold=hold)):
        click.echo(f"wrote {path}")
