"""`seatrial bench`: how much a server answers, how fast, and from where on it does not keep up."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from seatrial.identity_option import identity_option
from seatrial.key_file import key_file_option
from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_contracts.key_file import read_key

try:
    from seatrial.bench.limit import runtime_limit
    from seatrial.bench.load import MOST_CLOSED, Load
    from seatrial.bench.plot import check_plot, plot_run
    from seatrial.bench.requests import PROTOCOLS, V1, requests_of
    from seatrial.bench.run import Run, run_load
    from seatrial.bench.steps import QUANTILES, Step
    from seatrial.bench.target import Target, at_url, served_here
except ModuleNotFoundError as error:
    extra = "client" if error.name == "httpx" else "serve"
    raise MissingExtra("seatrial bench", extra) from error

WIDTH = 150
LATE_S = 0.001
"""A load generator that is later than this is told of."""
STOPPED = 130
"""The exit code of what Ctrl-C ended."""


class Several(click.ParamType[Any]):
    """`a,b` as a tuple of numbers above 0."""

    name = "N,N,..."

    def __init__(self, number: Callable[[str], Any]) -> None:
        self._number = number

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Split it."""
        try:
            found = tuple(self._number(part) for part in str(value).split(","))
        except ValueError:
            found = (0,)
        if min(found) <= 0 or not math.isfinite(max(found)):
            self.fail(f"got '{value}', want numbers above 0, parted by commas", param, ctx)
        return found


