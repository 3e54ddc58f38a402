"""`seatrial doctor`: this machine, what is installed, and what would be refused here."""

from __future__ import annotations

import json
import platform
import re
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from importlib.util import find_spec
from pathlib import Path

import click

from seatrial.identity_option import identity_option

GOOD, NOTE, BAD = "ok", "note", "bad"
MARKS = {GOOD: "ok  ", NOTE: "note", BAD: "BAD "}
SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimd", "asimddp")
"""Instruction sets that the runtimes' fast paths ask for, in Linux's names."""
SHOWN = ("seatrial", "onnxruntime", "onnx", "torch", "transformers", "tokenizers", "numpy")
INNER = ("dev",)
"""Extras that are no user's."""
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*;.*extra == [\"']([\w-]+)[\"']")


@click.command("doctor")
@click.argument("bundles", metavar="[BUNDLE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@identity_option
def command(bundles: tuple[Path, ...], as_json: bool) -> None:
    """Look at this machine: what is installed, what it can do, what would be refused and why.

    With BUNDLE, a bundle or a folder of bundles, also whether this machine opens each. Exits with 1
    where something is bad.

    \b
      seatrial doctor
      seatrial doctor bundles
    """  # noqa: D301  (click's mark)
    found = [*of_python(), *of_machine(), *of_extras(), *of_ports()]
    found += of_bundles(bundles) if bundles else ()
    if as_json:
        told = [{"state": state, "what": what, "said": said} for state, what, said in found]
        click.echo(json.dumps(told, indent=1))
    else:
        width = max(len(what) for _, what, _ in found)
        for state, what, said in found:
            click.echo(f"{MARKS[state]}  {what:{width}}  {said}")
    if any(state == BAD for state, _, _ in found):
        raise click.exceptions.Exit(1)


Finding = tuple[str, str, str]
"""A state, what it is about, and what was found."""


def of_python() -> Iterator[Finding]:
    """Python and the packages that decide what models answer."""
    supported = sys.version_info >= (3, 11)
    said = f"{platform.python_version()} at {sys.prefix}"
    yield (GOOD if supported else BAD), "python", said if supported else f"{said}; want 3.11"
    for name in SHOWN:
        try:
            yield GOOD, name, version(name)
        except PackageNotFoundError:
            yield NOTE, name, "not installed"
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if is_installed(name)]
    if len(both) > 1:
        mend = "uninstall both, then install the one: they share a folder"
        yield BAD, "onnxruntime", f"got onnxruntime and onnxruntime-gpu, want one; {mend}"


def of_machine() -> Iterator[Finding]:
    """Cores, memory, instruction sets, cards and folders."""
    from seatrial_serve.process.resources import granted_bytes, usable_cores

    yield GOOD, "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield GOOD, "cores", f"{usable_cores()} (affinity and cgroup)"
    granted = granted_bytes()
    state = GOOD if granted >= 2**30 else NOTE
    yield state, "memory", f"{granted / 2**30:.1f} GiB (machine and cgroup)"
    there = instruction_sets(Path("/proc/cpuinfo"))
    if there is None:
        yield NOTE, "instructions", "the system does not say what the processor can do"
    else:
        yield GOOD, "instructions", ", ".join(there) or "none of those that runtimes ask for"
        if not {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"} & {*there}:
            yield NOTE, "int8", "no instructions for it: int8 variants are smaller, hardly faster"
    if find_spec("onnxruntime") is not None:
        import onnxruntime

        yield GOOD, "providers", ", ".join(onnxruntime.get_available_providers())
    yield of_cache()


def of_cache() -> Finding:
    """Can the user's cache keep graphs and receipts?"""
    from seatrial_serve.process.private_cache import NotPrivate, cache_folder, make_private

    folder = cache_folder("graphs")
    try:
        make_private(folder)
    except (OSError, NotPrivate) as error:
        mend = "set XDG_CACHE_HOME to a folder that this user alone writes to"
        said = f"{getattr(error, 'strerror', None) or error}: every start is a first one; {mend}"
        return NOTE, "cache", said
    return GOOD, "cache", str(folder.parent)


def of_extras() -> Iterator[Finding]:
    """Which extras are whole."""
    wanted: dict[str, list[str]] = {}
    for line in requires("seatrial") or []:
        match = REQUIREMENT.match(line)
        if match is not None and match[1].lower() != "seatrial" and match[2] not in INNER:
            wanted.setdefault(match[2], []).append(match[1])
    whole = [extra for extra, names in wanted.items() if all(map(is_installed, names))]
    yield GOOD, "extras", ", ".join(sorted(whole)) or "none"
    lacks = {
        extra: [name for name in names if not is_installed(name)]
        for extra, names in wanted.items()
        if extra not in whole
    }
    for extra, names in sorted(lacks.items()):
        yield NOTE, f"extra {extra}", f"lacks {', '.join(names)}"


def of_ports() -> Iterator[Finding]:
    """Are the server's own ports free, if there is a server?"""
    if find_spec("pydantic_settings") is None:
        return
    from seatrial_serve.settings import Settings

    for name in ("http_port", "grpc_port", "metrics_port"):
        port = Settings.model_fields[name].default
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError as error:
                flag = f"--{name.replace('_', '-')}"
                yield NOTE, f"port {port}", f"{error.strerror}: choose another by {flag}"
            else:
                yield GOOD, f"port {port}", "free"


def of_bundles(paths: tuple[Path, ...]) -> Iterator[Finding]:
    """Does this machine open each bundle, and run each of its graphs?"""
    from seatrial_contracts.bundle import open_bundle
    from seatrial_contracts.errors import SeatrialError
    from seatrial_serve.inference.engine import load_engine
    from seatrial_serve.models.scan import folder_homes
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    found = list[Path]()
    for path in paths:
        try:
            homes = folder_homes(path)
        except SeatrialError as error:
            yield BAD, str(path), str(error)
        else:
            found += [each for home in homes for each in home.paths.values()]
    for path in found:
        try:
            bundle = open_bundle(path)
            for variant in bundle.manifest.variants:
                engine = load_engine(bundle, RuntimeOptions(), variant.name)
                engine.answer([bundle.contract.example_row()])
        except SeatrialError as error:
            yield BAD, str(path), str(error)
        else:
            names = ", ".join(variant.name for variant in bundle.manifest.variants)
            yield GOOD, str(path), f"opens and answers: {names}"


def instruction_sets(cpuinfo: Path) -> list[str] | None:
    """Those of `SETS` that the processor has; None where the system does not say."""
    try:
        text = cpuinfo.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return None if match is None else [name for name in SETS if name in match[1].split()]


def is_installed(name: str) -> bool:
    """Is there a distribution of this name?"""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
