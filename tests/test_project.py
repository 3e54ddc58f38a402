"""The project's own promises.

The server needs no torch, its extras are complete, the Dockerfile is clean, the walls hold.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hypothesis import settings
from support.properties import drawing
from support.servers import ROOT

from seatrial.extras import EXTRAS, extra_of
from seatrial.main import COMMANDS

sys.path.insert(0, str(ROOT / "tools"))
from extras_alone import EXTRAS as TRIED_ALONE
from extras_alone import PROBES

BARE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in (
            "torch", "onnx", "onnxscript", "transformers", "pandas", "sklearn", "scipy"
        ):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Nothing())
import seatrial_serve, seatrial_serve.server, seatrial_serve.inference.engine
import seatrial_contracts, seatrial.commands.serve
import seatrial as st
st.open_bundle, st.Contract
try:
    st.Pipeline
except st.MissingExtra as error:
    print(error)
"""


def test_the_serving_wing_imports_without_torch_and_names_the_extra_that_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install '.[export]'" in done.stdout


@pytest.mark.slow
def test_a_real_environment_with_the_serve_extra_alone_serves_a_bundle(
    examples: Path, tmp_path: Path
) -> None:
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
    subprocess.run(install, check=True, timeout=300, cwd=tmp_path)
    script = (
        "import importlib.util as u, seatrial_serve.server; "
        "assert u.find_spec('torch') is None and u.find_spec('PIL') is None"
    )
    subprocess.run([str(python), "-c", script], check=True, timeout=60, cwd=tmp_path)
    ask = [str(python), "-m", "seatrial", "predict", str(examples / "penguins" / "1.0.0"), "--json"]
    done = subprocess.run(
        ask, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert '"species"' in done.stdout, done.stderr
    ask[4] = str(examples / "digits" / "1.0.0")
    done = subprocess.run(
        ask, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert "pip install '.[image]'" in done.stderr


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [str(hadolint), str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    text = (ROOT / "Dockerfile").read_text()
    assert all(
        word in text
        for word in (
            "ARG BASE",
            "USER 10001",
            "HEALTHCHECK",
            "--require-hashes",
            "AS cpu\n",
            "AS gpu\n",
        )
    )


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("cpu", ("edge", "serve", "oci", "oidc", "age", "text", "image", "audio")),
        ("gpu", ("edge", "gpu", "oci", "oidc", "age", "text", "image", "audio")),
        ("build", ()),
    ],
)
def test_the_images_packages_are_pinned_by_hash_as_the_constraints_say(
    target: str, extras: tuple[str, ...]
) -> None:
    locked = (ROOT / "deploy" / "image" / f"{target}.txt").read_text()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", locked, re.MULTILINE))
    assert all(
        "--hash=sha256:" in entry for entry in re.split(r"^(?=\w)", locked, flags=re.MULTILINE)[1:]
    )
    assert "://" not in locked
    constraints = re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
    said = {plain(name): version for name, version in constraints}
    behind = {
        name: (version, said[name])
        for name, version in pins.items()
        if said.get(name, version) != version
    }
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


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_is_one_that_github_can_read_and_runs_commands_that_there_are(
    workflow: Path,
) -> None:
    check = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(workflow),
    ]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    text = workflow.read_text("utf-8")
    commands = {"parity": {"export", "parity", "report"}}.get(workflow.stem, set())
    assert set(re.findall(r"bin/seatrial ([a-z]+)", text)) == commands <= set(COMMANDS)
    targets = set(re.findall(r"run: make PYTHON=python ([a-z]+)", text))
    assert targets == {"parity": {"setup"}, "test": {"test"}, "release": {"package"}}[workflow.stem]
    assert all(
        re.fullmatch(r"actions/[a-z-]+@v\d+", action) or action in ACTIONS_OF_OTHERS
        for action in re.findall(r"uses: (\S+)", text)
    )


def test_the_git_hooks_run_what_make_setup_installs_and_fetch_nothing() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert set(re.findall(r"repo: (\S+)", text)) == {"local"}
    assert set(re.findall(r"language: (\S+)", text)) == {"system"}
    for tool in re.findall(r"entry: \.venv/bin/(\S+)", text):
        assert (Path(sys.executable).parent / tool).exists(), tool


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
                # Torch is behind --trust-torchscript.
                lazy = {"torch"} if file.name == "torchscript.py" else set()
                assert not {name.split(".")[0] for name in names} & banned - lazy, file
                called = (
                    node.func.id
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                    else ""
                )
                assert called not in ("eval", "exec", "compile", "__import__"), file


PACKAGES = ("contracts", "export", "serve", "parity_tests", "cli")
OURS = (
    "seatrial",
    "seatrial_client",
    "seatrial_contracts",
    "seatrial_export",
    "seatrial_parity",
    "seatrial_serve",
)
UNDOCUMENTED = ("uvicorn.protocols",)
"""Modules without an underscore that their package promises nothing of."""


