"""The commands that ask a collector, against one that holds captured runs."""

from __future__ import annotations

import csv
import io
import json
import stat
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from collector.cli import main
from collector.commands import comparing
from collector.commands.asking import told_line
from collector.commands.output import brief, write_rows
from collector.understanding.mapping import read_items
from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import COMMAND, TOKEN, Server

server = conftest.alone

PROJECT = "asked"


@pytest.fixture(scope="module", autouse=True)
def _runs(server: Server) -> None:
    for name in ("loop", "tools"):
        for scenario in select(f"openinference/langchain/{name}"):
            for file in scenario.traces if scenario.name.endswith(f"/{name}") else ():
                http_protobuf(server, renamed(file.read_bytes(), 91, spans=True), PROJECT)
    server.settled()


def asked(server: Server, *arguments: str, token: str = TOKEN) -> Result:
    address = ["--url", server.endpoints["api"], "--token", token]
    return CliRunner().invoke(main, [*arguments, *address])


def test_runs_are_listed_by_a_search_text_as_json_lines(server: Server) -> None:
    result = asked(server, "runs", "ls", f"project:{PROJECT}")
    runs = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert len(runs) == 2
    looping = asked(server, "runs", "ls", f"project:{PROJECT}", "warn:exact_repeat")
    assert [json.loads(line)["counts"]["warnings"] > 0 for line in looping.stdout.splitlines()] == [True]


@pytest.mark.parametrize("form", ["json", "csv", "md", "table"])
def test_every_format_holds_every_run(server: Server, form: str) -> None:
    listed = asked(server, "runs", "ls", f"project:{PROJECT}", "--format", form, "-o", "run_id,name,cost_usd")
    ids = [run["run_id"] for run in server.runs(project=PROJECT)]
    assert all(run_id in listed.stdout for run_id in ids)
    if form == "csv":
        heading, *rows = csv.reader(io.StringIO(listed.stdout))
        assert heading == ["run_id", "name", "cost_usd"]
        assert {row[0] for row in rows} == set(ids)
    if form == "json":
        assert {run["run_id"] for run in json.loads(listed.stdout)} == set(ids)


@pytest.mark.parametrize("cells", [80, 100, 150])
def test_a_table_leaves_out_what_does_not_fit_rather_than_cut_numbers(
    server: Server, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(cells))
    listed = asked(server, "runs", "ls", f"project:{PROJECT}", "--format", "table")
    heading, *rows = listed.stdout.split("\n", 2)[1:]
    rows = rows[0].splitlines()
    assert len(rows) == 2
    assert all(len(row) <= cells and "…" not in row and "completed" in row for row in rows)
    assert ("cost" in heading, "calls" in heading) == (cells >= 100, cells >= 150)
    assert ("shows" in listed.stderr, "counts.tool_calls" in listed.stderr) == (cells < 150,) * 2
    chosen = asked(
        server, "runs", "ls", f"project:{PROJECT}", "--format", "table", "-o", "run_id,metadata,usage.total"
    )
    assert "total" in chosen.stdout
    assert not chosen.stderr


