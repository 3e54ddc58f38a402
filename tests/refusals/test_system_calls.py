"""A serving process opens no connection, starts no process and loads no code of others.

The kernel is the witness, and Python's audit hooks for what only the interpreter knows.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from refusals.case import INPUTS, v1
from refusals.sealed import seal
from refusals.target import CASES, FLAGS, Target, answer_of, hang_up, reload, status_of
from support.audit_hook import CODE, WatchedServer
from support.encrypted import make_identity
from support.encrypted import seal as seal_net
from support.keyed import bearer, key_of
from support.servers import Server, fetch
from support.signers import make_key
from support.system_calls import ENGINES, OPTIMISES, STARTS, SystemCalls, why_not
from support.tls import Authority
from support.waiting import until
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

import seatrial as st
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_serve.access.caller import Scope
from seatrial_serve.metrics import names
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]
PLANTED = """
import _ctypes, ctypes, asyncio, grpc, shutil, socket, uvloop
library = shutil.copy(_ctypes.__file__, {folder!r})
libc = ctypes.CDLL(None)

async def connect():
    await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", {port})

def channel():
    with grpc.insecure_channel("127.0.0.1:{port}") as made:
        try:
            made.unary_unary("/a.B/C")(b"", timeout=10)
        except grpc.RpcError:
            pass

uvloop.run(asyncio.sleep(0))
print("begun", flush=True)
input()
{deed}
"""
PYTHON_ALONE = ("pickle.find_class", *CODE)
"""What is no system call."""
START = "fork, vfork or clone"
PLANTS = {
    "a connection by uvloop": ("uvloop.run(connect())", {"socket", "connect"}),
    "a channel of gRPC": ("channel()", {"socket", "connect"}),
    "a program that C starts": ("libc.system(b'true')", {START, "execve"}),
    "a fork": ("libc.fork() or libc._exit(0)", {START}),
    "a library that C loads": ("libc.dlopen(library.encode(), 2)", {"mmap"}),
}


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of somebody who takes connections and closes them."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("plant", PLANTS)
def test_the_kernel_sees_what_audit_hooks_do_not(
    plant: str, tmp_path: Path, listening: int
) -> None:
    deed, expected = PLANTS[plant]
    then = PLANTED.format(folder=str(tmp_path), port=listening, deed=deed)
    watched = WatchedServer(tmp_path / "bundles", tmp_path / "events.txt", then)
    calls = SystemCalls(tmp_path / "calls")
    with subprocess.Popen(
        [*calls.prefix, *watched.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        watched.forget()
        calls.forget()
        process.communicate(b"\n", timeout=60)
    told = {each.partition("(")[0] for each in calls.deeds}
    assert {START if name in STARTS else name for name in told} == expected, calls.deeds
    assert watched.deeds == [], "an audit hook sees it too"


@dataclass(frozen=True)
class Form:
    """A way in which servers run."""

    flags: tuple[str, ...] = ()
    workers: int = 1
    excepted: tuple[re.Pattern[str], ...] = (OPTIMISES,)
    secured: bool = False
    """With TLS, keys, signatures that are required, encrypted bundles and an audit log."""


FORMS = {
    "default": Form(),
    "secured": Form(("--watch",), excepted=(), secured=True),
    "workers": Form(("--workers", "2"), 2),
    "a shared engine": Form(
        ("--workers", "2", "--engine", "shared"), 2, excepted=(OPTIMISES, ENGINES)
    ),
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles that the cases are sent to."""
    folder = tmp_path_factory.mktemp("sealed")
    seal(folder)
    return folder