def sources(*folders: str) -> list[Path]:
    """Python files of ours; none that was generated."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return [
        file
        for file in files
        if not file.name.endswith("_pb2.py") and "site-packages" not in file.parts
    ]


def private(name: str) -> bool:
    """Does a dotted name have a private part?"""
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def outside(tree: ast.AST) -> dict[str, str]:
    """Name in this file -> the foreign module that it comes from, with the name there."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                (alias.asname or alias.name.partition(".")[0]): alias.name for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {
                (alias.asname or alias.name): f"{node.module}.{alias.name}" for alias in node.names
            }
    known = (*OURS, *sys.stdlib_module_names)
    return {name: module for name, module in found.items() if module.partition(".")[0] not in known}


def inherited(node: ast.ClassDef) -> set[str]:
    """Private names that a class uses of itself and neither sets nor defines."""
    own = {
        each.name
        for each in ast.walk(node)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    attributes = [
        each
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    ]
    own |= {each.attr for each in attributes if isinstance(each.ctx, ast.Store)}
    return {each.attr for each in attributes if private(each.attr)} - own


def private_uses() -> dict[str, set[str]]:
    """Foreign package -> what is used of it that it does not promise."""
    uses: dict[str, set[str]] = {}
    for file in sources(*PACKAGES):
        text = file.read_text("utf-8")
        tree = ast.parse(text)
        foreign = outside(tree)
        for module in foreign.values():
            if private(module) or module.startswith(UNDOCUMENTED):
                uses.setdefault(module.partition(".")[0], set()).add(module)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = [
                    foreign[ast.unparse(base).partition(".")[0]]
                    for base in node.bases
                    if ast.unparse(base).partition(".")[0] in foreign
                ]
                for base in bases:
                    if inherited(node):
                        uses.setdefault(base.partition(".")[0], set()).update(inherited(node))
        for line in text.splitlines():
            # Whatever the linter finds beyond: the line's file names its package.
            if "noqa: SLF001" in line:
                known = {module.partition(".")[0] for module in foreign.values()} & {
                    "torch",
                    "prometheus_client",
                    "skl2onnx",  # as it reads scikit-learn, and is bounded
                }
                (package,) = known or {file.name}
                uses.setdefault(package, set()).update(re.findall(r"\.(_[a-z]\w*)", line))
    return uses


def test_packages_whose_private_parts_are_used_have_upper_bounds() -> None:
    uses = private_uses()
    assert uses.keys() == {"prometheus_client", "skl2onnx", "torch", "uvicorn"}, uses
    assert {"_buckets", "_sum", "_upper_bounds"} <= uses["prometheus_client"]
    assert {"_guards_fn", "torch.export._patches"} <= uses["torch"]
    assert "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol" in uses["uvicorn"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [each for extra in project["optional-dependencies"].values() for each in extra]
    for package in map(plain, uses):
        found = [each for each in wanted if plain(re.split(r"[\[<>=!;]", each)[0]) == package]
        assert found
        assert all("<" in each for each in found), found


def test_every_wide_except_and_every_silenced_rule_says_why() -> None:
    wide = re.compile(
        r"^\s*except (\(.*\b)?(Base)?Exception\b.*?:(.*)$|suppress\((Base)?Exception\)(.*)$"
    )
    split = re.compile(r"except \(\s*(Base)?Exception\b")  # which hides one from a look at lines
    for file in sources(*PACKAGES, "tests", "examples", "benchmarks"):
        text = file.read_text("utf-8")
        assert not split.search(text), file
        for number, line in enumerate(text.splitlines(), 1):
            if wide.search(line):
                assert re.search(r"#\s*\S+ \S+", line), (
                    f"{file.relative_to(ROOT)}:{number}: why is it so wide?"
                )
            if re.search(r"#\s*noqa\b", line):
                assert re.search(r"#\s*noqa: [A-Z]+\d+(, [A-Z]+\d+)*  \(.+\)", line), (
                    f"{file}:{number}: why?"
                )


@pytest.mark.parametrize(
    ("missing", "home", "extra"),
    [
        ("torch", "seatrial_export.pipeline", "export"),
        ("onnx", "seatrial_export.pipeline", "export"),
        ("onnx", "seatrial_export.adopt.gate", "adopt"),
        ("skl2onnx.common", "seatrial_export.adopt.gate", "adopt"),
        ("onnxruntime.capi", "seatrial_serve", "serve"),
        ("cryptography", "seatrial_serve", "serve"),
        ("PIL", "seatrial_contracts.kinds.image", "image"),
        ("soxr", "seatrial_contracts.kinds.sound", "audio"),
        ("tokenizers", "seatrial_export", "text"),
        ("pydantic", "seatrial_contracts.contract", None),
        ("seatrial_export.nothing", "seatrial_export", None),
        ("users_own", "seatrial_export", None),
    ],
)  # fmt: skip
def test_the_extra_that_brings_what_is_missing_is_named(
    missing: str, home: str, extra: str | None
) -> None:
    assert extra_of(ModuleNotFoundError(name=missing), home) == extra


def test_the_named_extras_bring_what_they_are_named_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    brought = packages_distributions()

    def packages(extra: str) -> set[str]:
        own = {
            plain(re.split(r"[\[<>=!;]", each)[0])
            for each in project[extra]
            if not each.startswith("seatrial[")
        }
        more = [name for each in project[extra] for name in re.findall(r"^seatrial\[(.*)\]$", each)]
        return own.union(*(packages(name) for names in more for name in names.split(",")))

    for extra, modules in EXTRAS.items():
        for module in modules:
            names = {plain(name) for name in brought.get(module, [])}
            assert names & packages(extra), (extra, module)


def test_every_package_that_is_shipped_is_checked_and_says_that_it_has_types() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    shipped = tools["hatch"]["build"]["targets"]["wheel"]["packages"]
    found = {file.parent for place in PACKAGES for file in (ROOT / place).glob("*/__init__.py")}
    assert {ROOT / each for each in shipped} == found
    assert all((package / "py.typed").exists() for package in found)
    assert {f"/{each}" for each in shipped} < {
        *tools["hatch"]["build"]["targets"]["sdist"]["include"]
    }
    assert tools["check-wheel-contents"]["package"] == shipped
    assert {*tools["check-wheel-contents"]["toplevel"]} == {package.name for package in found}


def test_every_extra_is_tried_alone_or_by_a_target_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    elsewhere = {"edge", "gpu", "ray", "bench", "examples", "dev"}
    assert {*TRIED_ALONE} == {*project["optional-dependencies"]} - elsewhere | {"none"}
    asked = {extra for needed, _ in PROBES.values() for extra in needed}
    assert asked == {*TRIED_ALONE}


ACTIONS_OF_OTHERS = {"./.github/workflows/test.yml", "pypa/gh-action-pypi-publish@release/v1"}
"""What workflows use beside GitHub's own: ours, and the one that publishes."""
USERS_OWN = {
    "churn.py",
    "next.py",
    "ask.py",
    "train.py",
    "rows.py",
    "price.py",
    "model.py",
    "file.py",
}
"""Files that a page tells its reader to write, or that Triton keeps in a model repository."""


FOLDERS_OF_PAGES = ("", "*/", "docs/*/", "benchmarks/results/", "tests/*/")
PAGES = sorted({page for folder in FOLDERS_OF_PAGES for page in ROOT.glob(f"{folder}*.md")})
DECISIONS = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))
HEADINGS = ["Problem", "What was measured", "Choice", "What it rules out"]
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
MOST_COLUMNS = 100
of_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@of_pages
def test_no_line_of_a_pages_prose_is_longer_than_100_columns(page: Path) -> None:
    prose = FENCED.sub("", page.read_text("utf-8"))
    for line in prose.splitlines():
        if not line.startswith(("|", "    ", "![")):  # tables and code
            shown = re.sub(r"(?<=\])\([^)]*\)|<https?:[^>]*>", "", line)  # where a link leads
            assert len(shown) <= MOST_COLUMNS, line


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@of_pages
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", FENCED.sub("", page.read_text("utf-8"))):
        file, _, anchor = target.partition("#")
        if not re.match(r"https?:", target):
            there = page.parent / file if file else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_every_decision_has_its_date_its_headings_and_a_place_in_the_index(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE))
    title = re.match(rf"# ({page.name[:4]}) (.+)\n\nDate: (2\d{{3}}-\d\d-\d\d)\b", text)
    assert title is not None
    index = (page.parent / "README.md").read_text("utf-8")
    assert f"| [{title[1]}]({page.name}) | {title[2]} | {title[3]} |" in index


