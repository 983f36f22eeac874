"""An agent that is told of by its SDK's instrumentation and seen by the proxy at once is one run with true counts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.provider import Provider
from tests.server import Server

HERE = Path(__file__).parent
PROGRAMS = {
    "anthropic, python": [sys.executable, "-m", "tests.clients.instrumented", "anthropic"],
    "openai by openinference, python": [sys.executable, "-m", "tests.clients.instrumented", "openai"],
    "anthropic, node": ["node", str(HERE / "instrumented.mjs"), "anthropic"],
    "ai by its own, node": ["node", str(HERE / "instrumented.mjs"), "ai"],
}
EXPECTED = {"anthropic": (63, 33), "openai": (57, 30), "ai": (57, 30)}
"""Tokens of three calls: input, output."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server") / "data")
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_agent_told_of_twice_is_one_run(server: Server, provider: Provider, name: str) -> None:
    before = {run["run_id"] for run in server.runs()}
    base = f"{server.endpoints['proxy']}/openai/http/127.0.0.1:{provider.port}"
    otlp = f"{server.endpoints['http']}/v1/traces"
    done = subprocess.run(
        [*PROGRAMS[name], otlp, base], capture_output=True, text=True, timeout=100, cwd=HERE.parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert len(provider.seen) == (3 if "ai" in PROGRAMS[name] else 4)  # all but one try once more
    run = settled(server, done.stdout.split()[-1])
    assert (run["name"], run["status"]) == ("agent", "completed")
    assert (run["counts"]["llm_calls"], run["counts"]["llm_errors"]) == (3, 0)
    assert run["counts"]["retries"] == len(provider.seen) - 3
    assert (run["usage"]["input"], run["usage"]["output"]) == EXPECTED[name.partition(" ")[0].strip(",")]
    assert {one["run_id"] for one in server.runs()} - before == {run["run_id"]}


def settled(server: Server, run_id: str) -> dict[str, Any]:
    """The run once nothing has changed in it for a second and a half."""
    deadline = time.monotonic() + 20
    known: dict[str, Any] = {}
    while True:
        time.sleep(1.5)
        answer = server.api.get(f"/api/v1/runs/{run_id}")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        if found and found["counts"] == known.get("counts") and found["counts"]["llm_calls"]:
            return found
        assert time.monotonic() < deadline, found
        known = found
