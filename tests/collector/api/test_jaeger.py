"""Jaeger's clients over our runs: their request sequences, as their sources and documentation have them."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.datastructures import QueryParams

from collector.api.jaeger.asking import read_v1, read_v3
from collector.api.problems import Problem
from collector.api.trace_ids import trace_id_of
from collector.demo import captured
from collector.doors.keys import Keys, Scope, keys_file
from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

server = conftest.alone

HEX_TRACE = re.compile(r"^[0-9a-f]{32}$")
PROJECT = "jaeger"


@pytest.fixture(scope="module")
def looping(server: Server) -> dict[str, Any]:
    """The captured looping run, among others."""
    run_id, body = captured()
    http_protobuf(server, body, PROJECT)
    for scenario in select("openllmetry/openai/", "openinference/langchain/"):
        for file in scenario.traces[:1]:
            http_protobuf(server, renamed(file.read_bytes(), 66), PROJECT)
    server.settled()
    run: dict[str, Any] = server.get(f"/runs/{run_id}")
    return run


def get(server: Server, path: str, **parameters: Any) -> Any:
    response = server.api.get(f"/jaeger/api{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def spans_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource in document["result"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def check_trace(trace: dict[str, Any], run: dict[str, Any]) -> None:
    """What Grafana and the Jaeger UI read of a trace of version 1."""
    assert trace["traceID"] == run["run_id"]
    assert len(trace["spans"]) == run["counts"]["spans"]
    ids = {span["spanID"] for span in trace["spans"]}
    for span in trace["spans"]:
        assert span["traceID"] == run["run_id"]
        assert trace["processes"][span["processID"]]["serviceName"] in run["services"]
        assert isinstance(span["startTime"], int)
        assert isinstance(span["duration"], int)
        assert {reference["spanID"] for reference in span["references"]} <= ids
        assert all(tag.keys() == {"key", "type", "value"} for tag in span["tags"])
        assert {"operationName", "logs", "flags", "warnings"} <= span.keys()
    assert sum(not span["references"] for span in trace["spans"]) == 1
    calls = [tags(span) for span in trace["spans"] if tags(span).get("eddyline.kind") == "LLM"]
    assert len(calls) >= run["counts"]["llm_calls"]
    counted = [call for call in calls if "eddyline.duplicate_of" not in call]
    assert sum(call["gen_ai.usage.input_tokens"] for call in counted) == run["usage"]["input"]
    assert {call["gen_ai.response.model"] for call in counted} == set(run["models"])
    assert {call["gen_ai.operation.name"] for call in calls} == {"chat"}


def test_grafana_jaeger_data_source_v1(server: Server, looping: dict[str, Any]) -> None:
    """Save & test, the menus of the query editor, a search, a trace, the dependency graph."""
    service = looping["services"][0]
    services = get(server, "/services")
    assert service in services["data"]
    assert services["errors"] is None
    operations = get(server, f"/services/{quote(service, safe='')}/operations")["data"]
    assert looping["name"] in operations
    start, end = 1, 4_000_000_000_000_000
    found = get(
        server,
        "/traces",
        service=service,
        operation=looping["name"],
        tags=json.dumps({"gen_ai.tool.name": "get_weather"}),
        start=start,
        end=end,
        limit=20,
        minDuration="1us",
        maxDuration="1h30m",
        lookback="custom",
    )["data"]
    assert looping["run_id"] in {trace["traceID"] for trace in found}
    (trace,) = get(server, f"/traces/{looping['run_id']}", start=start, end=end)["data"]
    check_trace(trace, looping)
    links = get(server, "/dependencies", endTs=4_000_000_000_000, lookback=86_400_000)
    assert isinstance(links["data"], list)


def test_grafana_jaeger_data_source_v3(server: Server, looping: dict[str, Any]) -> None:
    """The same behind Grafana's switch for the newer API."""
    service = looping["services"][0]
    assert service in get(server, "/v3/services")["services"]
    operations = get(server, "/v3/operations", service=service)["operations"]
    assert looping["name"] in {operation["name"] for operation in operations}
    asked = {
        "query.service_name": service,
        "query.operation_name": looping["name"],
        "query.start_time_min": "2000-01-01T00:00:00.000000000Z",
        "query.start_time_max": "2100-01-01T00:00:00Z",
        "query.num_traces": 20,
        "query.duration_min": "1ms",
    }
    found = spans_of(get(server, "/v3/traces", **asked))
    assert looping["run_id"] in {span["traceId"] for span in found}
    spans = spans_of(get(server, f"/v3/traces/{looping['run_id']}"))
    assert len(spans) == looping["counts"]["spans"]
    assert all(int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) for span in spans)
    calls = [attributes(span) for span in spans if attributes(span).get("eddyline.kind") == "LLM"]
    counted = [call for call in calls if "eddyline.duplicate_of" not in call]
    assert sum(int(call["gen_ai.usage.input_tokens"]) for call in counted) == looping["usage"]["input"]