@of_pages
def test_every_python_file_that_a_page_names_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # tells of what was
        return
    there = [
        f"/{file.relative_to(ROOT)}"
        for file in sources(*PACKAGES, "tests", "examples", "benchmarks", "deploy", "tools")
    ]
    for named in re.findall(r"`([a-z_0-9/]+\.py)\b", page.read_text("utf-8")):
        assert named in USERS_OWN or any(file.endswith(f"/{named}") for file in there), (
            f"{page.name}: {named}"
        )


def test_every_room_of_the_serving_wing_says_what_it_is() -> None:
    rooms = sorted((ROOT / "serve/seatrial_serve").glob("*/__init__.py"))
    assert len(rooms) > 10
    for room in rooms:
        assert ast.get_docstring(ast.parse(room.read_text("utf-8"))), room.parent.name


def test_make_check_draws_a_share_of_each_propertys_examples_and_make_test_all() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "\nEXAMPLES := quick\n" in makefile
    assert "\ntest: EXAMPLES := full\n" in makefile
    before = settings.get_current_profile_name()
    try:
        for profile, examples in (("quick", 60), ("full", 300)):
            settings.load_profile(profile)
            assert drawing(300).max_examples == examples
    finally:
        settings.load_profile(before)


@pytest.mark.slow
def test_a_file_of_slow_tests_alone_is_no_part_of_the_quick_run() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "--no-cov", "-m", "not slow"]
    files = ["tests/export/test_traps.py", "tests/export/test_words.py"]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert "test_words.py" in done.stdout
    assert "test_traps.py" not in done.stdout