def test_all_of_a_list_goes_beyond_a_page(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.commands.client.PAGE", 1)
    assert len(asked(server, "runs", "ls", f"project:{PROJECT}", "--all").stdout.splitlines()) == 2
    assert len(asked(server, "runs", "ls", f"project:{PROJECT}", "--limit", "1").stdout.splitlines()) == 1


def test_nothing_found_is_said_beside_the_output(server: Server) -> None:
    result = asked(server, "runs", "ls", "project:nobody", "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert result.stderr == "eddyline: no runs\n"


def test_an_address_may_lack_its_scheme(server: Server) -> None:
    address = server.endpoints["api"].removeprefix("http://")
    result = CliRunner().invoke(main, ["runs", "ls", "--url", address, "--token", TOKEN])
    assert result.exit_code == 0


def test_a_run_is_found_by_how_its_id_begins(server: Server) -> None:
    looping, other = server.runs(project=PROJECT, q="warn:exact_repeat") + server.runs(
        project=PROJECT, q="-warn:exact_repeat"
    )
    same = 0
    while looping["run_id"][same] == other["run_id"][same]:
        same += 1
    begins = looping["run_id"][: max(4, same + 1)]
    for written in (begins, begins.upper(), looping["run_id"]):
        shown = json.loads(asked(server, "runs", "show", written).stdout)
        assert shown["run"]["run_id"] == looping["run_id"]
    assert asked(server, "check", begins).stdout.startswith("FAILED weather_agent")
    assert "warnings" in asked(server, "runs", "rm", begins, "--dry-run").stdout


def test_the_run_that_began_last_has_a_name(server: Server) -> None:
    shown = json.loads(asked(server, "runs", "show", "latest").stdout)
    assert shown["run"]["run_id"] == server.runs()[0]["run_id"]


def test_an_id_that_several_begin_with_names_them(server: Server) -> None:
    began_ns = time.time_ns()
    alike = [bytes.fromhex(f"feedbeef{number:024x}") for number in (1, 2)]
    spans = [
        Span(
            trace_id=trace,
            span_id=b"12345678",
            name="twin",
            start_time_unix_nano=began_ns,
            end_time_unix_nano=began_ns,
        )
        for trace in alike
    ]
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])
    http_protobuf(server, request.SerializeToString(), "alike")
    server.settled()
    result = asked(server, "runs", "show", "feedbeef")
    assert result.exit_code == 3
    assert "the ids of 2 runs begin so" in result.stderr
    assert all(trace.hex() in result.stderr for trace in alike)
    assert asked(server, "runs", "show", "feedbeef" + "0" * 23 + "2").exit_code == 0


def test_a_run_is_shown_with_its_steps_and_warnings(server: Server) -> None:
    [looping] = server.runs(project=PROJECT, q="warn:exact_repeat")
    shown = asked(server, "runs", "show", looping["run_id"])
    document = json.loads(shown.stdout)
    assert document["run"]["run_id"] == looping["run_id"]
    assert document["warnings"][0]["message"].startswith("`get_weather` was called 6 times")
    ended = [event for event in document["events"] if event["event_id"].endswith(".end")]
    assert sum(event["kind"] == "TOOL" and bool(event["input"]) for event in ended) == 6


def test_a_run_on_a_terminal_says_first_what_it_cost_and_last_what_is_wrong(server: Server) -> None:
    from rich.console import Console

    from collector.commands.run_view import print_run

    [looping] = server.runs(project=PROJECT, q="warn:exact_repeat")
    document = json.loads(asked(server, "runs", "show", looping["run_id"]).stdout)
    console = Console(record=True, width=120, file=io.StringIO())
    print_run(console, document["run"], document["events"], document["warnings"], "http://there")
    text = console.export_text()
    assert "7 LLM calls, 6 tool calls" in text
    assert text.index("get_weather") < text.index("loop: exact_repeat")
    assert text.rstrip().endswith("http://there")


def test_warnings_are_listed(server: Server) -> None:
    result = asked(server, "warnings", "ls", "--project", PROJECT, "--category", "loop")
    assert "exact_repeat" in {json.loads(line)["type"] for line in result.stdout.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("runs", "show", "0" * 32), 3, "There is no run"),
        (("runs", "ls", "colour:red"), 1, "colour"),
        (("runs", "ls", "--sort", "beauty"), 2, "is not one of"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    server: Server, arguments: tuple[str, ...], exit_code: int, says: str
) -> None:
    result = asked(server, *arguments)
    assert result.exit_code == exit_code
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_wrong_token_and_no_collector_have_their_own_codes(server: Server, tmp_path: Path) -> None:
    assert asked(server, "runs", "ls", token="wrong").exit_code == 4
    assert CliRunner().invoke(main, ["runs", "ls", "--data-dir", str(tmp_path)]).exit_code == 5
    assert CliRunner().invoke(main, ["runs", "ls", "--url", "http://127.0.0.1:9"]).exit_code == 5


