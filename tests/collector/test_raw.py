"""What an event was made of, asked of a real collector."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.understanding.mapping import read_items, stored_record
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from sinks.clickhouse.attributes import text
from tests.corpus import Scenario, captured, select
from tests.sending import http_protobuf, renamed
from tests.server import Server

PROJECT = "raw"


@pytest.fixture(scope="module")
def bodies(server: Server) -> list[bytes]:
    sent = [
        renamed(file.read_bytes(), 201, spans=True)
        for scenario in select("openinference/openai/")
        for file in scenario.traces
    ]
    for body in sent:
        http_protobuf(server, body, PROJECT)
    server.settled()
    return sent


def closing(server: Server, kind: str) -> dict[str, Any]:
    for run in server.runs(project=PROJECT):
        for event in server.get(f"/runs/{run['run_id']}/events")["data"]:
            if event["type"] == f"{kind}_completed":
                return dict(event)
    raise AssertionError(kind)


@pytest.mark.parametrize("path", ["/runs/{run_id}/events/{event_id}/raw", "/events/{event_id}/raw"])
def test_an_event_shows_its_span_as_otlp(server: Server, bodies: list[bytes], path: str) -> None:
    event = closing(server, "llm_call")
    document = server.get(path.format(**event))
    (span,), records = read_items(json.dumps(document).encode())
    sent = {
        span.span_id.hex(): span
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }[event["span_id"]]
    assert (span.trace_id, span.span_id, records) == (event["run_id"], event["span_id"], [])
    assert (span.name, span.start_ns, span.end_ns) == (
        sent.name,
        sent.start_time_unix_nano,
        sent.end_time_unix_nano,
    )
    assert set(span.attributes) == {attribute.key for attribute in sent.attributes}


def test_an_event_is_found_by_its_id_alone(server: Server, bodies: list[bytes]) -> None:
    event = closing(server, "llm_call")
    own, alone = f"/runs/{event['run_id']}/events/{event['event_id']}", f"/events/{event['event_id']}"
    for rest in ("", "/mapping", "/raw"):
        assert server.get(own + rest) == server.get(alone + rest)
    content = [server.api.get(f"/api/v1{path}/content/output") for path in (own, alone)]
    assert content[0].text == content[1].text != ""
    started = server.get(f"/events/{event['run_id']}.run.start")
    assert (started["type"], started["run_id"]) == ("run_started", event["run_id"])


def test_what_is_not_there_is_said_so(server: Server, bodies: list[bytes]) -> None:
    event = closing(server, "llm_call")
    missing = server.api.get("/api/v1/events/00000000000000ff.end")
    assert (missing.status_code, missing.json()["detail"]) == (
        404,
        "There is no event '00000000000000ff.end'.",
    )
    exchange = server.api.get(f"/api/v1/events/{event['event_id']}/raw", params={"format": "curl"})
    assert exchange.status_code == 404
    assert "format=otlp" in exchange.json()["detail"]
    unknown = server.api.get(f"/api/v1/events/{event['event_id']}/raw", params={"format": "pcap"})
    assert unknown.status_code == 400


def test_an_event_of_a_log_record_shows_the_record(server: Server) -> None:
    scenario = next(scenario for scenario in captured() if str(scenario) == "codex/cli/tools")
    for file in scenario.logs:
        http_protobuf(server, file.read_bytes(), "raw-logs", "logs")
    server.settled()
    (run, *_) = server.runs(project="raw-logs")
    for event in server.get(f"/runs/{run['run_id']}/events")["data"]:
        if event["type"].startswith("run_"):
            continue
        document = server.get(f"/events/{event['event_id']}/raw")
        spans, records = read_items(json.dumps(document).encode())
        assert len(spans) + len(records) >= 1
        if event["model"]:
            told = [value for record in records for value in record.attributes.values()]
            assert event["model"] in told


@pytest.mark.parametrize("scenario", [one for one in captured() if one.logs], ids=str)
def test_a_stored_record_is_the_same_event_as_the_one_that_came(scenario: Scenario) -> None:
    reader = RecordReader(Normalizer())
    for file in scenario.logs:
        for record in read_items(file.read_bytes())[1]:
            row = {
                "time_ns": record.time_ns or record.observed_ns,
                "body": text(record.body),
                "attributes": {key: text(value) for key, value in record.attributes.items()},
                "resource": {key: text(value) for key, value in record.resource.attributes.items()},
                "scope_name": record.scope.name,
                "scope_version": record.scope.version,
                "scope": {},
                **{
                    name: getattr(record, name)
                    for name in ("trace_id", "span_id", "flags", "severity_number", "severity_text")
                },
                "event_name": record.event_name,
                "project": record.project,
            }
            came, stored = reader.event(record), reader.event(stored_record(row))
            assert (came and came.span_id) == (stored and stored.span_id)