@click.command("bench")
@click.argument("target", metavar="BUNDLE|URL")
@click.option("--model", metavar="NAME", help="Which of a server's models, where it has several.")
@click.option(
    "--bundle",
    "beside",
    metavar="BUNDLE",
    help="The bundle that a server at URL has: its golden rows are sent, and the limit of the "
    "runtime is measured here.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.05, max=3600),
    help="How long each step takes.",
)
@click.option(
    "--connections",
    default="1,2,4,8,16,32,64",
    show_default=True,
    type=Several(int),
    help="Closed loop: each connection sends its next request when the one before is answered.",
)
@click.option(
    "--rates",
    type=Several(float),
    help="Open loop: requests a second, which arrive at random (Poisson) whether or not earlier "
    "ones are answered.  [default: 25% to 125% of the closed loop's best]",
)
@click.option(
    "--rows", default=1, show_default=True, type=click.IntRange(min=1), help="Rows of a request."
)
@click.option(
    "--protocol",
    default=V1,
    show_default=True,
    type=click.Choice(PROTOCOLS),
    help="v1: JSON rows. v2: binary tensors of the Open Inference Protocol.",
)
@click.option(
    "--deadline",
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0.001, max=600),
    help="How long each client waits; the server is told of it, and may refuse what would be late.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a plot: a .png, .svg or .html file.",
)
@key_file_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
@identity_option
def command(
    target: str, model: str | None, beside: str | None, seconds: float,
    connections: tuple[int, ...], rates: tuple[float, ...] | None, rows: int, protocol: str,
    deadline: float, plot: Path | None, key_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure what a server answers in a second, how fast, and where its knee is.

    A BUNDLE is served here, on the loopback, by a process of its own with as many threads as there
    are cores. Its golden rows are sent. At a URL, rows are drawn from the model's contract. The
    latency of an open loop counts from the intended arrival. The knee is the rate with the most
    throughput for its latency; beyond it, latency grows faster than throughput. Beside both stands
    what the runtime alone does with the bundle's graph on this machine.

    Ctrl-C ends the run and shows what was measured. Exits with 1 if nothing was answered.

    \b
      seatrial bench bundles/churn/1.0.0
      seatrial bench bundles/churn/1.0.0 --rows 64 --protocol v2 --plot bench.html
      seatrial bench http://127.0.0.1:8000 --model churn --rates 100,200,400 --json
    """  # noqa: D301  (click's mark)
    if plot is not None:
        check_plot(plot)
    if max(connections) > MOST_CLOSED:
        got = f"{max(connections)} connections"
        raise DeclarationError("--connections", got, f"at most {MOST_CLOSED} at once")
    remote = target.startswith(("http://", "https://"))
    if not remote and (model or beside):
        raise click.UsageError("--model and --bundle go with a server's URL")
    run = Run("nothing was measured", rows)
    stopped = False
    with Console(stderr=True).status("starting") as status:
        served = (
            at_url(target, model, beside, read_key(key_file))
            if remote
            else served_here(target, status.update)
        )
        try:
            with served as found:
                measure(run, found, protocol, deadline, connections, rates, seconds, status.update)
        except KeyboardInterrupt:
            stopped = True
    show(run, plot, as_json=as_json)
    if stopped:
        click.echo("stopped", err=True)
    if stopped or not any(step.answered for step in run.steps):
        raise click.exceptions.Exit(STOPPED if stopped else 1)


def measure(
    run: Run, target: Target, protocol: str, deadline_s: float, connections: Sequence[int],
    rates: Sequence[float] | None, seconds: float, tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Measure the limit, then the server. Raises `DeclarationError`, and a server's own errors."""
    run.title = (
        f"{target.name} {target.version}: {target.rows_are}, {run.rows} in each request, "
        f"{protocol}, clients wait {deadline_s:g} s"
    )
    requests = requests_of(target, run.rows, protocol, deadline_s)
    first_s = target.first_s(run.rows)
    if first_s > deadline_s:
        got = f"{deadline_s:g} s, and one request alone takes {first_s:.2g} s"
        raise DeclarationError("--deadline", got, "longer than that")
    if target.bundle is not None:
        tell("the runtime alone")
        run.limit = runtime_limit(target.bundle, target.rows)
    load = Load(target.url, requests, deadline_s)
    run_load(run, load, connections, rates, seconds, tell)


def show(run: Run, plot: Path | None, *, as_json: bool) -> None:
    """Print what was measured, and draw it."""
    text = told(run)
    if plot is not None and run.steps:
        plot_run(run, text, plot)
    if as_json:
        click.echo(json.dumps(run.as_json(), indent=1))
        return
    click.echo(text)
    if plot is not None and run.steps:
        click.echo(f"plot: {plot}")


def told(run: Run) -> str:
    """The run as text: two tables, and what follows from them."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(run.title, highlight=False)
    for what, head, steps in (
        ("closed loop", "connections", run.closed),
        ("open loop, Poisson arrivals", "offered/s", run.open),
    ):
        if steps:
            console.print(table_of(what, head, steps, run.rows))
    for line in lines(run):
        console.print(line, highlight=False, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")


def table_of(what: str, head: str, steps: Sequence[Step], rows: int) -> Table:
    """A line for each step; latencies in milliseconds."""
    table = Table(title=f"\n{what}", title_justify="left", box=None, pad_edge=False)
    names = ("answered/s", "rows/s", *QUANTILES, "refused", "timed out", "failed", "client")
    for name in (head, *names):
        table.add_column(f"{name} ms" if name in QUANTILES else name, justify="right")
    for step in steps:
        table.add_row(
            f"{step.load:,.0f}", f"{step.rate:,.0f}", f"{step.rate * rows:,.0f}",
            *(f"{step.latency_s[name] * 1e3:,.2f}" if step.answered else "-" for name in QUANTILES),
            f"{step.refused:,}", f"{step.timed_out:,}", f"{step.failed:,}",
            f"{step.client_cores:.0%}",
        )  # fmt: skip
    return table


def lines(run: Run) -> Iterator[str]:
    """What the figures say."""
    yield ""
    knee, best, limit = run.knee, run.best, run.limit
    if knee is not None:
        told = f"p99 {knee.latency_s['p99'] * 1e3:,.2f} ms"
        yield f"knee: {knee.load:,.0f} requests/s ({told}); beyond it latency grows faster"
    elif run.open:
        yield "knee: none within these rates"
    if limit is not None:
        yield (
            f"the runtime alone, {limit.variant} on {limit.provider}: "
            f"{limit.best_rows_per_s:,.0f} rows/s at {limit.best_size} in a batch, "
            f"{limit.graph_rows_per_s[1]:,.0f} at 1; validate and encode: "
            f"{limit.encode_rows_per_s:,.0f} rows/s in one thread"
        )
    if limit is not None and best is not None:
        share = best.rate * run.rows / limit.best_rows_per_s
        yield f"best served: {best.rate * run.rows:,.0f} rows/s, {share:.1%} of the runtime alone"
    busy = [step for step in run.steps if step.client_is_busy]
    if busy:
        most = max(step.client_cores for step in busy)
        yield (
            f"note: the load generator took up to {most:.0%} of a core: where it is near 100%, "
            "the server may answer more than is shown"
        )
    late = max((step.late_p99_s for step in run.open), default=0.0)
    if late > LATE_S:
        yield f"note: the load generator was up to {late * 1e3:.1f} ms late (p99), which counts"
