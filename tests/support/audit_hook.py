"""A server whose interpreters tell what they do: connections, processes, pickles, bundles' code.

The events are those of Python's audit hooks (PEP 578).
"""

from __future__ import annotations

import sys
from pathlib import Path

DEEDS = (
    "socket.connect", "subprocess.Popen", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
    "os.exec", "os.system", "pickle.find_class", "urllib.Request",
)  # fmt: skip
"""What a serving process has no reason to do."""
CODE = ("import", "exec", "compile", "ctypes.dlopen")
"""What it may do, but for files of bundles."""
HOOK = """
import os, sys
told = os.open({events!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
deeds, code, folder = {deeds!r}, {code!r}, {folder!r}

def hook(event, args):
    if event in deeds or (event in code and folder in source_of(event, args)):
        os.write(told, (event + " " + repr(args)[:1000] + "\\n").encode())

def source_of(event, args):
    if event == "exec":
        return args[0].co_filename
    return str(args[event != "ctypes.dlopen"])

sys.addaudithook(hook)
"""
BEFORE = """
import os, runpy, sys
runpy.run_path({file!r})
os.environ["PYTHONPATH"] = os.pathsep.join(
    each for each in ({folder!r}, os.environ.get("PYTHONPATH")) if each
)
"""
SERVE = """
from seatrial.main import main
from seatrial_serve import metrics_listener

metrics_listener.SHARE = 1.0  # a scrape after each test: none is to wait until the next may be
main()
"""


class WatchedServer:
    """The program of a server of bundles in a folder, and what it did."""

    def __init__(self, folder: Path, events: Path, then: str = SERVE) -> None:
        """`events`: the file of what it does; `then`: what runs under the hook.

        Python imports `sitecustomize` at each start: so it is in workers too.
        """
        self._events, self._seen = events, 0
        hook = events.with_name("hook") / "sitecustomize.py"
        hook.parent.mkdir(parents=True)
        hook.write_text(HOOK.format(events=str(events), deeds=DEEDS, code=CODE, folder=str(folder)))
        before = BEFORE.format(file=str(hook), folder=str(hook.parent))
        self.program = (sys.executable, "-c", f"{before}{then}", "serve")

    def forget(self) -> None:
        """Look from now on: what came before belongs to the start."""
        self._seen = len(self._lines)

    @property
    def deeds(self) -> list[str]:
        """What it did since."""
        return self._lines[self._seen :]

    @property
    def _lines(self) -> list[str]:
        return self._events.read_text("utf-8", "replace").splitlines()