def test_jaeger_ui_since_2_19(server: Server, looping: dict[str, Any]) -> None:
    """Search through summaries, the trace itself in version 1."""
    service = looping["services"][0]
    assert service in get(server, "/v3/services")["services"]
    kinds = get(server, "/v3/operations", service=service)["operations"]
    assert all({"name", "spanKind"} == operation.keys() for operation in kinds)
    summaries = get(
        server,
        "/v3/trace-summaries",
        **{
            "query.serviceName": service,
            "query.startTimeMin": "2000-01-01T00:00:00.000000Z",
            "query.startTimeMax": "2100-01-01T00:00:00.000000Z",
            "query.searchDepth": 100,
            "query.attributes": json.dumps({"gen_ai.agent.name": looping["agents"][0]}),
        },
    )["summaries"]
    assert all(HEX_TRACE.match(summary["traceId"]) for summary in summaries)
    summary = next(one for one in summaries if one["traceId"] == looping["run_id"])
    assert summary["rootServiceName"] == service
    assert summary["rootOperationName"] == looping["name"]
    assert summary["spanCount"] == looping["counts"]["spans"]
    assert summary["spanCount"] == sum(part["spanCount"] for part in summary["services"])
    assert (summary["errorSpanCount"], summary["orphanSpanCount"]) == (0, 0)
    spent_ns = int(summary["maxEndTimeUnixNano"]) - int(summary["minStartTimeUnixNano"])
    assert spent_ns / 1e6 == pytest.approx(looping["duration_ms"])
    (trace,) = get(server, f"/traces/{looping['run_id']}")["data"]
    check_trace(trace, looping)


def test_jaeger_ui_before_2_19(server: Server, looping: dict[str, Any]) -> None:
    service = looping["services"][0]
    assert looping["name"] in {one["name"] for one in get(server, "/operations", service=service)["data"]}
    found = get(
        server,
        "/traces",
        service=service,
        limit=100,
        lookback="2d",
        start=0,
        end=4_000_000_000_000_000,
        maxDuration="",
        minDuration="",
    )["data"]
    assert looping["run_id"] in {trace["traceID"] for trace in found}
    (trace,) = get(server, "/traces", traceID=looping["run_id"])["data"]
    check_trace(trace, looping)


def test_loop_warnings_stand_on_their_evidence(server: Server, looping: dict[str, Any]) -> None:
    (trace,) = get(server, f"/traces/{looping['run_id']}")["data"]
    assert any(warning.startswith("exact_repeat (warning): ") for warning in trace["warnings"])
    warned = [span for span in trace["spans"] if span["warnings"]]
    assert {tags(span)["gen_ai.tool.name"] for span in warned} == {"get_weather"}
    spans = spans_of(get(server, f"/v3/traces/{looping['run_id']}"))
    assert sum("@jaeger@warnings" in attributes(span) for span in spans) == len(warned)


def test_a_trace_is_found_by_every_way_to_write_its_id(server: Server, looping: dict[str, Any]) -> None:
    run_id = looping["run_id"]
    for written in (run_id.upper(), httpx.URL("/" + _base64(run_id)).path[1:]):
        (trace,) = get(server, f"/traces/{quote(written, safe='')}")["data"]
        assert trace["traceID"] == run_id
    assert trace_id_of("1f") == "1f".zfill(32)
    assert trace_id_of("no trace") == "no trace"


