"""Stock exporters and captured agents for hours: memory and open files stay as they are (T22).

Run by `make soak`; `SOAK_HOURS` sets how long. Memory first grows into what may be remembered of runs, sessions and
requests, which takes an hour. So a run that is too short for that, such as the minutes of `make chaos`, starts a
collector that may remember a hundredth (`tests.chaos.forgetful`), and its heap has to be as flat.

Two things are looked at: the heap of Python (`tests.chaos.weighed`), where a leak of ours shows at once, and what the
process takes in all, at its lowest between the engine's merges. The latter rises for about five minutes, while the
engine starts its threads and fills its caches, and then no more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest

from collector.pipeline.store import EMBEDDED
from tests.chaos.test_intake import MIB, resident
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

HOURS = float(os.environ.get("SOAK_HOURS", 1 / 60))
SEND = Path(__file__).parent.parent / "exporters" / "send.py"
AGENTS = [file.read_bytes() for scenario in select("openinference/") for file in scenario.traces]
SETTLED_HOURS = 3.0
"""Of a run that is as long or longer, the second third begins after the first hour."""
WARM_HOURS = 0.25
"""Of a run that is shorter, the engine warms up in the last third too."""
SLOPE = 1 * MIB
"""Bytes an hour by which memory may grow then."""
WEIGHED = [sys.executable, "-m", "tests.chaos.weighed"]
FORGETFUL = [sys.executable, "-m", "tests.chaos.forgetful"]
UNSTEADY_HEAP = 4 * MIB
"""By so much two looks at the heap differ when nothing grows: what is on its way just then."""
UNSTEADY = 0.03
"""Share of the process's lowest by which that differs when nothing grows."""
WARMING = 0.15
"""The same while the engine warms up."""
MOST = 1200 * MIB
"""What the collector may need with the embedded store."""


def open_files(server: Server) -> int:
    """But for those of the engine: how many parts it has open changes with each merge, and it reads three files in
    `/proc` for each of its threads, which come and go with the questions."""
    found = 0
    for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            target = str(descriptor.readlink())
            found += str(server.data_dir / EMBEDDED) not in target and not target.startswith("/proc/")
    return found


@pytest.mark.timeout(HOURS * 3600 + 600)
def test_T22_memory_and_open_files_stay_as_they_are(data_dir: Path) -> None:
    short = HOURS < SETTLED_HOURS
    few = ("--set", "deriver.max_events=1000")
    scales = data_dir.with_suffix(".heap")
    server = Server(
        data_dir,
        *(few if short else ()),
        environ={"HEAP_FILE": str(scales)},
        command=FORGETFUL if short else WEIGHED,
    ).start()
    seconds = HOURS * 3600
    stopping = threading.Event()

    def send_agents() -> None:
        number = 0
        while not stopping.wait(
            0.01 if short else 0.2
        ):  # the shorter, the more has to come for a leak to show
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
    memory, heap, files = [], [], []
    while any(exporter.poll() is None for exporter in exporters):
        time.sleep(min(10.0, seconds / 30))
        memory.append(resident(server))
        heap.append(int(scales.read_text(encoding="ascii")))
        files.append(open_files(server))
    stopping.set()
    agents.join()
    made = [int(exporter.communicate()[0]) for exporter in exporters]
    status = server.settled(60)
    assert server.stop() == 0
    heaps, lowest, opened = _thirds(heap, median), _thirds(memory, min), _thirds(files, median)
    print(
        f"\nT22: {HOURS * 60:.0f} min, {status['stored']['spans']} spans ({sum(made)} by exporters); by thirds: "
        f"heap {_in_mib(heaps)} MiB, lowest memory {_in_mib(lowest)} MiB, open files {opened}"
    )
    balance = status["pipeline"]
    assert balance["accepted"] == balance["stored"] + balance["duplicates"]
    assert status["receivers"]["grpc"]["traces"]["accepted"] == made[1]  # nobody else sends by gRPC
    assert status["receivers"]["http"]["traces"]["accepted"] > made[0]
    assert max(memory) <= MOST
    grown = SLOPE * HOURS / 3
    assert heaps[2] - heaps[1] <= max(grown, UNSTEADY_HEAP)
    unsteady = WARMING if HOURS < WARM_HOURS else UNSTEADY
    assert lowest[2] - lowest[1] <= max(grown, unsteady * lowest[1])
    assert opened[2] <= opened[1] + 5


def _thirds(looks: Sequence[int], of: Callable[[Sequence[int]], float]) -> list[float]:
    third = len(looks) // 3
    return [of(looks[number * third : (number + 1) * third]) for number in range(3)]


def _in_mib(sizes: Sequence[float]) -> str:
    return ", ".join(f"{size / MIB:.1f}" for size in sizes)
