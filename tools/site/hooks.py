"""What mkdocs does beyond its own: generated parts, pages that lie outside of docs, diagrams.

- `<!-- generated: NAME -->` in a page becomes what `reference.py` makes of the code.
- The pages of `OUTSIDE` lie elsewhere in the repository. They are shown as if they lay in docs,
  and links lead from page to page in the site as they do in the repository.
- A link to a file that is no page, such as a source file, becomes its text.
- Pages with diagrams, and no others, load mermaid, which lies in `docs/assets/vendor`.
- The search shows pages for users before decisions, measurements and changes.
- The theme's parts get the names that they lack for readers of the page by ear.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = (
    "[A-Z]*.md", "*/README.md", "examples/*/README.md", "tests/oip/README.md", "benchmarks/**/*.md",
)  # fmt: skip
"""Pages outside of docs. The README is none: its place is the home page's."""
HOME = "index.md"
BEHIND = 0.5
"""How the search weighs decisions, measurements and what else is not for users first."""
MERMAID = ("assets/vendor/mermaid.tiny.js", "assets/arrowheads.js")
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
NAMELESS = re.compile(
    r'aria-labelledby="__nav_[\d_]+_label"'
    r'( aria-expanded="\w+">\s*<label class="md-nav__title" for="__nav_[\d_]+">'
    r'\s*<span class="md-nav__icon md-icon"></span>\s*)([^<]+?)(?=\s*</label>)'
)
"""A list of pages, by its section's label: of a section with a page, the theme's has no text."""
SEQUENCE = re.compile(r'<pre class="mermaid"><code>sequenceDiagram.*?</pre>', re.DOTALL)

_generated: dict[str, str] = {}
_outside: set[str] = set()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make what is generated, and put the decisions into the navigation.

    The code is read by the Python that seatrial is installed in: `SITE_PYTHON`, by default that of
    `make setup`.
    """
    python = os.environ.get("SITE_PYTHON", str(ROOT / ".venv/bin/python"))
    made = subprocess.run(
        [python, str(ROOT / "tools/site/reference.py")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    _generated.update(json.loads(made.stdout))
    _outside.update(
        page.relative_to(ROOT).as_posix()
        for pattern in OUTSIDE
        for page in ROOT.glob(pattern)
        if page != ROOT / "README.md" and "docs" not in page.relative_to(ROOT).parts
    )
    numbered = sorted(Path(config.docs_dir, "decisions").glob("[0-9]*.md"))
    decisions = ["decisions/README.md", *(f"decisions/{page.name}" for page in numbered)]
    for section in config.nav or []:
        if "Decisions" in section:
            section["Decisions"] = decisions
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs."""
    for uri in sorted(_outside):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  (mkdocs' signature)
    """Put in what is generated, and lead links to pages of the site."""
    uri = page.file.src_uri
    if uri in _outside or uri.startswith("decisions/"):
        page.meta["search"] = {"boost": BEHIND}
    here = uri if uri in _outside else f"docs/{uri}"
    parts = FENCED.split(MARK.sub(lambda mark: _generated[mark[1]], markdown))
    parts[::2] = [
        LINK.sub(lambda link: _led(link, posixpath.dirname(here), uri), part) for part in parts[::2]
    ]
    return "".join(parts)


def _led(link: re.Match[str], folder: str, uri: str) -> str:
    text, target = link.groups()
    file, mark, anchor = target.partition("#")
    if not file or ":" in file:
        return link[0]
    there = posixpath.normpath(posixpath.join(folder, file))
    if there == "README.md":
        there = f"docs/{HOME}"
    if there not in _outside and not there.startswith("docs/"):
        return text
    page = there.removeprefix("docs/")
    return f"[{text}]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{mark}{anchor})"


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  (mkdocs' signature)
    """Let a diagram of many columns be scrolled where the screen is narrow."""
    return SEQUENCE.sub(r'<div class="wide-diagram" tabindex="0">\g<0></div>', html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001  (mkdocs' signature)
    """Name the theme's parts, and load mermaid before the theme would fetch it from a network."""
    output = output.replace("<th></th>", "<td></td>")
    output = output.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)
    output = NAMELESS.sub(r'aria-label="\2"\1\2', output)
    output = output.replace('aria-label="Table of contents"', 'aria-label="On this page"', 1)
    if 'class="mermaid"' not in output:
        return output
    folder = posixpath.dirname(page.file.dest_uri) or "."
    scripts = (f'<script src="{posixpath.relpath(each, folder)}"></script>' for each in MERMAID)
    return output.replace("</head>", f"{''.join(scripts)}</head>", 1)
