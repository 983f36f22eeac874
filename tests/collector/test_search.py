"""Full text over captured and hand-made runs, asked of a real collector."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import conftest
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import Server

server = conftest.alone
"""A search goes through all of time that anybody's events are in."""

PROJECT = "search"
SAID = {
    "english": "Where does the Eddy line of the river begin?",
    "chinese": "河流的漩涡线从哪里开始？",
    "arabic": "أين يبدأ خط الدوامة في النهر؟",
    "german": "Wo beginnt die ÜBERSTRÖMUNG am Fluß?",
    "marks": 'it costs 100% of "all" _things_ \\ and more',
}


@pytest.fixture(scope="module")
def runs(server: Server) -> list[dict[str, Any]]:
    for scenario in select("openinference/openai/tools", "openinference/openai-agents/"):
        for file in scenario.traces:
            http_protobuf(server, renamed(file.read_bytes(), 22), PROJECT)
    for number, (language, words) in enumerate(SAID.items()):
        request = ExportTraceServiceRequest()
        span = (
            request.resource_spans.add()
            .scope_spans.add()
            .spans.add(trace_id=b"searched" + number.to_bytes(8, "big"), span_id=b"searched", name=language)
        )
        # Days apart, so that several windows are looked through.
        span.start_time_unix_nano = (1_780_000_000 + number * 400_000) * 10**9
        span.end_time_unix_nano = span.start_time_unix_nano + 10**9
        for key, value in {
            "openinference.span.kind": "LLM",
            "input.value": words,
            "output.value": "Yes.",
        }.items():
            span.attributes.add(key=key).value.string_value = value
        http_protobuf(server, request.SerializeToString(), PROJECT)
    server.settled()
    return server.runs(project=PROJECT)


def hits(server: Server, q: str, **how: Any) -> list[dict[str, Any]]:
    """All of them: on a busy machine one question may not be enough to look through everything."""
    asked = {"q": q, "project": PROJECT, "limit": 1000} | how
    found = server.get("/search", **asked)
    data: list[dict[str, Any]] = found["data"]
    while not found["meta"]["complete"]:
        found = server.get("/search", **asked, cursor=found["page"]["next_cursor"])
        data += found["data"]
    return data


def names(server: Server, q: str, **how: Any) -> list[str]:
    return sorted(hit["name"] for hit in hits(server, q, **how))


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("eddy LINE", ["english"]),
        ('"eddy line"', ["english"]),
        ('"line eddy"', []),
        ("漩涡", ["chinese"]),
        ("线从 河流", ["chinese"]),
        ("الدوامة", ["arabic"]),
        ("überströmung", ["german"]),
        ("100% _things_", ["marks"]),
        ("\\", ["marks"]),
        ("no-such-word-anywhere", []),
    ],
)
def test_what_was_said_is_found_in_every_language(
    server: Server, runs: list[dict[str, Any]], q: str, found: list[str]
) -> None:
    assert names(server, q) == found


def test_a_hit_shows_where_and_leads_to_its_event(server: Server, runs: list[dict[str, Any]]) -> None:
    found = hits(server, "paris")
    assert found
    assert [hit["time"] for hit in found] == sorted((hit["time"] for hit in found), reverse=True)
    for hit in found:
        assert hit["snippets"]
        for snippet in hit["snippets"]:
            assert snippet["highlights"]
            for start, length in snippet["highlights"]:
                assert snippet["text"][start : start + length].lower() == "paris"
        if hit["event_id"] is not None:
            event = server.get(f"/runs/{hit['run_id']}/events/{hit['event_id']}")
            assert event["span_id"] == hit["span_id"]
            shown = f"{event['input']} {event['output']} {event['error']}"
            assert "paris" in shown.lower()


def test_places_narrow_the_search(server: Server, runs: list[dict[str, Any]]) -> None:
    assert names(server, "eddy", **{"in": "input"}) == ["english"]
    assert names(server, "eddy", **{"in": "output,tool,error"}) == []
    of_tools = hits(server, "paris", **{"in": "tool"})
    assert of_tools
    assert {hit["kind"] for hit in of_tools} == {"TOOL"}
    assert {hit["span_id"] for hit in of_tools} < {hit["span_id"] for hit in hits(server, "paris")}


def test_filters_choose_whose_words_are_searched(server: Server, runs: list[dict[str, Any]]) -> None:
    (english,) = hits(server, "eddy")
    assert hits(server, "eddy", project="other") == []
    assert hits(server, "eddy", until=english["time"]) == []
    assert hits(server, "eddy", since=english["time"]) == [english]
    assert hits(server, "eddy", name="chinese") == []


def test_hits_come_page_by_page(server: Server, runs: list[dict[str, Any]]) -> None:
    whole = hits(server, "e")
    paged: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.get("/search", q="e", project=PROJECT, limit=3, **cursor)
        paged += page["data"]
        if page["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["page"]["next_cursor"]}
    assert paged == whole
    assert len(whole) > 10


@pytest.mark.parametrize("q", [None, "", " ", '""', '"open', "x" * 1001, " ".join(map(str, range(21)))])
def test_what_can_not_be_searched_for_says_why(server: Server, q: str | None) -> None:
    answer = server.api.get("/api/v1/search", params={} if q is None else {"q": q})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "q"
