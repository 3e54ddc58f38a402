"""The project's own promises: the serving wing needs no torch, its extras are complete, the Dockerfile is clean, the walls hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seatrial.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
BARE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxscript", "transformers", "pandas", "sklearn", "scipy"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import seatrial_serve, seatrial_serve.server, seatrial_serve.engine, seatrial_contracts, seatrial.commands.serve
import seatrial as st
st.open_bundle, st.Contract
try:
    st.Pipeline
except st.MissingExtra as error:
    print(error)
"""


def test_the_serving_wing_imports_without_torch_and_names_the_extra_that_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'seatrial[export]'" in done.stdout


@pytest.mark.slow
def test_a_real_environment_with_the_serve_extra_alone_serves_a_bundle(examples: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=60)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        f"{ROOT}[serve]",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    subprocess.run(install, check=True, timeout=110, cwd=tmp_path)
    script = "import importlib.util as u, seatrial_serve.server; assert u.find_spec('torch') is None and u.find_spec('PIL') is None"
    subprocess.run([str(python), "-c", script], check=True, timeout=60, cwd=tmp_path)
    ask = [str(python), "-m", "seatrial", "predict", str(examples / "penguins" / "1.0.0"), "--json"]
    done = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert '"species"' in done.stdout, done.stderr
    ask[4] = str(examples / "digits" / "1.0.0")
    done = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "pip install 'seatrial[image]'" in done.stderr


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [str(hadolint), str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    text = (ROOT / "Dockerfile").read_text()
    assert all(
        word in text for word in ("ARG BASE", "USER 10001", "HEALTHCHECK", "--require-hashes", "AS cpu\n", "AS gpu\n")
    )


@pytest.mark.parametrize(
    ("target", "extras"),
    [("cpu", ("edge", "serve", "text", "image")), ("gpu", ("edge", "gpu", "text", "image")), ("build", ())],
)
def test_the_images_packages_are_pinned_by_hash_as_the_constraints_say(target: str, extras: tuple[str, ...]) -> None:
    locked = (ROOT / "requirements" / f"{target}.txt").read_text()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", locked, re.MULTILINE))
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=\w)", locked, flags=re.MULTILINE)[1:])
    assert "://" not in locked
    constraints = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    said = {plain(name): version for name, version in constraints}
    behind = {name: (version, said[name]) for name, version in pins.items() if said.get(name, version) != version}
    assert not behind, "make lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = (project["dependencies"] if extras else ["hatchling"]) + [
        each for extra in extras for each in project["optional-dependencies"][extra]
    ]
    names = {plain(re.split(r"[\[>=]", each)[0]) for each in wanted} - {"seatrial"}
    assert not names - set(pins), "make lock"


def plain(name: str) -> str:
    """A package's name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_workflow_is_one_that_github_can_read_and_runs_commands_that_there_are() -> None:
    workflow = ROOT / ".github" / "workflows" / "parity.yml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    text = workflow.read_text("utf-8")
    assert set(re.findall(r"bin/seatrial ([a-z]+)", text)) == {"export", "parity", "report"} <= set(COMMANDS)
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in re.findall(r"uses: (\S+)", text))


def test_serving_code_unpickles_and_evaluates_nothing() -> None:
    banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "torch", "onnx"}
    for folder in ("serve", "contracts"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                names = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                lazy = {"torch"} if file.name == "torchscript.py" else set()  # behind --trust-torchscript
                assert not {name.split(".")[0] for name in names} & banned - lazy, file
                called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
                assert called not in ("eval", "exec", "compile", "__import__"), file
