"""Pages of the docs that are walked as a reader walks them: pasted lines, and what they print."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.pages import page, run_line
from support.servers import Server, fetch
from support.waiting import until

BLOCK = re.compile(r"^```(console|text|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = re.compile(r"\b[0-9a-f]{12,}\b|\d+(?:\.\d+)?(?:e[-+]\d+)?")
"""Digests, ids and numbers, which differ from machine to machine."""
LABELS = re.compile(r"""^echo '(\{.*\})' > bundles/(\w+)/labels\.json$""")


def plain(text: str) -> list[str]:
    """Lines whose numbers, digests and columns are no matter."""
    return [" ".join(VARIES.sub("#", line).split()) for line in text.splitlines()]


class Walk:
    """A reader with a shell in a folder, who starts the server where a page says so."""

    def __init__(
        self,
        folder: Path,
        serve: Callable[..., Server],
        run: Callable[[str, Path], str] = run_line,
    ) -> None:
        """`run`: how a line is run in the folder."""
        self.folder, self._serve, self._run = folder, serve, run
        self.server: Server | None = None

    def read(self, name: str) -> None:
        """Paste each line of a page, in order.

        What a page shows behind its lines was printed by them, numbers aside.
        """
        self.paste(page(name), name)

    def paste(self, text: str, name: str) -> None:
        """Paste each line of a text."""
        said: list[str] = []
        for kind, body in BLOCK.findall(text):
            if kind == "console":
                said = plain("\n".join(self._run_all(body.splitlines())))
                continue
            for shown in plain(body):
                assert any(shown in line for line in said), (name, shown, said)

    def _run_all(self, lines: list[str]) -> Iterator[str]:
        for line in lines:
            if line.startswith("seatrial serve "):
                _, _, bundles, *flags = line.split()
                yield self._start(bundles, flags)
            else:
                yield self.run(line)
            labels = LABELS.match(line)
            if labels is not None and self.server is not None:
                self._wait_for_labels(labels[2], json.loads(labels[1]))

    def _start(self, bundles: str, flags: list[str]) -> str:
        self.server = self._serve(self.folder / bundles, *flags)
        status, body = self.server.wait_until_loaded()
        assert status == 200, body
        log = self.server.log
        until(lambda: any("passed its load gate" in line for line in log))
        return "".join(log)

    def run(self, line: str) -> str:
        """What a line prints. It must succeed."""
        return self._run(self._here(line), self.folder)

    def write_code(self, text: str) -> None:
        """Save the blocks of Python that a page tells its reader to save."""
        for before, code in re.findall(
            r"((?:.*\n){3})```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
        ):
            (file,) = re.findall(r"[Ss]ave (?:it|this) as\s+`(\w+\.py)`", before)
            (self.folder / file).write_text(self._here(code))

    def _here(self, text: str) -> str:
        """A text with the addresses of this server, which listens on free ports."""
        if self.server is None:
            return text
        metrics = self.server.metrics_url.removesuffix("/metrics")
        return text.replace("http://127.0.0.1:8000", self.server.url).replace(
            "http://127.0.0.1:8002", metrics
        )

    def _wait_for_labels(self, model: str, labels: dict[str, str]) -> None:
        assert self.server is not None
        end = time.monotonic() + 60
        while True:
            models: list[dict[str, Any]] = json.loads(fetch(f"{self.server.url}/v1/models")[1])[
                "models"
            ]
            (found,) = [each for each in models if each["name"] == model]
            ready = {each["version"] for each in found["versions"] if each["state"] == "READY"}
            if found.get("labels") == labels and ready == set(labels.values()):
                return
            assert time.monotonic() < end, found
            time.sleep(0.1)
