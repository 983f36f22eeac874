"""A real collector in a process of its own, and a client for its API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from collector.pipeline.store import EMBEDDED
from collector.workers.crew import PROGRAM
from sinks.clickhouse import store
from tests import contract, forked
from tests.once import made_once
from tests.waiting import PATIENCE_S, until

TOKEN = "test-token"
KEY_NAME, NAMED_KEY = "team-codex", "codex-key-of-a-provider"
"""An API key that the collector of all tests knows by name."""
COMMAND = [sys.executable, "-m", "collector.cli"]
MAKE_SCHEMA = """
import sys
from pathlib import Path
from sinks.clickhouse import Store
Store.open(Path(sys.argv[1])).close()
"""


def dumped_bytes(pid: int) -> int:
    """How much of its memory a process leaves on the disk when it crashes."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    return next(int(line.split()[4]) for line in limits.splitlines() if line.startswith("Max core file size"))


class Server:
    """`eddyline serve` on a data directory, every door on a free port."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environ: dict[str, str] | None = None,
        command: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """With a `command` of its own it is no fork of a process that has imported the collector already."""
        self.data_dir = data_dir
        self.arguments = arguments
        self.environ = environ or {}
        self.command = command
        self.pass_fds = pass_fds
        self.log = data_dir.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | forked.Process
        self.endpoints: dict[str, Any] = {}
        self.api: httpx.Client

    def start(self) -> Server:
        doors = [
            part
            for door in ("grpc", "http", "api", "admin", "proxy")
            for part in (f"--{door}", "127.0.0.1:0")
        ]
        if not any("CLICKHOUSE" in told.upper() for told in (*self.arguments, *self.environ)):
            with_schema(self.data_dir / EMBEDDED)
        arguments = ["serve", "--data-dir", str(self.data_dir), *doors, *self.arguments]
        environ = os.environ | {"EDDYLINE_TOKEN": TOKEN} | self.environ
        with self.log.open("ab") as log:
            if self.command:
                self.process = subprocess.Popen(
                    [*self.command, *arguments], stdout=log, stderr=log, env=environ, pass_fds=self.pass_fds
                )
            else:
                self.process = forked.start([*COMMAND, *arguments], log, log, environ)
        file = self.data_dir / "endpoints.json"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(FileNotFoundError, ValueError):  # of one that was killed: who starts takes it away
                self.endpoints = json.loads(file.read_text())
                if self.endpoints["pid"] == self.process.pid:
                    break
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the collector did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        self.api = httpx.Client(
            base_url=self.endpoints["api"],
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=PATIENCE_S,
            event_hooks={"response": [contract.check]},
        )
        return self

    def stop(self) -> int:
        """Ends it as an init system does; returns the exit code."""
        self.api.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    def kill(self) -> None:
        self.api.close()
        self.process.kill()
        self.process.wait()

    def workers(self) -> list[int]:
        """Process ids of those that have its doors."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                command = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == self.process.pid and PROGRAM.encode() in command:
                found.append(int(process.name))
        return sorted(found)

    # ------------------------------------------------------------------- asking

    def get(self, path: str, /, **parameters: Any) -> Any:
        response = self.api.get(f"/api/v1{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def runs(self, **parameters: Any) -> list[dict[str, Any]]:
        """Every run that matches, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get("/runs", **{"limit": 100, **parameters})
            found += page["data"]
            cursor = page["page"]["next_cursor"]
            if cursor is None:
                return found
            parameters["cursor"] = cursor

    def settled(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The status once nothing is on its way any more."""
        status: dict[str, Any] = {}

        def nothing_waits() -> bool:
            status.update(self.get("/status"))
            return status["pipeline"]["queued"] == status["pipeline"]["logs"]["queued"] == 0

        def said() -> str:
            return f"still queued: {status}\n{self.log.read_text()}"

        until(nothing_waits, said, every_s=0.05, patience_s=patience_s)
        return status


def with_schema(database: Path) -> None:
    """Makes a database that has its tables, and no rows, already; one that is there stays as it is.

    Making tables takes as much of the processor as the rest of a start, and a hundred collectors are started.
    """
    if database.exists():
        return
    package = Path(store.__file__).parent
    made_by = [package / "store.py", package / "migrations.py", *(package / "schema").iterdir()]
    template = made_once("schema", made_by, _make_schema)
    database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Hundreds of small files: twice as quick as `shutil` is.
    subprocess.run(["cp", "-R", str(template / EMBEDDED), str(database)], check=True)


def _make_schema(directory: Path) -> None:
    subprocess.run([sys.executable, "-c", MAKE_SCHEMA, str(directory / EMBEDDED)], check=True)


def handed_down(listener: socket.socket, command: Sequence[str] = COMMAND) -> dict[str, Any]:
    """Options of `Server` that start it with a listening socket, as systemd does: the socket stays when it ends."""
    script = (
        "import os, sys\n"
        f"os.dup2({listener.fileno()}, 3)\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    return {"command": [sys.executable, "-c", script, *command], "pass_fds": [listener.fileno()]}
