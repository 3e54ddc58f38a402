"""Each extra alone: the wheel in a clean environment, and what `seatrial` can do there.

    make test-extras                          no extra, each one, and some together
    make test-extras EXTRAS="age serve,text"  these two environments

Without an extra every probe below is run; with one, those that it is for. If the extras of a probe
are there, it must work. If one is missing, the last line must name it, and how it is installed.
The last lines of a run are the table of docs, "Extras that were tried alone".

uv installs, by the configuration of pip, which tools/install.py hands to it.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

from install import pip_settings, unknown_to_uv, uv_settings

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tools" / "extras"
EXTRAS = (
    "none", "serve", "client", "triton", "torchscript", "monitor", "deploy", "otel", "age", "oidc",
    "sigstore", "oci", "mlflow", "https", "s3", "gcs", "azure", "text", "image", "audio", "export",
    "hub", "adopt", "xgboost", "lightgbm", "catboost", "parity", "plot",
)  # fmt: skip
TOGETHER = ("serve,text,image,audio", "serve,otel,oidc,sigstore,plot,parity")
"""What needs more than one extra."""
MAKES = "hub,adopt,xgboost,lightgbm,catboost,serve"
"""What writes the bundles and files that are asked about, and the server that clients ask."""
AGE = "age1tvr4jj66zsvrkyvv8hvkam74qz5h06xnvtgzljzwkk5scxqs4enqjyxqv4"
"""A recipient whose identity nobody keeps."""
JWKS = {"keys": [{
    "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1",
    "x": "IakbUhBLcNtO5Lt1x940vCFiakTTJAIzPOeNUJYC0Ow",
    "y": "-qPZbDyq2V86h7Or7_bNoFyp0CpgILnz_q_fDFCuDeM",
}]}  # fmt: skip
"""An issuer's key, of which nobody keeps the private part."""
KEYS = """
[oidc]
issuer = "https://login.example.org"
audience = "seatrial"
jwks = "jwks.json"
claim = "scope"
[[oidc.grants]]
value = "ask"
scopes = ["infer"]
"""
SIGNATURE = {
    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "verificationMaterial": {"certificate": {"rawBytes": "AAAA"}},
    "dsseEnvelope": {
        "payload": "e30=",
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": "AAAA"}],
    },
}
POLICY = """
[[signer]]
name = "workflow"
sigstore = {identity = "a@b.example", issuer = "https://c.example"}
"""
NAMES = re.compile(r"pip install '\.\[(\w+)\]'")
WITHIN_S = 900


def closure(extra: str) -> set[str]:
    """The extra and those that it is made of."""
    said = PROJECT["optional-dependencies"].get(extra, [])
    inner = [each for line in said for each in re.findall(r"^seatrial\[(.*)\]$", line)]
    return {extra}.union(*(closure(name) for names in inner for name in names.split(",")))


def packages(extra: str) -> set[str]:
    """What an extra installs, by the names that pip has."""
    return {
        re.split(r"[\[<>=!;]", line)[0].lower().replace("_", "-")
        for each in closure(extra)
        for line in PROJECT["optional-dependencies"].get(each, [])
        if not line.startswith("seatrial[")
    }


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


class Failed(Exception):
    """A command failed; the text is what it said."""


