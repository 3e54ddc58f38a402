"""What a server, and all that it starts, asks the kernel for, as strace tells it.

Python's audit hooks tell of Python's own modules alone: not of the sockets of uvloop and gRPC, nor
of what a library in C connects, starts or loads.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

STRACE = shutil.which("strace")
CALLS = "socket,connect,execve,execveat,?fork,?vfork,clone,clone3,mmap,io_uring_setup,prctl"
UNDONE = ("inject=io_uring_setup:error=ENOSYS", "inject=prctl:retval=0")
"""What would hide calls. A ring of io_uring is asked without any; who uses one has another way. By
prctl a process that leaves no core dump hides its memory, the arguments in it too."""
STARTS = ("fork", "vfork", "clone", "clone3")
INSTALLED = tuple(
    f"{folder}/" for folder in {sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64"}
)
"""Where code of Python, its packages and the system lies."""
BEGUN = re.compile(r"(\d+) +(\w+)\((.*)")
RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
UNFINISHED = " <unfinished ...>"
MAPPED = re.compile(r", \d+(?:<(.*)>(?:\(deleted\))?)?, (?:0x)?[0-9a-f]+\) ")
ENGINES = re.compile(
    r'connect\(\d+\S*, \{sa_family=AF_UNIX, sun_path="[^"]*/seatrial-\w+/engine-\d+"\}'
)
"""A worker connects to the engine process."""
OPTIMISES = re.compile(
    r'execve\("[^"]+", \["[^"]+", "-I", "[^"]+/seatrial_serve/runtimes/onnx/optimise\.py"'
)
"""A graph whose weights lie outside of it is optimised by a process of its own, once."""


class Call:
    """A system call of a process."""

    def __init__(self, process: str, name: str, text: str) -> None:
        self.process, self.name, self.text = process, name, text

    def __str__(self) -> str:
        return f"{self.name}({self.text}"

    @property
    def started(self) -> str | None:
        """The process that it started."""
        found = re.search(r"= (\d+)$", self.text)
        return found[1] if found else None

    @property
    def is_deed(self) -> bool:
        """Is it a socket for other machines, a connection, a process, or code from elsewhere?"""
        if "(INJECTED)" in self.text:
            return False
        match self.name:
            case "socket":
                return not self.text.startswith("AF_UNIX, SOCK_STREAM")
            case "mmap":
                mapped = "PROT_EXEC" in self.text and MAPPED.search(self.text)
                return bool(mapped) and not (mapped[1] or "").startswith(INSTALLED)
            case name if name in STARTS:
                return "CLONE_THREAD" not in self.text
            case _:
                return True


class SystemCalls:
    """Runs a program under strace and tells what it did that a server has no reason to do."""

    def __init__(self, file: Path, excepted: Sequence[re.Pattern[str]] = ()) -> None:
        """`file`: of what strace tells; `excepted`: calls that count for nothing."""
        self._file, self._excepted, self._seen = file, tuple(excepted), 0

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a program. The process started is the program itself."""
        options = ["-D", "-f", "-y", "-qqq", "--seccomp-bpf", "-s", "200", "-e", "signal=none"]
        which = [word for each in (f"trace={CALLS}", *UNDONE) for word in ("-e", each)]
        return (str(STRACE), *options, *which, "-o", str(self._file))

    def forget(self) -> None:
        """Look from now on: what came before belongs to the start."""
        self._seen = len(self._text)
        assert self._seen, "strace does not follow"

    @property
    def deeds(self) -> list[str]:
        """What it did since."""
        known = {call.process for call in self._calls if call.name == "execve" and self._fine(call)}
        return [
            str(call)
            for call in self._calls
            if call.is_deed and not self._fine(call) and call.started not in known
        ]

    @property
    def unused(self) -> list[str]:
        """What is excepted and was not done."""
        calls = [str(call) for call in self._calls]
        return [each.pattern for each in self._excepted if not any(map(each.match, calls))]

    def _fine(self, call: Call) -> bool:
        return any(each.match(str(call)) for each in self._excepted)

    @property
    def _calls(self) -> list[Call]:
        return calls_in(self._text[self._seen :])

    @property
    def _text(self) -> str:
        return self._file.read_text("utf-8", "replace")


def calls_in(text: str) -> list[Call]:
    """The calls, in the order in which they began: those that wait are told in two lines."""
    found, waiting = list[Call](), dict[str, Call]()
    for line in text.splitlines():
        if begun := BEGUN.match(line):
            call = Call(begun[1], begun[2], begun[3].removesuffix(UNFINISHED))
            found.append(call)
            waiting[call.process] = call
        elif (resumed := RESUMED.match(line)) and resumed[1] in waiting:
            waiting[resumed[1]].text += resumed[2]
    return found


@cache
def why_not() -> str:
    """Why nothing can be followed here; empty where it can."""
    if STRACE is None:
        return "strace is not installed: apt-get install --no-install-recommends strace"
    with tempfile.TemporaryDirectory() as folder:
        calls = SystemCalls(Path(folder) / "calls")
        done = subprocess.run(
            [*calls.prefix, sys.executable, "-c", ""], capture_output=True, text=True, check=False
        )
        found = Path(folder, "calls")
        if found.exists() and "execve(" in found.read_text("utf-8", "replace"):
            return ""
    return f"strace follows no process here: {done.stderr.strip()}"