def test_waiting_for_a_trace_ends_with_the_run(server: Server) -> None:
    file = next(iter(next(iter(select("openinference/langchain/tools"))).traces))

    def send() -> None:
        time.sleep(0.5)
        http_protobuf(server, renamed(file.read_bytes(), 92), "awaited")

    sender = threading.Thread(target=send)
    sender.start()
    result = asked(server, "wait-for-trace", "--project", "awaited", "--timeout", "20")
    sender.join()
    assert result.exit_code == 0
    assert json.loads(result.stdout)["project"] == "awaited"
    late = asked(server, "wait-for-trace", "--project", "awaited", "--timeout", "0.1")
    assert (late.exit_code, "eddyline doctor" in late.stderr) == (6, True)
    known = asked(server, "wait-for-trace", "--project", "awaited", "--since", "-2000d", "--timeout", "1")
    assert known.exit_code == 0


def test_sessions_are_listed_with_their_runs(server: Server) -> None:
    for scenario in select("vercel_ai/*"):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 93), "talked")
    server.settled()
    sessions = [json.loads(line) for line in asked(server, "sessions", "ls").stdout.splitlines()]
    assert [session["session_id"] for session in sessions] == [
        session["session_id"] for session in server.get("/sessions", limit=50)["data"]
    ]
    if sessions:
        shown = asked(
            server, "sessions", "show", sessions[0]["session_id"], "--project", sessions[0]["project"]
        )
        assert len(shown.stdout.splitlines()) == sessions[0]["counts"]["runs"]
    assert asked(server, "sessions", "show", "no such session").exit_code == 3


