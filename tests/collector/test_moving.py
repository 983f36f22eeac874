"""What goes out comes in again: exports in every format, imports of every kind, and no more in memory than needed."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import struct
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from collector.doors.keys import Keys, Scope, keys_file
from tests import conftest, forked, told
from tests.corpus import select
from tests.sending import http_protobuf
from tests.server import COMMAND, TOKEN, Server
from tests.waiting import until

server = conftest.alone
"""What others sent of the same captured calls would be their twins, and not be where they are imported."""

PROJECT = "moved"
LOOPLENS = [
    ("run_started", {"name": "research"}),
    ("agent_started", {"agent": "researcher"}),
    ("llm_call_started", {"agent": "researcher", "model": "gpt-4o-mini"}),
    ("llm_call_completed", {"agent": "researcher", "model": "gpt-4o-mini", "tokens": 200, "cost": 0.002}),
    ("tool_call_started", {"tool": "web_search", "input": {"query": "eddies"}}),
    ("tool_call_completed", {"tool": "web_search", "output": {"results": []}, "latency_ms": 900}),
    ("tool_call_started", {"tool": "web_search", "input": {"query": "eddies"}}),
    ("tool_call_failed", {"tool": "web_search", "error": "timed out"}),
    ("handoff_started", {"agent": "researcher", "name": "writer"}),
    ("retry_triggered", {"tool": "web_search"}),
    ("run_completed", {"status": "failed"}),
]


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    """Captured runs of several conventions, with log records."""
    for scenario in select(
        "gen_ai/openai-v2-events/",
        "openinference/openai/loop",
        "openinference/openai/tools",
        "traceloop/openai/err429",
        "traceloop/openai/session",
        "traceloop/openai/wrapped",
    ):
        for signal, files in (("traces", scenario.traces), ("logs", scenario.logs)):
            for file in files:
                http_protobuf(server, file.read_bytes(), PROJECT, signal)
    server.settled()
    return server.runs(project=PROJECT, include="all")


def export(server: Server, **parameters: str) -> httpx.Response:
    asked = {"project": PROJECT, "include": "all", **parameters}
    response = server.api.get("/api/v1/export", params=asked, timeout=60)
    assert response.status_code == 200, response.text
    return response


def take(server: Server, content: bytes, token: str = TOKEN, **parameters: str) -> dict[str, Any]:
    response = httpx.post(
        f"{server.endpoints['api']}/api/v1/import",
        content=content,
        params=parameters,
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.mark.parametrize("form", ["jsonl", "otlp-json", "otlp-proto"])
def test_an_export_makes_the_same_runs_when_it_is_imported(
    server: Server, runs: list[dict[str, Any]], form: str
) -> None:
    keys = Keys(keys_file(server.data_dir))
    _, secret = keys.create(form, [Scope.INGEST, Scope.CONTENT], tenant=f"copy-{form}")
    time.sleep(1.1)
    content = export(server, shape="spans", format=form).content
    report = take(server, content, secret)
    assert report["rejected"] == []
    assert report["accepted"] > len(runs) > 20
    server.settled()
    with httpx.Client(
        base_url=f"{server.endpoints['api']}/api/v1", headers={"Authorization": f"Bearer {secret}"}
    ) as copy:

        def differing() -> dict[str, Any]:
            listed = copy.get("/runs", params={"include": "all", "limit": 1000}).json()["data"]
            theirs = {run["run_id"]: run for run in listed}
            ours = server.runs(project=PROJECT, include="all")
            assert {run["run_id"] for run in ours} == {run["run_id"] for run in runs} >= theirs.keys()
            return {
                run["run_id"]: (run, theirs.get(run["run_id"]))
                for run in ours
                if run != theirs.get(run["run_id"])
            }

        # What log records tell of a call is in its run a moment after they are stored.
        until(lambda: not differing(), differing, every_s=0.2)
        for run in runs[::7]:
            path = f"/runs/{run['run_id']}/events"
            assert copy.get(path, params={"fields": "io"}).json() == server.get(path, fields="io")


def test_the_last_line_tells_rows_and_hash_and_so_does_the_summary(
    server: Server, runs: list[dict[str, Any]]
) -> None:
    response = export(server)
    *lines, last = response.content.splitlines(keepends=True)
    end = json.loads(last)["export"]
    assert end["rows"] == len(lines) == len(runs)
    assert end["sha256"] == hashlib.sha256(b"".join(lines)).hexdigest()
    summary = server.get(f"/exports/{response.headers['x-eddyline-export']}")
    assert summary["complete"]
    assert (summary["rows"], summary["sha256"]) == (end["rows"], end["sha256"])
    assert response.headers["content-disposition"].startswith('attachment; filename="eddyline-runs-')
    assert [json.loads(line)["run_id"] for line in lines] == [run["run_id"] for run in runs]


def test_an_export_goes_on_at_its_cursor(server: Server, runs: list[dict[str, Any]]) -> None:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        response = export(server, limit="7", bare="true", **cursor)
        found += [json.loads(line)["run_id"] for line in response.content.splitlines()]
        summary = server.get(f"/exports/{response.headers['x-eddyline-export']}")
        if summary["next_cursor"] is None:
            break
        cursor = {"cursor": summary["next_cursor"]}
    assert found == [run["run_id"] for run in runs]
    other = server.api.get("/api/v1/export", params={"project": "another", **cursor})
    assert other.status_code == 400


def test_tables_have_the_same_in_csv_and_parquet(server: Server, runs: list[dict[str, Any]]) -> None:
    table = pq.read_table(io.BytesIO(export(server, format="parquet").content)).to_pylist()
    text = export(server, format="csv").content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (
        [row["run_id"] for row in table] == [row["run_id"] for row in rows] == [run["run_id"] for run in runs]
    )
    for run, row, line in zip(runs, table, rows, strict=True):
        assert row["usage.input"] == run["usage"]["input"]
        assert line["usage.input"] == ("" if run["usage"]["input"] is None else str(run["usage"]["input"]))
        assert row["cost_usd"] == run["cost_usd"]
        assert json.loads(row["models"] or "[]") == run["models"]
    events = pq.read_table(io.BytesIO(export(server, shape="events", format="parquet").content))
    lines = export(server, shape="events", bare="true").content.splitlines()
    assert events.num_rows == len(lines) > len(runs)


def test_no_cell_is_a_formula(server: Server) -> None:
    http_protobuf(server, told.run("f0" * 16, '=HYPERLINK("http://evil.example","x")'), "formulas")
    server.settled()
    response = server.api.get(
        "/api/v1/export", params={"project": "formulas", "shape": "events", "format": "csv"}
    )
    rows = list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))
    said = [row["input"] for row in rows if "HYPERLINK" in row["input"]]
    assert said
    assert all(cell.startswith("'=") or cell.startswith("{") for cell in said)


def test_the_archive_has_notes_and_every_shape(server: Server, runs: list[dict[str, Any]]) -> None:
    packed = zipfile.ZipFile(io.BytesIO(export(server, format="zip", limit="10").content))
    assert packed.testzip() is None
    assert "runs.jsonl" in packed.read("AGENTS.md").decode()
    manifest = json.loads(packed.read("manifest.json"))
    assert manifest["runs"] == 10
    for name, told_of in manifest["files"].items():
        content = packed.read(name)
        assert hashlib.sha256(content).hexdigest() == told_of["sha256"]
        assert len(content.splitlines()) == told_of["rows"]
    assert manifest["files"]["runs.jsonl"]["rows"] == 10
    assert all(told_of["rows"] for name, told_of in manifest["files"].items() if name != "warnings.jsonl")


def test_messages_are_exported_and_conversations_for_fine_tuning(server: Server) -> None:
    keys = ("gen_ai.input.messages", "gen_ai.output.messages")
    history: list[dict[str, Any]] = [said("user", "What is an eddy?")]
    for number, answer in enumerate(("Water that turns back.", "Behind stones."), 1):
        wrote = said("assistant", answer)
        call = dict(zip(keys, (json.dumps(history), json.dumps([wrote])), strict=True))
        begin = time.time_ns() - (60 - number) * told.SECOND
        http_protobuf(
            server, told.run("f1" * 16, "", begins_ns=begin, of_call=call, first=number * 10), "talk"
        )
        history += [wrote, said("user", "Where?")]
    server.settled()

    def lines(shape: str) -> list[Any]:
        asked = {"project": "talk", "shape": shape, "bare": "true"}
        content = server.api.get("/api/v1/export", params=asked).content
        return [json.loads(line) for line in content.splitlines()]

    messages = lines("messages")
    new = [(message["role"], message["text"]) for message in messages if message["new"]]
    assert new == [
        ("user", "What is an eddy?"),
        ("assistant", "Water that turns back."),
        ("user", "Where?"),
        ("assistant", "Behind stones."),
    ]
    assert len(messages) > len(new)
    (example,) = lines("openai-ft")
    assert [(message["role"], message["content"]) for message in example["messages"]] == new


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"shape": "openai-ft", "format": "csv"}, "no table"),
        ({"shape": "runs", "format": "otlp-json"}, "spans only"),
        ({"shape": "tables"}, "shape"),
        ({"format": "xlsx"}, "format"),
        ({"limit": "0"}, "limit"),
        ({"cursor": "abc"}, "cursor"),
    ],
)
def test_what_can_not_be_exported_is_said(server: Server, parameters: dict[str, str], says: str) -> None:
    response = server.api.get("/api/v1/export", params=parameters)
    assert response.status_code == 400
    assert says in response.json()["detail"]


# --------------------------------------------------------------------------- importing


def test_every_line_that_is_not_taken_is_named(server: Server) -> None:
    good = json.dumps({"resourceSpans": [resource("a1" * 16)]})
    lines = [
        good,
        "",
        "no json",
        "[1]",
        json.dumps({"run_id": "x", "counts": {}, "usage": {}}),
        json.dumps({"resourceMetrics": []}),
        json.dumps({"resourceSpans": [resource("zz" * 16)]}),
        json.dumps({"signal": "span", "trace_id": "a1" * 16}),
        good.replace("a1" * 16, "a2" * 16),
    ]
    content = "\n".join(lines).encode()
    dry = take(server, content, project="rejects", dry_run="true")
    assert server.runs(project="rejects") == []
    for report in (dry, take(server, gzip.compress(content), project="rejects")):
        assert report["accepted"] == 2
        assert [one["line"] for one in report["rejected"]] == [3, 4, 5, 6, 7, 8]
        reasons = " / ".join(one["reason"] for one in report["rejected"])
        for part in ("no JSON", "no JSON object", "shape `spans`", "metrics", "not hex"):
            assert part in reasons
    server.settled()
    assert {run["run_id"] for run in server.runs(project="rejects")} == {"a1" * 16, "a2" * 16}


def resource(trace_id: str) -> dict[str, Any]:
    span = {
        "traceId": trace_id,
        "spanId": "00000000000000aa",
        "name": "imported",
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000001000000000",
    }
    return {"scopeSpans": [{"scope": {"name": "by.hand"}, "spans": [span]}]}


def test_a_document_over_several_lines_and_requests_in_protobuf_are_taken(server: Server) -> None:
    document = json.dumps({"resourceSpans": [resource("b1" * 16)]}, indent=2).encode()
    assert take(server, document, project="forms")["accepted"] == 1
    single = told.run("b2" * 16, "one request")
    assert take(server, single, project="forms", format="otlp-proto")["accepted"] == 3
    framed = b"".join(
        struct.pack(">I", len(body)) + body
        for body in (told.run("b3" * 16, "framed"), told.record("with a record", run_id="b3" * 16))
    )
    report = take(server, framed, project="forms")
    assert (report["format"], report["lines"], report["accepted"]) == ("otlp-proto", 2, 4)
    cut_off = take(server, framed[:-3], project="forms")
    assert [one["line"] for one in cut_off["rejected"]] == [2]
    server.settled()
    assert {run["run_id"] for run in server.runs(project="forms")} == {"b1" * 16, "b2" * 16, "b3" * 16}


def test_events_of_looplens_become_runs(server: Server) -> None:
    lines = [
        json.dumps(
            {
                "event_id": f"evt_{place}",
                "run_id": "run_sample",
                "sequence": place,
                "timestamp": f"2026-06-27T12:00:{place:02d}Z",
                "type": kind,
                **more,
            }
        )
        for place, (kind, more) in enumerate(LOOPLENS, 1)
    ]
    report = take(server, "\n".join(lines).encode(), project="looplens")
    assert (report["format"], report["rejected"]) == ("looplens", [])
    server.settled()
    (run,) = server.runs(project="looplens")
    assert (run["name"], run["status"]) == ("research", "failed")
    assert (run["counts"]["llm_calls"], run["counts"]["tool_calls"], run["counts"]["tool_errors"]) == (
        1,
        2,
        1,
    )
    assert run["counts"]["handoffs"] == 1
    assert run["cost_usd"] == 0.002
    assert (run["tools"], run["models"]) == (["web_search"], ["gpt-4o-mini"])
    assert run["started_at"] == "2026-06-27T12:00:01.000000000Z"


def test_a_key_exports_and_imports_what_is_its_own(server: Server, runs: list[dict[str, Any]]) -> None:
    keys = Keys(keys_file(server.data_dir))
    secrets = {
        "other": keys.create("other", [Scope.READ, Scope.INGEST], project="other")[1],
        "reader": keys.create("reader", [Scope.READ])[1],
        "sender": keys.create("sender", [Scope.INGEST], project="sent")[1],
    }
    time.sleep(1.1)

    def asks(who: str, method: str, path: str, **how: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secrets[who]}"}
        return httpx.request(method, f"{server.endpoints['api']}/api/v1{path}", headers=headers, **how)

    spans = {"shape": "spans", "project": PROJECT}
    assert asks("reader", "GET", "/export", params=spans).status_code == 403
    assert asks("reader", "GET", "/export", params={"format": "zip"}).status_code == 403
    assert asks("sender", "GET", "/export").status_code == 403
    assert asks("reader", "POST", "/import", content=b"{}").status_code == 403
    (end,) = asks("other", "GET", "/export", params={"project": PROJECT}).content.splitlines()
    assert json.loads(end)["export"]["rows"] == 0
    events = asks(
        "reader", "GET", "/export", params={"shape": "events", "project": PROJECT}
    ).content.splitlines()
    assert len(events) > len(runs)
    assert not any(json.loads(event).get("input") for event in events[:-1])
    owners = export(server).headers["x-eddyline-export"]
    assert asks("other", "GET", f"/exports/{owners}").status_code == 404
    body = json.dumps({"resourceSpans": [resource("c1" * 16)]})
    assert (
        asks("sender", "POST", "/import", content=body, params={"project": PROJECT}).json()["accepted"] == 1
    )
    server.settled()
    assert server.get(f"/runs/{'c1' * 16}")["project"] == "sent"


# --------------------------------------------------------------------------- the commands


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--url", server.endpoints["api"], "--token", TOKEN]
    return forked.run([*COMMAND, *arguments, *where])


def test_from_and_to_files(server: Server, runs: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    done = command(server, "export", str(file), "--project", PROJECT, "--include-all")
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(file.read_bytes()).hexdigest() in done.stderr
    assert {json.loads(line)["run_id"] for line in file.open()} == {run["run_id"] for run in runs}
    assert list(tmp_path.iterdir()) == [file]

    dry = command(server, "import", str(file), "--dry-run", "--project", "again")
    assert (dry.returncode, "would be taken" in dry.stdout) == (0, True), dry.stderr
    file.write_text(file.read_text() + "not a line\n")
    bad = command(server, "import", str(file), "--dry-run")
    assert bad.returncode == 65
    assert f"{file}:{len(file.read_text().splitlines())}: is no JSON" in bad.stderr


def test_an_export_that_was_cut_short_goes_on(
    server: Server, runs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from collector.cli import main
    from collector.commands import moving

    monkeypatch.setattr(moving, "RUNS_AT_A_TIME", 5)
    where = ["--url", server.endpoints["api"], "--token", TOKEN, "--project", PROJECT, "--include-all"]
    for form in ("jsonl", "csv"):
        whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
        asked = [*where, "--shape", "runs", "--format", form]
        assert CliRunner().invoke(main, ["export", str(whole), *asked]).exit_code == 0
        real, calls = moving.Client.file, 0

        def breaks(self: Any, *arguments: Any, real: Any = real) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise ConnectionResetError
            return real(self, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(moving.Client, "file", breaks)
            assert CliRunner().invoke(main, ["export", str(cut), *asked]).exit_code == 1
        assert not cut.exists()
        again = CliRunner().invoke(main, ["export", str(cut), *asked])
        assert "going on after" in again.stderr
        assert cut.read_bytes() == whole.read_bytes()
