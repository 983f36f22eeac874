"""Processes of Python that have imported the collector before they begin.

Importing it and the engine takes most of the processor's time that a start takes, and the suite starts more than a
hundred. So one process imports them, and is forked for each. It has a single thread, and what a process is given
(arguments, environment, open files) is its own; it also ends as any other, with all that the interpreter does then.

What needs an interpreter of its own, because it is about what is imported, when and from where, uses `subprocess`.
"""

from __future__ import annotations

import array
import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from unittest.mock import patch

IMPORTED = (
    "collector.commands.running",
    "collector.service",
    "collector.working",
    "numpy",
    "pyarrow",
    "clickhouse_connect.driver._chdbclient",
    "genai_prices",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
)
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""With these none of them starts a thread when it is imported."""
SIZE_BYTES = 4


class Process:
    """As `subprocess.Popen`, as far as tests need it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that is forked, and who came of it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=Path(__file__).parents[1],
                env=os.environ | SINGLE_THREADED,
            )
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._begun: list[Process] = []
        self._is_gone = False
        self._living: dict[int, Process] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], *files: int) -> Process:
        """`files` are its standard output and error."""
        asked = {"arguments": arguments, "environ": dict(environ), "directory": str(Path.cwd())}
        with self._lock:
            _send(self._control, asked, files)
            with self._changed:
                self._changed.wait_for(lambda: self._begun or self._is_gone)
                return self._begun.pop()

    def _listen(self) -> None:
        while (told := _receive(self._control)[0]) is not None:
            with self._changed:
                if "ended" in told:
                    self._living.pop(told["ended"]).end(told["code"])
                else:
                    self._living[told["begun"]] = process = Process(told["begun"])
                    self._begun.append(process)
                    self._changed.notify()
        with self._changed:
            self._is_gone = True
            self._changed.notify()


_forks: Forks | None = None


def start(
    command: Sequence[str],
    stdout: IO[bytes],
    stderr: IO[bytes],
    environ: Mapping[str, str] | None = None,
) -> Process | subprocess.Popen[bytes]:
    """A process for a command line of this interpreter, with `-m` or `-c`."""
    global _forks
    environ = os.environ if environ is None else environ
    assert command[0] == sys.executable
    if any(environ.get(name) != os.environ.get(name) for name in environ if name.startswith("PYTHON")):
        return subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environ)
    if _forks is None:
        _forks = Forks()
    return _forks.start(command[1:], environ, stdout.fileno(), stderr.fileno())


def run(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """What it says, and its exit code, when it has ended. With `check` another code than 0 fails the test."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        code = start(command, out, error, environ).wait()
        said = []
        for file in (out, error):
            file.seek(0)
            said.append(file.read().decode())
        assert not check or code == 0, said
        return subprocess.CompletedProcess(command, code, *said)


# --------------------------------------------------------------------------- between the two


def _send(line: socket.socket, message: Any, files: Sequence[int] = ()) -> None:
    body = json.dumps(message).encode()
    given = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    line.sendmsg([len(body).to_bytes(SIZE_BYTES, "big")], given)
    line.sendall(body)


def _receive(line: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    size, files, _, _ = socket.recv_fds(line, SIZE_BYTES, 2)
    if len(size) < SIZE_BYTES:
        return None, files
    body = b""
    while len(body) < int.from_bytes(size, "big"):
        body += line.recv(int.from_bytes(size, "big") - len(body))
    return json.loads(body), files


# --------------------------------------------------------------------------- the process that is forked


def _import_all() -> None:
    gc.disable()
    _import_engine()
    for module in IMPORTED:
        import_module(module)
    _warm_up()
    gc.enable()
    gc.freeze()
    threads = [(thread / "comm").read_text() for thread in Path("/proc/self/task").iterdir()]
    assert len(threads) == 1, threads


def _import_engine() -> None:
    """Imports chDB, but without the engine that it starts and ends whenever it is imported, to ask for its version:
    threads of that would be missing in every fork."""
    package = find_spec("chdb")
    assert package is not None
    assert package.submodule_search_locations is not None
    (folder,) = package.submodule_search_locations
    # As the package itself does before it imports the library.
    ctypes.CDLL(f"{folder}/_chdb.abi3.so", sys.getdlopenflags() | os.RTLD_DEEPBIND)
    sys.modules["chdb"] = unfinished = ModuleType("chdb")
    unfinished.__path__ = [folder]
    library = import_module("chdb._chdb")
    del sys.modules["chdb"]
    with patch.object(library, "connect") as connect:
        connect().query().bytes.return_value = b'"of no importance"\n'
        import_module("chdb")


def _warm_up() -> None:
    """What takes a start longest besides imports and the engine, and is always the same: the expressions for the API's
    paths, which `re` keeps, and what installed packages declare, which the collector keeps."""
    from starlette.routing import compile_path

    from collector.api.app import routes_of
    from collector.api.base import Api
    from collector.understanding.plugins import load_conventions

    for route in routes_of(Api.__new__(Api)):
        compile_path(route.path)
    load_conventions()


def _fork_for(line: socket.socket) -> list[str] | None:
    """Forks for each who asks; gives the arguments in the new process, and None at the end in the old one."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    living: set[int] = set()
    while True:
        ready, _, _ = select.select([line, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(line, living)
        if line not in ready:
            continue
        asked, files = _receive(line)
        if asked is None:  # whoever asked is gone: nobody is left to end them
            for pid in living:
                os.kill(pid, signal.SIGKILL)
            return None
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for file in (woken, wake, line.detach()):
                os.close(file)
            for number, file in enumerate(files, 1):
                os.dup2(file, number)
                os.close(file)
            os.environ.clear()
            os.environ.update(asked["environ"])
            os.chdir(asked["directory"])
            return list(asked["arguments"])
        for file in files:
            os.close(file)
        living.add(pid)
        _send(line, {"begun": pid})


def _tell_ends(line: socket.socket, living: set[int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        living.discard(pid)
        _send(line, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _become(arguments: Sequence[str]) -> None:
    kind, what, *rest = arguments
    if kind == "-m":
        sys.argv[1:] = rest
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        exec(what, {"__name__": "__main__"})


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as line:
        _import_all()
        begun = _fork_for(line)
    if begun is not None:
        _become(begun)
