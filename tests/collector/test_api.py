"""The API's contract, asked of a real collector that holds captured runs."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

server = conftest.alone

PROJECT = "api"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    """Runs of the captured OpenAI and LangChain scenarios, in one project."""
    for scenario in select("openinference/openai/", "openinference/langchain/"):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 77), PROJECT)
    server.settled()
    return server.runs(project=PROJECT)


def one(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return max((run for run in runs if run["name"] == name), key=lambda run: run["counts"]["spans"])


def test_runs_come_newest_first_page_by_page_without_gaps(server: Server, runs: list[dict[str, Any]]) -> None:
    whole = server.get("/runs", project=PROJECT, limit=1000)["data"]
    assert [run["started_at"] for run in whole] == sorted((r["started_at"] for r in whole), reverse=True)
    paged: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get("/runs", project=PROJECT, limit=7, **cursor)
        paged += [run["run_id"] for run in page["data"]]
        if page["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["page"]["next_cursor"]}
    assert paged == [run["run_id"] for run in whole]


def test_a_run_has_the_fields_of_the_contract(server: Server, runs: list[dict[str, Any]]) -> None:
    run = server.get(f"/runs/{one(runs, 'LangGraph')['run_id']}")
    assert run["status"] == "completed"
    assert TIME.match(run["started_at"])
    assert TIME.match(run["ended_at"])
    assert run["duration_ms"] > 0
    assert {
        "run_id",
        "project",
        "session_id",
        "user_id",
        "services",
        "agents",
        "models",
        "tools",
        "tags",
    } < set(run)
    assert set(run["usage"]) == {
        "input",
        "output",
        "total",
        "cache_read",
        "cache_write",
        "reasoning",
        "embedding",
    }
    assert run["usage"]["total"] == run["usage"]["input"] + run["usage"]["output"]
    assert run["usage"]["embedding"] is None
    assert run["cost_usd"] > 0
    assert run["cost_source"] == "computed"
    assert set(run["counts"]) == {
        "spans",
        "llm_calls",
        "llm_errors",
        "embeddings",
        "tool_calls",
        "tool_errors",
        "handoffs",
        "retries",
        "warnings",
        "unpriced_calls",
    }


@pytest.mark.parametrize(
    ("parameters", "matches"),
    [
        ({"status": "failed"}, lambda run: run["status"] == "failed"),
        ({"status": "failed,running,incomplete"}, lambda run: run["status"] != "completed"),
        ({"name": "ChatCompletion"}, lambda run: run["name"] == "ChatCompletion"),
        ({"model": "gpt-5-mini-2025-08-07"}, lambda run: "gpt-5-mini-2025-08-07" in run["models"]),
        ({"tool": "get_weather"}, lambda run: "get_weather" in run["tools"]),
        ({"session": "sess-42"}, lambda run: run["session_id"] == "sess-42"),
        (
            {"tool": "get_weather", "status": "failed"},
            lambda run: "get_weather" in run["tools"] and run["status"] == "failed",
        ),
        ({"since": "-1000000d"}, lambda run: True),
        ({"since": "2100-01-01T00:00:00Z"}, lambda run: False),
        ({"until": "2100-01-01T00:00:00Z"}, lambda run: True),
    ],
)
def test_filters_choose_runs(
    server: Server, runs: list[dict[str, Any]], parameters: dict[str, str], matches: Any
) -> None:
    found = server.runs(project=PROJECT, **parameters)
    assert [run["run_id"] for run in found] == [run["run_id"] for run in runs if matches(run)]


def test_the_time_filter_is_half_open(server: Server, runs: list[dict[str, Any]]) -> None:
    moment = runs[3]["started_at"]
    since = server.runs(project=PROJECT, since=moment)
    until = server.runs(project=PROJECT, until=moment)
    assert runs[3]["run_id"] in {run["run_id"] for run in since}
    assert len(since) + len(until) == len(runs)


def test_the_timeline_pairs_what_starts_with_how_it_ended(server: Server, runs: list[dict[str, Any]]) -> None:
    run = one(runs, "weather_agent")
    events = server.get(f"/runs/{run['run_id']}/events")["data"]
    # The root span begins and ends with the run; entries of one moment are sorted by id.
    assert "run_started" in {event["type"] for event in events[:2]}
    assert "run_completed" in {event["type"] for event in events[-2:]}
    times = [(event["time"], event["event_id"]) for event in events]
    assert times == sorted(times)
    assert len({event["event_id"] for event in events}) == len(events)
    started = {event["span_id"] for event in events if event["type"] == "llm_call_started"}
    ended = {event["span_id"] for event in events if event["type"] == "llm_call_completed"}
    assert started == ended
    assert len(ended) == run["counts"]["llm_calls"]
    call = next(event for event in events if event["type"] == "llm_call_completed")
    assert call["usage"]["input"] > 0
    assert call["latency_ms"] > 0
    assert "input" not in call
    assert all(event["latency_ms"] is None for event in events if event["type"].endswith("_started"))


def test_content_comes_on_request_and_one_by_one(server: Server, runs: list[dict[str, Any]]) -> None:
    run_id = one(runs, "weather_agent")["run_id"]
    events = server.get(f"/runs/{run_id}/events", fields="io")["data"]
    tool = next(event for event in events if event["type"] == "tool_call_completed")
    assert tool["input"] == "Paris"
    assert server.get(f"/runs/{run_id}/events/{tool['event_id']}") == tool


def test_spans_are_served_as_received(server: Server, runs: list[dict[str, Any]]) -> None:
    run = one(runs, "weather_agent")
    spans = server.get(f"/runs/{run['run_id']}/spans")["data"]
    assert len(spans) == run["counts"]["spans"]
    assert all(span["trace_id"] == run["run_id"] for span in spans)
    assert any(span["attributes"].get("llm.model_name") == "gpt-4o-mini-2024-07-18" for span in spans)


def test_a_looping_run_says_so(server: Server, runs: list[dict[str, Any]]) -> None:
    looping = max(runs, key=lambda run: (run["counts"]["warnings"], run["counts"]["tool_calls"]))
    assert looping["counts"]["warnings"] > 0
    assert looping["top_warning"]["type"] == "exact_repeat"
    assert looping["health"]["label"] == "stuck"
    assert looping["health"]["score"] < 80
    warnings = server.get(f"/runs/{looping['run_id']}/warnings")["data"]
    (primary,) = (warning for warning in warnings if warning["primary"])
    assert (primary["type"], primary["category"], primary["count"]) == ("exact_repeat", "loop", 6)
    assert {warning["incident_id"] for warning in warnings} == {primary["warning_id"]}
    events = {event["event_id"] for event in server.get(f"/runs/{looping['run_id']}/events")["data"]}
    assert {*primary["evidence"], primary["first_event_id"], primary["onset_event_id"]} <= events


def test_warnings_of_all_runs_come_page_by_page(server: Server, runs: list[dict[str, Any]]) -> None:
    whole = server.get("/warnings", project=PROJECT, limit=1000)["data"]
    assert {warning["run_id"] for warning in whole} == {
        run["run_id"] for run in runs if run["counts"]["warnings"]
    }
    paged: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get("/warnings", project=PROJECT, limit=2, **cursor)
        paged += [warning["warning_id"] for warning in page["data"]]
        if page["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["page"]["next_cursor"]}
    assert paged == [warning["warning_id"] for warning in whole]
    primary = server.get("/warnings", project=PROJECT, primary="true", type="exact_repeat")["data"]
    assert primary
    assert {warning["primary"] for warning in primary} == {True}
    assert server.get("/warnings", project=PROJECT, category="waste")["data"] == []
    assert server.get("/warnings", project=PROJECT, until=whole[-1]["last_at"])["data"] == []


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/v1/runs?limt=5", 400, "limt"),
        ("/api/v1/runs?limit=0", 400, "between 1 and 1000"),
        ("/api/v1/runs?limit=1001", 400, "between 1 and 1000"),
        ("/api/v1/runs?limit=ten", 400, "not a whole number"),
        ("/api/v1/runs?status=done", 400, "done"),
        ("/api/v1/runs?status=failed&status=running", 400, "more than once"),
        ("/api/v1/runs?since=yesterday", 400, "since"),
        (f"/api/v1/runs?since=-{'9' * 5000}d", 400, "since"),
        ("/api/v1/runs?since=-1h&until=-2h", 400, "until"),
        ("/api/v1/runs?cursor=nonsense", 400, "cursor"),
        ("/api/v1/runs?name=", 400, "name"),
        ("/api/v1/runs/" + "0" * 32, 404, "0" * 32),
        ("/api/v1/runs/" + "0" * 32 + "/events", 404, "0" * 32),
        ("/api/v1/nothing", 404, "/api/v1/nothing"),
        ("/api/v1/runs/", 404, "nothing"),
        ("/api/v1/status?verbose=1", 400, "verbose"),
    ],
)
def test_errors_are_problems_that_say_what_is_wrong(
    server: Server, path: str, status: int, says: str
) -> None:
    response = server.api.get(path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert says in problem["detail"]
    assert problem["instance"] == path.partition("?")[0]


def test_a_cursor_is_bound_to_its_filter(server: Server, runs: list[dict[str, Any]]) -> None:
    cursor = server.get("/runs", project=PROJECT, limit=1)["page"]["next_cursor"]
    response = server.api.get("/api/v1/runs", params={"project": "other", "cursor": cursor})
    assert response.status_code == 400
    assert response.json()["type"].endswith(":cursor-mismatch")


def test_other_methods_are_refused(server: Server) -> None:
    response = server.api.post("/api/v1/runs")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]


def test_nothing_is_read_without_the_token(server: Server) -> None:
    for path in ("/api/v1", "/api/v1/status", "/api/v1/runs", "/api/v1/runs/" + "0" * 32):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dGVzdC10b2tlbg=="}):
            response = httpx.get(server.endpoints["api"] + path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_foreign_host_name_is_refused(server: Server) -> None:
    response = server.api.get("/api/v1/runs", headers={"Host": "evil.example"})
    assert response.status_code == 421


def test_health_needs_no_token(server: Server) -> None:
    for door in ("api", "admin"):
        assert httpx.get(server.endpoints[door] + "/healthz").status_code == 200
        assert httpx.get(server.endpoints[door] + "/readyz").text == "ready\n"
    assert httpx.get(server.endpoints["admin"] + "/api/v1/runs").status_code == 404


def test_discovery_names_every_route(server: Server) -> None:
    document = server.get("")
    assert {"/api/v1/runs", "/api/v1/runs/{run_id}/events", "/api/v1/status"} <= {
        route["path"] for route in document["routes"]
    }
    assert all(route["purpose"] for route in document["routes"])


def test_the_status_counts_what_is_stored(server: Server, runs: list[dict[str, Any]]) -> None:
    before = server.settled()
    body = next(select("openinference/openai/tools")).traces[0].read_bytes()
    http_protobuf(server, renamed(body, 120), "counting")
    after = server.settled()
    assert after["stored"]["spans"] - before["stored"]["spans"] == 3
    assert after["stored"]["runs"] - before["stored"]["runs"] == 3
    http_protobuf(server, renamed(body, 120), "counting")
    again = server.settled()
    assert again["stored"] == after["stored"]
    assert again["pipeline"]["duplicates"] - after["pipeline"]["duplicates"] == 3
    flow = again["pipeline"]
    assert flow["accepted"] == sum(
        flow[name] for name in ("stored", "queued", "dead_lettered", "duplicates", "filtered")
    )


# --------------------------------------------------------------------------- the query language


def matching(server: Server, query: str) -> set[str]:
    return {run["run_id"] for run in server.runs(project=PROJECT, q=query)}


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("status:failed", lambda run: run["status"] == "failed"),
        ("-status:failed", lambda run: run["status"] != "failed"),
        ("model:gpt-5*", lambda run: any(model.startswith("gpt-5") for model in run["models"])),
        ("model!=gpt-5*", lambda run: not any(model.startswith("gpt-5") for model in run["models"])),
        ("tool:get_weather,search", lambda run: "get_weather" in run["tools"]),
        (
            "name:weather* (status:failed OR tool_calls>1)",
            lambda run: (
                run["name"].startswith("weather")
                and (run["status"] == "failed" or run["counts"]["tool_calls"] > 1)
            ),
        ),
        ("tokens>=330", lambda run: (run["usage"]["total"] or 0) >= 330),
        ("-tokens:*", lambda run: run["usage"]["total"] is None),
        ("tokens:*", lambda run: run["usage"]["total"] is not None),
        ("dur<5ms", lambda run: run["duration_ms"] is not None and run["duration_ms"] < 5),
        ("session:*", lambda run: run["session_id"] is not None),
        ("service:*", lambda run: bool(run["services"])),
        ("errors>0", lambda run: run["counts"]["llm_errors"] + run["counts"]["tool_errors"] > 0),
        ("provider:openai", lambda run: run["counts"]["llm_calls"] > 0),
        ("source:otlp", lambda run: True),
        ("source:proxy", lambda run: False),
        ("warn:never_raised", lambda run: False),
        ("attr.session.id:sess-42", lambda run: run["session_id"] == "sess-42"),
        ("attr.no.such.key:x", lambda run: False),
    ],
)
def test_a_search_text_chooses_runs(
    server: Server, runs: list[dict[str, Any]], query: str, matches: Any
) -> None:
    expected = {run["run_id"] for run in runs if matches(run)}
    if query.startswith(("errors", "provider")):  # other events than calls may fail, or have a provider
        assert expected <= matching(server, query)
    else:
        assert matching(server, query) == expected


def test_words_are_found_in_every_language(server: Server) -> None:
    said = {
        "english": "The Weather in Paris",
        "chinese": "巴黎的天气怎么样",
        "arabic": "ما هو الطقس في باريس",
    }
    for number, (language, words) in enumerate(said.items()):
        request = ExportTraceServiceRequest()
        span = (
            request.resource_spans.add()
            .scope_spans.add()
            .spans.add(trace_id=b"words" + number.to_bytes(11, "big"), span_id=b"wordspan", name=language)
        )
        span.start_time_unix_nano = 1_790_000_000_000_000_000
        span.end_time_unix_nano = 1_790_000_001_000_000_000
        for key, value in {"openinference.span.kind": "AGENT", "input.value": words}.items():
            span.attributes.add(key=key).value.string_value = value
        http_protobuf(server, request.SerializeToString(), "words")
    server.settled()

    def found(query: str) -> list[str]:
        return sorted(run["name"] for run in server.runs(project="words", q=query))

    assert found("weather paris") == ["english"]
    assert found('"WEATHER IN"') == ["english"]
    assert found('"paris the"') == []
    assert found("天气") == ["chinese"]
    assert found("الطقس") == ["arabic"]
    assert found("天气 OR weather") == ["chinese", "english"]
    assert found("100%_") == []


def test_parameters_text_and_json_choose_the_same(server: Server, runs: list[dict[str, Any]]) -> None:
    plain = server.runs(project=PROJECT, tool="get_weather", status="!failed", min_tokens="300")
    body = {
        "q": f"project:{PROJECT} tool:get_weather",
        "filter": {
            "and": [
                {"not": {"field": "status", "value": "failed"}},
                {"field": "tokens", "op": ">=", "value": 300},
            ]
        },
        "limit": 1000,
    }
    answer = server.api.post("/api/v1/runs:search", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == plain
    assert plain


@pytest.mark.parametrize("sort", ["-tokens", "-duration", "-cost", "-warnings", "-last_activity"])
def test_runs_are_sorted_and_paged_by_a_number(server: Server, runs: list[dict[str, Any]], sort: str) -> None:
    keys = {
        "-tokens": lambda run: run["usage"]["total"] or 0,
        "-duration": lambda run: run["duration_ms"] or 0,
        "-cost": lambda run: -1 if run["cost_usd"] is None else run["cost_usd"],
        "-warnings": lambda run: run["counts"]["warnings"],
        "-last_activity": lambda run: run["ended_at"],
    }
    whole = server.get("/runs", project=PROJECT, sort=sort, limit=1000)["data"]
    assert {run["run_id"] for run in whole} == {run["run_id"] for run in runs}
    found = [keys[sort](run) for run in whole]
    assert found == sorted(found, reverse=True)
    paged: list[str] = []
    cursor: dict[str, str] = {}
    while cursor is not None:
        page = server.get("/runs", project=PROJECT, sort=sort, limit=11, **cursor)
        paged += [run["run_id"] for run in page["data"]]
        token = page["page"]["next_cursor"]
        cursor = {"cursor": token} if token else None
    assert paged == [run["run_id"] for run in whole]


def test_runs_are_read_in_batches(server: Server, runs: list[dict[str, Any]]) -> None:
    ids = [runs[2]["run_id"], "f" * 32, runs[0]["run_id"].upper(), runs[2]["run_id"]]
    answer = server.api.post("/api/v1/runs:batch", json={"ids": ids}).json()
    assert answer == {"data": [runs[2], runs[0]], "missing": ["f" * 32]}
    for wrong in ({}, {"ids": []}, {"ids": ["x"] * 501}, {"ids": [1]}, {"ids": ["x"], "more": 1}):
        assert server.api.post("/api/v1/runs:batch", json=wrong).status_code == 400


def test_facets_count_the_runs_of_a_value(server: Server, runs: list[dict[str, Any]]) -> None:
    tools = server.get("/facets", of="tool", project=PROJECT)["data"]
    expected = Counter(tool for run in runs for tool in run["tools"])
    assert {entry["value"]: entry["count"] for entry in tools} == expected
    statuses = server.get("/facets", of="status", project=PROJECT, tool="get_weather")["data"]
    assert {entry["value"]: entry["count"] for entry in statuses} == Counter(
        run["status"] for run in runs if "get_weather" in run["tools"]
    )
    models = server.get("/facets", of="model", prefix="GPT-5", project=PROJECT)["data"]
    assert models
    assert all(entry["value"].startswith("gpt-5") for entry in models)
    keys = {entry["value"] for entry in server.get("/facets", of="attr", prefix="llm.", limit=1000)["data"]}
    assert "llm.model_name" in keys
    sessions = server.get("/facets", of="attr.session.id", project=PROJECT)["data"]
    assert "sess-42" in {entry["value"] for entry in sessions}
    fields = {entry["field"] for entry in server.get("/facets")["data"]}
    assert {"model", "cost", "text"} < fields


@pytest.mark.parametrize(
    ("parameters", "entry"),
    [
        ({"q": "status:failed modle:x"}, {"parameter": "q", "at": 14}),
        ({"q": "cost>much"}, {"parameter": "q", "at": 5}),
        ({"min_cost": "much"}, {"parameter": "min_cost"}),
        ({"status": "faild"}, {"parameter": "status"}),
        ({"sort": "cost"}, {"parameter": "sort"}),
        ({"attribute.x": "y"}, {"parameter": "attribute.x"}),
    ],
)
def test_a_query_that_is_not_understood_is_a_problem_with_its_place(
    server: Server, parameters: dict[str, str], entry: dict[str, Any]
) -> None:
    answer = server.api.get("/api/v1/runs", params=parameters)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error.items() >= entry.items()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"filter": {"field": "modle", "value": "x"}}', "did you mean 'model'"),
        (b'{"filtr": {}}', "Unknown parameter"),
        (b'{"limit": "x"}', "limit"),
        (b'{"limit": [1]}', "limit"),
        (b'{"q": 7}', "q"),
        (b"x" * 1_100_000, "longer"),
    ],
)
def test_a_search_body_that_is_not_understood_says_why(server: Server, body: bytes, says: str) -> None:
    answer = server.api.post("/api/v1/runs:search", content=body)
    assert answer.status_code in (400, 413)
    assert says in answer.json()["detail"]


# --------------------------------------------------------------------------- aggregates


def aggregated(server: Server, **parameters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/aggregates", project=PROJECT, **parameters)["data"]
    return found


def test_sums_over_events_are_those_of_the_runs(server: Server, runs: list[dict[str, Any]]) -> None:
    (row,) = aggregated(
        server, metrics="runs,llm_calls,llm_errors,tool_calls,tool_errors,handoffs,warnings,cost_usd"
    )
    counts = {
        name: sum(run["counts"][name] for run in runs)
        for name in ("llm_calls", "llm_errors", "tool_calls", "tool_errors", "handoffs", "warnings")
    }
    costs = [run["cost_usd"] for run in runs if run["cost_usd"] is not None]
    assert row["keys"] == {}
    assert row["values"].pop("cost_usd") == (pytest.approx(sum(costs)) if costs else None)
    assert row["values"] == {"runs": len(runs), **counts}


def test_sums_are_split_by_model_and_status(server: Server, runs: list[dict[str, Any]]) -> None:
    rows = aggregated(server, metrics="llm_calls,llm_errors,input_tokens", by="model,status", q="llm_calls>0")
    assert sum(row["values"]["llm_calls"] for row in rows) == sum(r["counts"]["llm_calls"] for r in runs)
    for row in rows:
        failed = row["keys"]["status"] == "error"
        assert (row["values"]["llm_errors"] > 0) == (failed and row["values"]["llm_calls"] > 0)
    known = {model for run in runs for model in run["models"]}
    assert known <= {row["keys"]["model"] for row in rows}
    tools = aggregated(server, metrics="tool_calls,tool_ms:p95,tool_ms:avg", by="tool", tool="get_weather")
    (weather,) = (row for row in tools if row["keys"]["tool"] == "get_weather")
    assert 0 < weather["values"]["tool_ms:avg"] <= weather["values"]["tool_ms:p95"] * 1.01


@pytest.mark.parametrize("interval", ["auto", "1m", "1h", "1d", "7d"])
def test_a_series_adds_up_to_the_whole(server: Server, interval: str) -> None:
    (whole,) = aggregated(server, metrics="llm_calls,input_tokens,llm_ms:p50")
    series = aggregated(
        server, metrics="llm_calls,input_tokens", interval=interval, tz="Asia/Kolkata", since="-10000d"
    )
    assert [row["time"] for row in series] == sorted({row["time"] for row in series})
    for name in ("llm_calls", "input_tokens"):
        assert sum(row["values"][name] or 0 for row in series) == whole["values"][name]
    if interval == "1d":
        assert all(row["time"].endswith("T18:30:00.000000000Z") for row in series)


def test_sums_come_as_a_table_to_who_wants_one(server: Server, runs: list[dict[str, Any]]) -> None:
    wanted = {
        "project": PROJECT,
        "metrics": "llm_calls,cost_usd,llm_ms:p95",
        "by": "model",
        "interval": "1d",
        "since": "-10000d",
    }
    rows = aggregated(server, **{name: value for name, value in wanted.items() if name != "project"})
    answer = server.api.get("/api/v1/aggregates", params=wanted, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert list(table[0]) == ["time", "model", "llm_calls", "cost_usd", "llm_ms:p95"]
    assert [(line["time"], line["model"]) for line in table] == [
        (row["time"], row["keys"]["model"]) for row in rows
    ]
    for line, row in zip(table, rows, strict=True):
        for name, value in row["values"].items():
            assert (line[name] == "") if value is None else (float(line[name]) == value)


def test_nothing_sums_up_to_nothing(server: Server) -> None:
    (row,) = aggregated(server, metrics="llm_calls,input_tokens,cost_usd,llm_ms:p95", q="name:no-such-run")
    assert row["values"] == {"llm_calls": 0, "input_tokens": None, "cost_usd": None, "llm_ms:p95": None}
    assert aggregated(server, by="model", q="name:no-such-run") == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"metrics": "llm_callz"},
        {"metrics": "llm_calls:p95"},
        {"metrics": "llm_ms"},
        {"metrics": "llm_ms:p42"},
        {"by": "session"},
        {"by": "model,tool,agent"},
        {"interval": "3m"},
        {"tz": "Mars/Olympus"},
    ],
)
def test_what_can_not_be_summed_up_is_refused(server: Server, parameters: dict[str, str]) -> None:
    answer = server.api.get("/api/v1/aggregates", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] in parameters


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_whoever_sends_telemetry_to_the_api_hears_of_the_port_for_it(server: Server, signal: str) -> None:
    answer = httpx.post(f"{server.endpoints['api']}/v1/{signal}", content=b"")
    assert answer.status_code == 404
    assert "OTLP/HTTP has one of its own" in answer.json()["detail"]