def _base64(run_id: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(run_id)).decode()


def test_errors_are_in_jaegers_words(server: Server) -> None:
    missing = server.api.get(f"/jaeger/api/traces/{'0' * 32}")
    assert missing.status_code == 404
    assert missing.json()["errors"] == [{"code": 404, "msg": "trace not found"}]
    assert missing.json()["data"] is None
    missing = server.api.get(f"/jaeger/api/v3/traces/{'0' * 32}")
    assert (missing.status_code, missing.json()["error"]["httpCode"]) == (404, 404)
    assert (
        server.api.get("/jaeger/api/traces").json()["errors"][0]["msg"] == "parameter 'service' is required"
    )
    assert server.api.get("/jaeger/api/operations").status_code == 400
    assert get(server, "/traces", service="no-such-service")["data"] == []
    assert get(server, "/v3/trace-summaries", **{"query.serviceName": "no-such"})["summaries"] == []


@pytest.mark.parametrize(
    "query",
    [
        "service=a&limit=x",
        "service=a&start=-1",
        "service=a&minDuration=fast",
        "service=a&tags=x",
        "service=a&tag=x",
    ],
)
def test_what_can_not_be_read_is_refused(query: str) -> None:
    with pytest.raises(Problem):
        read_v1(httpx_query(query))


def test_durations_and_times_are_read_as_go_writes_them() -> None:
    search = read_v3(
        httpx_query(
            "query.durationMin=1m30.5s&query.durationMax=2h&query.startTimeMin=2026-01-01T00:00:00.123456789Z"
        ),
        100,
    )
    assert (search.min_ms, search.max_ms) == (90_500.0, 7_200_000.0)
    assert search.since_ns == 1_767_225_600_123_456_789


def httpx_query(text: str) -> Any:
    return QueryParams(text)


def test_a_limited_key_sees_its_project_and_no_content(server: Server, looping: dict[str, Any]) -> None:
    keys = Keys(keys_file(server.data_dir))
    run_id, path = looping["run_id"], f"/jaeger/api/traces/{looping['run_id']}"
    made = [
        keys.create("reader", [Scope.READ], project=PROJECT),
        keys.create("other", [Scope.READ, Scope.CONTENT], project="other"),
        keys.create("tenant", [Scope.READ, Scope.CONTENT], tenant="elsewhere"),
    ]
    time.sleep(1.1)  # until the collector looks at the file again

    def ask(number: int, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {made[number][1]}"}
        return httpx.get(server.endpoints["api"] + path, headers=headers)

    service = looping["services"][0]
    (trace,) = ask(0, path).json()["data"]
    keys_shown = {tag["key"] for span in trace["spans"] for tag in span["tags"]}
    assert "gen_ai.usage.input_tokens" in keys_shown
    assert {key.partition(".")[0] for key in keys_shown} <= {"gen_ai", "eddyline", "error", "span", "otel"}
    assert "messages" not in json.dumps(sorted(keys_shown))
    assert "Paris" not in ask(0, path).text.replace(json.dumps(trace["warnings"]), "")
    tagged = ask(0, f"/jaeger/api/traces?service={service}&tag=llm.model_name:gpt-4o")
    assert (tagged.status_code, tagged.json()["errors"][0]["code"]) == (403, 403)
    for number in (1, 2):
        assert ask(number, path).status_code == 404
        assert ask(number, f"/jaeger/api/v3/traces/{run_id}").status_code == 404
        assert ask(number, f"/jaeger/api/traces?traceID={run_id}").json()["data"] == []
        assert ask(number, f"/jaeger/api/traces?service={service}").json()["data"] == []
        assert service not in ask(number, "/jaeger/api/services").json()["data"]
        assert ask(number, f"/jaeger/api/services/{service}/operations").json()["data"] == []
    for key, _ in made:
        keys.revoke(key.id)