@dataclass
class Environment:
    """A clean environment with the wheel and an extra or several."""

    path: Path
    extras: str
    python: str
    wheel: Path
    folder: Path = field(init=False)
    """Where its commands run."""

    def __post_init__(self) -> None:
        """Make it, and install."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.folder = self.path / "work"
        uv("venv", "--quiet", "--python", self.python, str(self.path))
        wanted = f"[{self.extras}]" if self.extras else ""
        self.install(f"seatrial{wanted} @ {self.wheel.resolve().as_uri()}")
        python = str(self.path / "bin" / "python")
        listed = uv("pip", "list", "--python", python, "--format", "json")
        self.installed = {each["name"].lower().replace("_", "-") for each in json.loads(listed)}
        self.folder.mkdir()

    def install(self, what: str) -> None:
        """Install it beside what is there, in the versions of the constraints."""
        python, constraints = str(self.path / "bin" / "python"), str(ROOT / "constraints.txt")
        settings = pip_settings()
        if unknown := unknown_to_uv(settings):
            raise SystemExit(f"pip's configuration: uv has no word for {', '.join(unknown)}")
        flags, variables = uv_settings(settings)
        how = ("pip", "install", "--quiet", "--python", python, *flags)
        uv(*how, what, "-c", constraints, **variables)

    def has(self, extra: str) -> bool:
        """Are all packages of an extra there, whatever brought them?"""
        return packages(extra) <= self.installed

    @property
    def variables(self) -> dict[str, str]:
        """This process's, with the environment's programs first and a cache of its own."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        path = f"{self.path / 'bin'}:{os.environ['PATH']}"
        return kept | {"PATH": path, "XDG_CACHE_HOME": str(self.path / "cache"), "COLUMNS": "200"}

    def run(self, *command: str, **variables: str) -> str:
        """What a command says. Raises `Failed`."""
        done = subprocess.run(
            [str(self.path / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.variables | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise Failed(done.stdout)
        return done.stdout

    def seatrial(self, *arguments: str, **variables: str) -> str:
        """The command."""
        return self.run("seatrial", *arguments, **variables)

    @contextmanager
    def server(self, *arguments: str) -> Iterator[str]:
        """The URL of a server whose models are all ready. Raises `Failed`."""
        ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
        log = self.folder / "server.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [str(self.path / "bin" / "seatrial"), "serve", *arguments, *ports],
                cwd=self.folder,
                env=self.variables,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield self._ready(process, log)
        finally:
            process.terminate()
            process.wait(60)

    def _ready(self, process: subprocess.Popen[bytes], log: Path) -> str:
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            said = log.read_text()
            if process.poll() is not None:
                raise Failed(said)
            url = re.search(r"http://127\.0\.0\.1:\d+", said)
            if url:
                try:
                    with urllib.request.urlopen(f"{url[0]}/v2/health/ready", timeout=10):
                        return url[0]
                except OSError as error:  # 503 while a model loads
                    body = error.read().decode() if hasattr(error, "read") else ""
                    if '"FAILED"' in body:
                        raise Failed(body + log.read_text()) from None
            time.sleep(0.2)
        raise Failed(f"not ready within {WITHIN_S} s: {log.read_text()}")


def uv(*arguments: str, **variables: str) -> str:
    """What uv prints. Its own words are passed on."""
    command, environment = [sys.executable, "-m", "uv", *arguments], os.environ | variables
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout


class Store(http.server.ThreadingHTTPServer):
    """A web server that keeps which paths it was asked; it has the bundles below /bundles."""

    def __init__(self, folder: Path) -> None:
        """On a free port of the loopback."""
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *given: object) -> None:
                super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

            def log_request(self, *_: object) -> None:
                outer.asked.append(self.path)

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"


@dataclass(frozen=True)
class Around:
    """What the probes are asked about."""

    made: Path
    """A folder of bundles, and of files that are adopted."""
    url: str
    """A server of all bundles."""
    store: Store

    def bundle(self, name: str) -> str:
        """The folder of a bundle."""
        return str(self.made / "bundles" / name / "1.0.0")


Probe = Callable[[Environment, Around], str]
PROBES: dict[str, tuple[tuple[str, ...], Probe]] = {}
"""What is tried -> the extras that it needs, and how."""


def needs(*extras: str) -> Callable[[Probe], Probe]:
    """Register a probe by its own name."""

    def register(probe: Probe) -> Probe:
        PROBES[probe.__name__.replace("_", " ")] = extras, probe
        return probe

    return register


def want(pattern: str, said: str) -> str:
    """The text. Raises `Failed` unless it has the pattern."""
    if not re.search(pattern, said):
        raise Failed(f"want {pattern} in: {said}")
    return said


@needs()
def version(here: Environment, _: Around) -> str:
    return want(re.escape(PROJECT["version"]), here.seatrial("--version"))


@needs("none")
def doctor(here: Environment, _: Around) -> str:
    return want("python", here.seatrial("doctor"))


@needs("none")
def inspect(here: Environment, at: Around) -> str:
    return want("plain", here.seatrial("inspect", at.bundle("plain")))


@needs("none")
def pytest_beside_it(here: Environment, _: Around) -> str:
    """The plugin of pytest is loaded by every pytest, of whoever installed nothing but that."""
    if "pytest" not in here.installed:
        here.install("pytest")
    (here.folder / "test_nothing.py").write_text("def test_nothing(): pass\n")
    (here.folder / "pytest.ini").write_text("[pytest]\n")
    return want("1 passed", here.run("pytest", "--confcutdir=.", "test_nothing.py"))


@needs("serve")
def list_a_folder(here: Environment, at: Around) -> str:
    return want("plain", here.seatrial("list", str(at.made / "bundles")))


@needs("serve")
def predict_in_process(here: Environment, at: Around) -> str:
    return want('"kind"', here.seatrial("predict", at.bundle("plain"), "--json"))


@needs("serve")
def diff(here: Environment, at: Around) -> str:
    return here.seatrial("diff", at.bundle("plain"), at.bundle("plain"))


@needs("serve")
def serve(here: Environment, at: Around) -> str:
    with here.server(at.bundle("plain")) as url:
        return want("kind", answer(url, {"x": 1.0, "y": 2.0}))


def answer(url: str, row: object) -> str:
    """What a server answers for a row."""
    body = json.dumps({"instances": [row]}).encode()
    kind = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/v1/models/plain:predict", body, kind)
    with urllib.request.urlopen(asked, timeout=30) as reply:
        return reply.read().decode()


@needs("serve", "text")
def a_text(here: Environment, at: Around) -> str:
    return want('"kind"', here.seatrial("predict", at.bundle("texts"), "--json"))


@needs("serve", "image")
def a_picture(here: Environment, at: Around) -> str:
    return want('"kind"', here.seatrial("predict", at.bundle("pictures"), "--json"))


@needs("serve", "audio")
def a_sound(here: Environment, at: Around) -> str:
    return want('"kind"', here.seatrial("predict", at.bundle("sounds"), "--json"))


@needs("client")
def ask_a_server(here: Environment, at: Around) -> str:
    return want('"kind"', here.seatrial("predict", at.url, "--model", "plain", "--json"))


@needs("client")
def write_a_client(here: Environment, at: Around) -> str:
    return here.seatrial("client", at.url, "--model", "plain", "--out", "client.py")


@needs("client")
def list_a_server(here: Environment, at: Around) -> str:
    return want("plain", here.seatrial("list", at.url))


@needs("triton")
def write_for_triton(here: Environment, at: Around) -> str:
    here.seatrial("triton", at.bundle("plain"), "--out", "repo")
    return want("onnx", (here.folder / "repo/plain_graph/config.pbtxt").read_text())


@needs("serve", "torchscript")
def serve_torchscript(here: Environment, at: Around) -> str:
    with here.server(at.bundle("plain"), "--variant=torchscript", "--trust-torchscript") as url:
        return want("kind", answer(url, {"x": 1.0, "y": 2.0}))


@needs("monitor")
def write_alerts(here: Environment, at: Around) -> str:
    return want("wrote", here.seatrial("monitor", at.bundle("plain"), "--out", "monitoring"))


@needs("deploy")
def write_manifests(here: Environment, at: Around) -> str:
    where = "--image=registry.example/seatrial:1", "--registry=oci://registry.example/models"
    here.seatrial("deploy", "kubernetes", at.bundle("plain"), "--out", "kit", *where)
    return want("Deployment", (here.folder / "kit/plain/base/deployment.yaml").read_text())


@needs("serve", "otel")
def traces(here: Environment, at: Around) -> str:
    at.store.asked.clear()
    with here.server(at.bundle("plain"), f"--otlp-endpoint={at.store.url}/v1/traces") as url:
        answer(url, {"x": 1.0, "y": 2.0})
    return want("/v1/traces", str(at.store.asked))


@needs("age")
def encrypt(here: Environment, at: Around) -> str:
    return here.seatrial("encrypt", at.bundle("plain"), "--to", AGE, "--out", "encrypted")


@needs("serve", "oidc")
def serve_for_tokens(here: Environment, at: Around) -> str:
    (here.folder / "jwks.json").write_text(json.dumps(JWKS))
    (here.folder / "keys.toml").write_text(KEYS)
    (here.folder / "keys.toml").chmod(0o600)
    with here.server(at.bundle("plain"), "--api-keys=keys.toml") as url:
        try:
            return answer(url, {"x": 1.0, "y": 2.0})
        except urllib.error.HTTPError as error:
            return want("E_KEY", error.read().decode())


@needs("serve", "sigstore")
def ask_sigstores_roots(here: Environment, at: Around) -> str:
    """Sigstore's library decides, by the roots that it brings, on a signature that is none."""
    shutil.copytree(at.bundle("plain"), here.folder / "signed")
    (here.folder / "signed" / "model.sig").write_text(json.dumps(SIGNATURE))
    (here.folder / "policy.toml").write_text(POLICY)
    try:
        return here.seatrial("verify", "signed", "policy.toml")
    except Failed as error:
        if NAMES.search(str(error)):
            raise
        return want("Sigstore does not vouch", str(error))


@needs("oci")
def reach_a_registry(here: Environment, at: Around) -> str:
    address = f"oci://{at.store.url.removeprefix('http://')}/models/plain:1.0.0"
    return reach(here, at, "push", at.bundle("plain"), address)


@needs("mlflow")
def reach_mlflow(here: Environment, at: Around) -> str:
    where = {"MLFLOW_TRACKING_URI": at.store.url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return reach(here, at, "push", at.bundle("plain"), "mlflow:models:/plain", **where)


@needs("https")
def pull_from_a_web_server(here: Environment, at: Around) -> str:
    here.seatrial("pull", f"{at.store.url}/bundles/plain/1.0.0", "--out", "pulled")
    return (here.folder / "pulled/plain/1.0.0/manifest.json").read_text()


@needs("s3")
def reach_s3(here: Environment, at: Around) -> str:
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    where = {"AWS_ENDPOINT_URL": at.store.url, "AWS_DEFAULT_REGION": "eu-west-1", **keys}
    return reach(here, at, "pull", "s3://bucket/plain/1.0.0", "--out", "pulled", **where)


@needs("gcs")
def reach_google(here: Environment, at: Around) -> str:
    where = {"STORAGE_EMULATOR_HOST": at.store.url}
    return reach(here, at, "pull", "gs://bucket/plain/1.0.0", "--out", "pulled", **where)


@needs("azure")
def reach_azure(here: Environment, at: Around) -> str:
    account = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5"
    where = {"AZURE_STORAGE_CONNECTION_STRING": f"{account};BlobEndpoint={at.store.url}/a;"}
    return reach(here, at, "pull", "az://container/plain/1.0.0", "--out", "pulled", **where)


def reach(here: Environment, at: Around, *arguments: str, **variables: str) -> str:
    """What the store was asked, which is none and says so. Raises `Failed` if it was not asked."""
    at.store.asked.clear()
    try:
        said = here.seatrial(*arguments, **variables)
    except Failed as error:
        said = str(error)
        if not at.store.asked or not re.match("seatrial: (?!.*a bug in)", said.splitlines()[-1]):
            raise
    return f"asked {at.store.asked[:3]}: {said}"


@needs("export")
def export(here: Environment, _: Around) -> str:
    target = f"{HERE / 'plain.py'}:pipeline"
    want("kind", here.seatrial("contract", target))
    return want("sealed", here.seatrial("export", target, "--out", "exported"))


@needs("export")
def quantize(here: Environment, at: Around) -> str:
    options = "--variant=fp16", "--out=quantized", "--promise=agreement>=0.5"
    return here.seatrial("quantize", at.bundle("plain"), *options)


@needs("hub")
def adopt_a_hub_folder(here: Environment, at: Around) -> str:
    return want("sealed", here.seatrial("adopt", f"hf:{at.made / 'hub'}", "--out", "adopted"))


def adopt(here: Environment, at: Around, what: str) -> str:
    """Adopt an estimator, with a contract from the table of its training."""
    table = ("--frame", str(at.made / "train.csv"), "--target", "price")
    rows = f"{Path(what).stem}_rows.py"
    return want("sealed", here.seatrial("adopt", what, *table, "--write", rows, "--out", "adopted"))


@needs("adopt")
def adopt_an_estimator(here: Environment, at: Around) -> str:
    return adopt(here, at, f"{HERE / 'estimator.py'}:price")


@needs("adopt")
def new(here: Environment, at: Around) -> str:
    return want("wrote", here.seatrial("new", "new.py", "--frame", str(at.made / "train.csv")))


@needs("adopt", "xgboost")
def adopt_xgboost(here: Environment, at: Around) -> str:
    return adopt(here, at, str(at.made / "xgboost.ubj"))


@needs("adopt", "lightgbm")
def adopt_lightgbm(here: Environment, at: Around) -> str:
    return adopt(here, at, str(at.made / "lightgbm.txt"))


@needs("adopt", "catboost")
def adopt_catboost(here: Environment, at: Around) -> str:
    return adopt(here, at, str(at.made / "catboost.cbm"))


@needs("parity", "serve")
def parity(here: Environment, at: Around) -> str:
    only = "--runner", "onnxruntime"
    return want("onnxruntime .* yes", here.seatrial("parity", at.bundle("plain"), *only))


@needs("parity")
def parity_of_a_server(here: Environment, at: Around) -> str:
    only = "--url", at.url, "--runner", "http v1"
    return want("http v1 .* yes", here.seatrial("parity", at.bundle("plain"), *only))


@needs("parity")
def report(here: Environment, at: Around) -> str:
    return want("report", here.seatrial("report", at.bundle("plain"), "--out", "report.html"))


@needs("serve", "plot")
def plot_drift(here: Environment, at: Around) -> str:
    (here.folder / "rows.json").write_text(
        json.dumps([{"x": 8.0 * i, "y": 50.0 - i} for i in range(12)])
    )
    return here.seatrial("drift", at.bundle("plain"), "rows.json", "--plot", "drift.png")


HELPS = """
import click
from click.testing import CliRunner
from seatrial.main import cli

def look(words, group):
    for name in group.list_commands(None):
        done = CliRunner().invoke(cli, [*words, name, "--help"])
        if done.exit_code:
            print(*words, name)
        elif isinstance(group.get_command(None, name), click.Group):
            look([*words, name], group.get_command(None, name))

look([], cli)
"""
"""Prints each command whose --help is not to be had."""


@needs()
def helps(here: Environment, _: Around) -> str:
    """Each --help is shown, or names an extra: the options of some commands are an extra's own."""
    without = here.run("python", "-c", HELPS).splitlines()
    for words in without:
        try:
            here.seatrial(*words.split(), "--help")
        except Failed as error:
            named(here, str(error), set(PROJECT["optional-dependencies"]))
        else:
            raise Failed(f"{words} --help fails only after others")
    return f"without: {', '.join(without) or 'none'}"


def named(here: Environment, said: str, wanted: set[str]) -> str:
    """The extra that a message names. Raises `Failed` unless it is a missing and wanted one."""
    last = said.strip().splitlines()[-1] if said.strip() else ""
    extras = NAMES.findall(last)
    if len(extras) != 1 or "Traceback" in said or extras[0] not in wanted or here.has(extras[0]):
        raise Failed(f"want one line that names one of {sorted(wanted)}, got: {said}")
    return extras[0]


def tried(here: Environment, at: Around, name: str) -> tuple[str, str]:
    """An outcome (`works`, `names EXTRA` or `FAILS`), and what was said."""
    extras, probe = PROBES[name]
    missing = {extra for extra in extras if not here.has(extra)}
    try:
        return "works", probe(here, at)
    except Failed as error:
        if not missing:
            return "FAILS", str(error)
        try:
            return f"names {named(here, str(error), missing)}", str(error)
        except Failed as wrong:
            return "FAILS", str(wrong)
    except Exception as error:  # a probe's own: the others go on, and the run fails
        return "FAILS", f"{type(error).__name__}: {error}"


def probes_of(extra: str) -> list[str]:
    """Those that are tried with an extra; all of them without one."""
    held = set().union(*map(closure, extra.split(",")))
    return [
        name
        for name, (extras, _) in PROBES.items()
        if extra == "none" or held & {*extras} or not extras
    ]


def make(here: Environment, folder: Path) -> None:
    """Write the bundles and the files that are adopted, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "hub" / "tokenizer.json").exists():
        here.run("python", str(HERE / "files.py"), str(folder))
    files = {"plain": "plain.py:pipeline"} | {
        name: f"models.py:{name}" for name in ("texts", "pictures", "sounds")
    }
    for name, file in files.items():
        if not (folder / "bundles" / name).exists():
            more = ("--format", "torchscript") if name == "plain" else ()
            here.seatrial("export", str(HERE / file), *more, "--out", str(folder / "bundles"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the extras; the table, and 1 where anything fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "extras", nargs="*", default=EXTRAS + TOGETHER, help="each may be several: A,B"
    )
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "extras")
    given = parser.parse_args(arguments)
    work = given.work.resolve()
    maker = Environment(work / "maker", MAKES, given.python, given.wheel)
    make(maker, work / "made")
    store, lines, failures = Store(work / "made"), [], 0
    with maker.server(str(work / "made" / "bundles")) as url:
        at = Around(work / "made", url, store)
        for extra in given.extras:
            extras = "" if extra == "none" else extra
            here = Environment(work / "alone", extras, given.python, given.wheel)
            size_mb = sum(file.stat().st_size for file in (here.path / "lib").rglob("*")) / 1e6
            works = []
            for name in probes_of(extra):
                outcome, said = tried(here, at, name)
                print(f"{extra}: {name}: {outcome}", flush=True)
                if outcome == "FAILS":
                    failures += 1
                    print(indent(said.strip(), "    "), flush=True)
                elif outcome == "works" and PROBES[name][0]:
                    works.append(name)
            row = (
                f"`{extra}`",
                str(len(here.installed)),
                f"{size_mb:.0f}",
                ", ".join(works) or "none",
            )
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
            shutil.rmtree(here.path)
    print("| extra | packages | MB | what works |\n|---|---|---|---|", *lines, sep="\n")
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
