"""The demo: seal the examples, serve them, try them in every way there is, and say what to paste.

Run it:  make demo            (Ctrl-C ends it)
         python examples/demo.py --once    tries the lines itself and ends
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import seatrial as st
from seatrial_parity.report.table import parity_table
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

HERE = Path(__file__).resolve().parent
EXAMPLES = ("penguins", "digits", "sentences", "photos")
READY_WITHIN_S = 60
PENGUIN = {
    "island": "Biscoe", "sex": "female", "bill_length_mm": 46.5, "bill_depth_mm": None,
    "flipper_length_mm": 217, "body_mass_g": 5200, "year": 2008,
}  # fmt: skip


def seal(out: Path, names: list[str], console: Console) -> dict[str, tuple[st.Pipeline, st.Bundle]]:
    """Train and seal each example anew."""
    sealed = {}
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        for name in names:
            file = HERE / name / "pipeline.py"
            task = progress.add_task(f"{name}: training")
            pipeline = st.load_pipeline(f"{file}:pipeline")
            shutil.rmtree(out / name, ignore_errors=True)
            bundle = st.export(
                pipeline,
                out,
                lambda step, name=name, task=task: progress.update(
                    task, description=f"{name}: {step}"
                ),
                target=f"{file}:pipeline",
            )
            progress.update(
                task,
                description=f"{name}: sealed, {bundle.size_bytes / 1e6:.2f} MB",
                completed=100,
                total=100,
            )
            sealed[name] = pipeline, bundle
    return sealed


def free_port(wanted: int) -> int:
    """This port, or any other where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(out: Path) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """Run `seatrial serve` in a process of its own until every model is ready.

    Yields its URL, that of its metrics, and the process.
    """
    port, grpc, metrics = free_port(8000), free_port(8001), free_port(8002)
    command = [
        sys.executable,
        "-m",
        "seatrial",
        "serve",
        str(out),
        "--http-port",
        str(port),
        "--grpc-port",
        str(grpc),
        "--metrics-port",
        str(metrics),
        "--log-level",
        "warning",
    ]
    with subprocess.Popen(command) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, server)
            yield url, f"http://127.0.0.1:{metrics}/metrics", server
        finally:
            server.terminate()
            server.wait()  # which leaving `with` does not after Ctrl-C


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Poll the readiness route; raise with what it says where it takes too long."""
    said, end = "nothing", time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode()
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the server is not ready: {said}")


def lines_to_paste(url: str, picture: Path) -> list[str]:
    """Three questions and one that is refused."""
    as_json = "-H 'Content-Type: application/json'"
    ask = lambda row: json.dumps({"instances": [row]}, ensure_ascii=False)
    return [
        f"curl -s {url}/v1/models/penguins:predict {as_json} -d '{ask(PENGUIN)}'",
        (
            f"curl -s {url}/v1/models/digits:predict -H 'Content-Type: image/png' "
            f"--data-binary @{picture}"
        ),
        (
            f"curl -s {url}/v1/models/sentences:predict {as_json} "
            f"-d '{ask({'text': 'Where do penguins raise their young?'})}' | head -c 300"
        ),
        (
            f"curl -s {url}/v1/models/penguins:predict {as_json} "
            f"-d '{ask({**PENGUIN, 'bill_length_mm': 412})}'"
        ),
    ]


def draw_picture(path: Path) -> Path:
    """A digit as a file, to ask about."""
    from sklearn.datasets import load_digits

    sys.path.append(str(HERE))
    from digits.pipeline import drawn

    drawn(load_digits().images[7], 120).save(path)
    return path


def end(number: int, _: FrameType | None) -> None:
    """End by a signal as any other way, so that the server ends too."""
    raise SystemExit(128 + number)


def prepare() -> None:
    """Show lines at once, also through a pipe, and leave no server behind."""
    sys.stdout.reconfigure(line_buffering=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def main() -> None:
    """Seal, serve, try, and say what to paste."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--out", type=Path, default=Path("bundles"), help="folder of bundles (default: bundles)"
    )
    options.add_argument(
        "--once", action="store_true", help="run the curl lines and end, in place of serving on"
    )
    given = options.parse_args()
    prepare()
    console = Console()
    sealed = seal(given.out, list(EXAMPLES), console)
    picture = draw_picture(given.out / "seven.png")
    with serving(given.out) as (url, metrics, server):
        for pipeline, bundle in sealed.values():
            receipt = try_bundle(TrialRequest(bundle, pipeline, url))
            receipt.write(bundle.path)
            console.print(parity_table(receipt, bundle.size_bytes))
            if not receipt.passed:
                raise SystemExit(f"{bundle.name} misses its tolerance")
        lines = lines_to_paste(url, picture)
        console.print(
            f"\n[bold]{url}[/]  pages: {url}/docs\nmetrics: {metrics}\n\n"
            "Paste these; the last is refused, and says why:\n",
            highlight=False,
        )
        for line in lines:
            print(line, end="\n\n")
        if given.once:
            for line in lines:
                print(
                    subprocess.run(
                        ["bash", "-c", line], capture_output=True, text=True, check=True
                    ).stdout
                )
        else:
            print("Ctrl-C ends the demo.")
            server.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("ended")