class Secured:
    """What a server has that trusts nobody: files, and their flags."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, Authority(folder)
        self.pair = self.authority.issue(folder=folder / "live")
        self._signing, self._identity = make_key(folder), make_identity(folder / "identity")
        self._keys, self.audit_log = folder / "keys.toml", folder / "audit.jsonl"
        self.key = key_of(self._keys, "first", *Scope)

    @property
    def flags(self) -> tuple[str, ...]:
        files = {
            "--api-keys": self._keys, "--audit-log": self.audit_log,
            "--require-signature": self._signing.public, "--identity": self._identity.file,
        }  # fmt: skip
        return (*self.pair.flags, *(str(word) for each in files.items() for word in each))

    def put(self, bundle: Path, folder: Path) -> None:
        """Put a bundle into a folder, signed and encrypted."""
        sign_bundle(bundle, read_signing_key(self._signing.private))
        encrypt_bundle(st.open_bundle(bundle), [self._identity.to], folder)

    def renew(self) -> str:
        """Another certificate and another key, which is returned."""
        self.authority.issue(folder=self.folder / "live")
        self.key = key_of(self._keys, "another", *Scope)
        return self.key


@pytest.mark.parametrize("name", FORMS)
def test_the_whole_matrix_and_reloads_do_nothing_else(
    name: str,
    sealed: Path,
    tmp_path: Path,
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    form, folder = FORMS[name], tmp_path / "bundles"
    secured = Secured(tmp_path / "secured") if form.secured else None
    shutil.copytree(sealed, tmp_path / "plain")
    for manifest in (tmp_path / "plain").glob("*/*/manifest.json"):
        put(manifest.parent, folder, secured)
    watched = WatchedServer(folder, tmp_path / "events.txt")
    calls = SystemCalls(tmp_path / "calls", form.excepted)
    flags = (*FLAGS, *form.flags, *(secured.flags if secured else ()), "--drain-window-s", "0")
    context = secured.authority.client() if secured else None
    server = serve(folder, *flags, program=(*calls.prefix, *watched.program), context=context)
    until(lambda: fetch(f"{server.url}/v2/health/ready", context)[0] == 200)
    until(lambda: sum("gRPC on port" in line for line in server.log) == form.workers)
    target = Target(server, context, secured.key if secured else "")
    watched.forget()
    calls.forget()

    answers = [answer_of(target, case)[0] for case in CASES]
    assert answers == [case.status for case in CASES]
    ask_over_grpc(server, secured)
    reload(target, folder, lambda: hang_up(target))
    seed = 1000 + [*FORMS].index(name)  # no graph that this run has optimised already
    put(seal_net(tmp_path / "new", seed=seed).path, folder, secured)
    if secured is None:
        hang_up(target)
    asked = v1({"instances": [{"x": [1.0] * 64}]}, "net")
    until(lambda: all(status_of(target, asked) == 200 for _ in range(8)))
    if secured is not None:
        target.key = secured.renew()
        hang_up(target)
        until(lambda: status_of(target) == 200)
        replaced = f'{names.CERTIFICATE_RELOADS}{{result="replaced"}} 1'
        until(lambda: replaced in target.metrics)
        assert '"net"' in secured.audit_log.read_text()
    ask_over_grpc(server, secured)
    assert names.REQUESTS in target.metrics

    assert calls.deeds == []
    assert [each for each in watched.deeds if each.split()[0] in PYTHON_ALONE] == []
    assert calls.unused == []


def put(bundle: Path, folder: Path, secured: Secured | None) -> None:
    """Put a bundle into a folder of bundles as servers of a form want it."""
    if secured is not None:
        secured.put(bundle, folder)
        return
    (folder / bundle.parent.name).mkdir(parents=True)
    bundle.rename(folder / bundle.parent.name / bundle.name)


def ask_over_grpc(server: Server, secured: Secured | None) -> None:
    """Over new connections, so that each worker is asked: a good call and a bad one."""
    named, root = (bearer(secured.key), secured.authority.path) if secured else ({}, None)
    headers = {name.lower(): value for name, value in named.items()}
    inputs = []
    for told in INPUTS.values():
        inputs.append(triton.InferInput(told["name"], told["shape"], told["datatype"]))
        inputs[-1].set_data_from_numpy(np.array(told["data"], triton_to_np_dtype(told["datatype"])))
    for _ in range(4):
        with triton.InferenceServerClient(
            server.grpc, ssl=root is not None, root_certificates=root and str(root),
            channel_args=[("grpc.use_local_subchannel_pool", 1)],
        ) as client:  # fmt: skip
            until(lambda: client.is_server_ready(headers))
            assert client.infer("tabular", inputs, headers=headers).as_numpy("score") == 3.0
            with pytest.raises(InferenceServerException):
                client.infer("nosuch", inputs, headers=headers)