def test_a_tail_tells_what_is_stored_from_then_on(server: Server) -> None:
    file = next(iter(next(iter(select("openinference/langchain/tools"))).traces))
    address = ["--url", server.endpoints["api"], "--token", TOKEN]
    command = [*COMMAND, "tail", "project:tailed", "--types", "run", "--count", "1", *address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for salt in range(150, 250):  # it may begin to listen after what was sent first
            http_protobuf(server, renamed(file.read_bytes(), salt), "tailed")
            time.sleep(0.2)
            if process.poll() is not None:
                break
        process.kill()
        told = json.loads(process.communicate()[0])
    assert told["event"].startswith("run")
    assert told["data"]["project"] == "tailed"
    assert told_line(told).split("  ")[1] == told["event"]


def test_a_spreadsheet_takes_no_cell_for_a_formula(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([{"name": "=cmd|' /C calc'!A0", "n": -5}], "csv", "name,n", empty="")
    assert capsys.readouterr().out.splitlines() == ["name,n", "'=cmd|' /C calc'!A0,-5"]


def test_values_are_brief_for_people() -> None:
    assert [brief(value, name) for name, value in (
        ("cost_usd", 0.00123), ("cost_usd", None), ("duration_ms", 61_000.0), ("duration_ms", 12.4), ("total", 12_345),
        ("models", ["a", "b"]), ("setup_only", False),
    )] == ["$0.0012", "-", "1 min 01 s", "12 ms", "12,345", "a, b", "no"]  # fmt: skip


def test_the_shell_can_complete_and_the_version_is_told() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_EDDYLINE_COMPLETE" in CliRunner().invoke(main, ["completion", shell]).output
    told = subprocess.run([*COMMAND, "version", "--json"], capture_output=True, text=True)
    assert json.loads(told.stdout)["eddyline"]


def test_what_was_said_is_searched(server: Server) -> None:
    found = asked(server, "search", "Paris", "--filter", f"project={PROJECT}")
    hits = [json.loads(line) for line in found.stdout.splitlines()]
    assert hits
    assert all("paris" in hit["found"].lower() for hit in hits)
    assert asked(server, "search", "no such words at all", "--json").stdout.strip() == "[]"
    assert "is never closed" in asked(server, "search", '"Paris').stderr


def test_two_runs_are_compared(server: Server) -> None:
    a, b = (run["run_id"] for run in server.runs(project=PROJECT))
    document = json.loads(asked(server, "runs", "diff", a, b).stdout)
    assert (document["a"]["run_id"], document["b"]["run_id"]) == (a, b)
    told = [*comparing.lines(document, everything=False)]
    assert told[0].startswith(f"a  {a}")
    assert any(line.startswith(" > ") for line in told)
    assert len([*comparing.lines(document, everything=True)]) >= len(told)
    assert asked(server, "runs", "diff", a, b, "--exit-code").exit_code == 1
    assert asked(server, "runs", "diff", a, a, "--exit-code").exit_code == 0


def test_an_event_is_explained(server: Server) -> None:
    run = server.runs(project=PROJECT)[0]
    event = next(
        event
        for event in server.get(f"/runs/{run['run_id']}/events")["data"]
        if event["type"] == "llm_call_completed"
    )
    document = json.loads(asked(server, "explain", event["event_id"]).stdout)
    assert (document["span_id"], document["kind"]) == (event["span_id"], "LLM")
    by_run = asked(server, "explain", f"{run['run_id']}/{event['span_id']}", "--format", "table")
    assert "convention  openinference" in by_run.stdout
    raw = json.loads(asked(server, "explain", event["event_id"], "--raw").stdout)
    assert raw["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] == event["span_id"]
    assert asked(server, "explain", "00000000000000ee").exit_code == 3


def test_a_run_is_sent_again(server: Server, tmp_path: Path) -> None:
    run = server.runs(project=PROJECT)[0]
    taken: list[tuple[str, str | None, bytes]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append((self.path, self.headers["x-key"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Taker) as taker:
        threading.Thread(target=taker.serve_forever, daemon=True).start()
        to = f"http://127.0.0.1:{taker.server_port}"
        sent = asked(server, "replay", run["run_id"], "--to", to, "--header", "X-Key: k")
        taker.shutdown()
    assert sent.exit_code == 0, sent.stderr
    assert {(path, key) for path, key, _ in taken} == {("/v1/traces", "k")}
    spans = [span for *_, body in taken for span in read_items(body)[0]]
    assert {span.trace_id for span in spans} == {run["run_id"]}
    assert len(spans) == run["counts"]["spans"]
    assert asked(server, "replay", "0" * 32, "--to", to).exit_code == 3
    away = asked(server, "replay", run["run_id"], "--to", "https://api.example.com", "--http")
    assert (away.exit_code, "say --really" in away.stderr) == (2, True)


def test_collectors_have_names(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDDYLINE_DATA_DIR", raising=False)

    def call(*arguments: str, given: str = "") -> Result:
        return CliRunner().invoke(main, list(arguments), input=given)

    assert call("profile", "set", "prod", "--url", server.endpoints["api"], given=f"{TOKEN}\n").exit_code == 0
    file = tmp_path / "eddyline" / "profiles.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = call("runs", "ls", f"project:{PROJECT}", "--profile", "prod")
    assert len(listed.stdout.splitlines()) == 2
    assert call("profile", "use", "prod").exit_code == 0
    assert call("runs", "ls", f"project:{PROJECT}").stdout == listed.stdout
    shown = call("profile", "ls").stdout
    assert shown.startswith("* prod")
    assert TOKEN not in shown
    assert call("runs", "ls", "--profile", "none").exit_code == 3
    assert call("profile", "set", "no/name", "--url", "http://x", "--token", "t").exit_code == 2
    assert call("profile", "rm", "prod").exit_code == 0
    assert call("profile", "ls").stdout == ""
