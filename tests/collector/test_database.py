"""The database over the API and from the command line."""

from __future__ import annotations

import json
import subprocess
import time

import httpx

from collector.keys import Keys, Scope, keys_file
from tests import told
from tests.corpus import captured
from tests.sending import http_protobuf
from tests.server import COMMAND, TOKEN, Server


def db(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--url", server.endpoints["api"], "--token", TOKEN]
    return subprocess.run([*COMMAND, "db", *arguments, *where], capture_output=True, text=True)


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
    for scenario in captured():
        if str(scenario) in ("codex/cli/tools", "gemini_cli/cli/tools"):
            for signal, files in (("traces", scenario.traces), ("logs", scenario.logs)):
                for file in files:
                    http_protobuf(server, file.read_bytes(), "database", signal)
    server.settled()
    before = server.runs(include="all")
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
