"""The database over the API and from the command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from collector.doors.keys import Keys, Scope, keys_file
from tests import forked, told
from tests.corpus import captured, select
from tests.sending import http_protobuf
from tests.server import COMMAND, TOKEN, Server

REMAPPED = (
    "gen_ai/openai-v2-events/",
    "openinference/langchain/handoff",
    "openinference/openai-agents/",
    "traceloop/anthropic/",
    "traceloop/langchain/handoff",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector of these tests' own: all that is stored is mapped again."""
    running = Server(tmp_path_factory.mktemp("database") / "data").start()
    yield running
    assert running.stop() == 0


def db(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--url", server.endpoints["api"], "--token", TOKEN]
    return forked.run([*COMMAND, "db", *arguments, *where])


def test_what_is_kept_how_long_is_changed_at_run_time(server: Server) -> None:
    http_protobuf(server, told.run("d1" * 16, "kept"), "database")
    server.settled()
    before = server.get("/db/retention")["policy"]
    assert before["spans_days"] == 14
    shown = db(server, "retention", "--spans-days", "3", "--max-bytes", "50G", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "3 days" in shown.stdout
    assert server.get("/db/retention")["policy"] == before
    changed = server.api.put("/api/v1/db/retention", json={"spans_days": 3, "runs_days": None})
    assert changed.json()["policy"] == before | {"spans_days": 3, "runs_days": None}
    assert server.get("/db/retention")["policy"] == before | {"spans_days": 3, "runs_days": None}
    assert server.api.put("/api/v1/db/retention", json={"spans_days": 0}).status_code == 400
    server.api.put("/api/v1/db/retention", json=before)
    assert server.get(f"/runs/{'d1' * 16}")["counts"]["spans"] == 3


def test_runs_are_the_same_after_they_were_mapped_again(server: Server) -> None:
    http_protobuf(server, told.run("d2" * 16, "mapped"), "database")
    agents = [one for one in captured() if str(one) in ("codex/cli/tools", "gemini_cli/cli/tools")]
    for scenario in (*agents, *select(*REMAPPED)):
        for signal, files in (("traces", scenario.traces), ("logs", scenario.logs)):
            for file in files:
                http_protobuf(server, file.read_bytes(), scenario.project, signal)
    server.settled()
    before = server.runs(include="all")
    assert len(before) > 40
    stored = server.get("/status")["stored"]
    done = db(server, "remap", "--since", "-100000d")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: ")
    assert server.runs(include="all") == before
    assert server.get("/status")["stored"] == stored


def test_status_tells_what_tables_take(server: Server) -> None:
    http_protobuf(server, told.run("d3" * 16, "counted"), "database")
    server.settled()
    found = json.loads(db(server, "status", "--json").stdout)
    tables = {table["table"]: table for table in found["tables"]}
    assert tables["otel_traces"]["rows"] >= 3
    assert tables["otel_traces"]["bytes"] > 0
    assert found["schema_version"] >= 26


def test_the_database_is_everybodys(server: Server) -> None:
    keys = Keys(keys_file(server.data_dir))
    secrets = [
        keys.create("reader", [Scope.READ, Scope.CONTENT, Scope.DELETE])[1],
        keys.create("of a project", [Scope.ADMIN], project="database")[1],
        keys.create("of a tenant", [Scope.ADMIN], tenant="somebody")[1],
    ]
    time.sleep(1.1)
    for secret in secrets:
        for method, path in (("GET", ""), ("GET", "/retention"), ("PUT", "/retention"), ("POST", "/compact")):
            answer = httpx.request(
                method,
                f"{server.endpoints['api']}/api/v1/db{path}",
                headers={"Authorization": f"Bearer {secret}"},
                json={} if method != "GET" else None,
            )
            assert answer.status_code == 403, (method, path)
