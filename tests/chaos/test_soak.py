"""Stock exporters and captured agents for hours: memory and open files stay as they are (T22).

Run by `make soak`; `SOAK_HOURS` sets how long. `make chaos` has a minute of it. Within the first hour memory still
grows into what may be remembered, so that it need only stay within what the collector is to need at most.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

import pytest

from tests.chaos.test_intake import MIB, resident
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

HOURS = float(os.environ.get("SOAK_HOURS", 1 / 60))
SEND = Path(__file__).parent.parent / "exporters" / "send.py"
AGENTS = [file.read_bytes() for scenario in select("openinference/") for file in scenario.traces]
SETTLED_HOURS = 3.0
"""Of a run that is as long or longer, the second third begins after the first hour."""
SLOPE = 1 * MIB
"""Bytes an hour by which memory may grow then."""
UNSTEADY = 0.03
"""Share of memory by which two looks differ when nothing grows."""
MOST = 1200 * MIB
"""What the collector may need with the embedded store."""


@pytest.mark.timeout(HOURS * 3600 + 600)
def test_T22_memory_and_open_files_stay_as_they_are(data_dir: Path) -> None:
    server = Server(data_dir).start()
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    seconds = HOURS * 3600
    stopping = threading.Event()

    def send_agents() -> None:
        number = 0
        while not stopping.wait(0.2):
            number += 1
            http_protobuf(server, renamed(AGENTS[number % len(AGENTS)], number % 256), "agents")

    exporters = [
        subprocess.Popen(
            [sys.executable, str(SEND), transport, str(seconds)],
            env=os.environ
            | {
                "OTEL_EXPORTER_OTLP_ENDPOINT": where,
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_EXPORTER_OTLP_HEADERS": f"x-loop-project={transport}",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for transport, where in (
            ("http", server.endpoints["http"]),
            ("grpc", f"http://{server.endpoints['grpc']}"),
        )
    ]
    agents = threading.Thread(target=send_agents)
    agents.start()
    memory, files = [], []
    while any(exporter.poll() is None for exporter in exporters):
        time.sleep(min(10.0, seconds / 30))
        memory.append(resident(server))
        files.append(len(list(descriptors.iterdir())))
    stopping.set()
    agents.join()
    made = [int(exporter.communicate()[0]) for exporter in exporters]
    status = server.settled(60)
    third = len(memory) // 3
    early, late = median(memory[third : 2 * third]), median(memory[2 * third :])
    print(
        f"\nT22: {HOURS * 60:.0f} min, {status['stored']['spans']} spans ({sum(made)} by exporters); memory "
        f"{early / MIB:.0f} MiB in the second third, {late / MIB:.0f} in the last; "
        f"open files {median(files[third : 2 * third]):.0f}, then {median(files[2 * third :]):.0f}"
    )
    balance = status["pipeline"]
    assert balance["accepted"] == balance["stored"] + balance["duplicates"]
    assert status["receivers"]["grpc"]["traces"]["accepted"] == made[1]  # nobody else sends by gRPC
    assert status["receivers"]["http"]["traces"]["accepted"] > made[0]
    assert max(memory) <= MOST
    if HOURS >= SETTLED_HOURS:
        assert late - early <= max(SLOPE * HOURS / 3, UNSTEADY * early)
    assert median(files[2 * third :]) <= median(files[third : 2 * third]) + 5
    assert server.stop() == 0
