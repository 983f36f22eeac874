"""Canaries go in through every door; nothing that is stored or served may hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

import collector.pipeline.marks
from collector.config import RedactionRules, RedactionSettings
from collector.journal import Header, Record
from collector.otlp import decode_traces
from collector.pipeline.deadletter import DeadLetters, Letter, read
from collector.pipeline.marks import FEW_BYTES, MarkSearch
from collector.pipeline.redaction import ProjectRules, Redaction
from mappers.conventions import BUILTIN
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from sinks.clickhouse import Store
from tests.mappers.test_records import record_of
from tests.sending import TRANSPORTS
from tests.server import Server

KEY = "sk-proj-C4naRy0123456789abcdefghij"
TOKEN = "C4naRyBearer0123456789"
EMAIL = "c4nary@mail.example.com"
CONTENT = "the C4naRy sang"

CONFIG = """
redaction:
  projects:
    "private-*": {mask: [email], capture_input: false, capture_output: false}
"""


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def pair(key: str, value: AnyValue | str) -> KeyValue:
    return KeyValue(key=key, value=text(value) if isinstance(value, str) else value)


def everywhere(canary: str) -> list[KeyValue]:
    """Attributes with the canary in every form a value has."""
    return [
        pair("input.value", json.dumps({"messages": [{"role": "user", "content": f"use {canary}"}]})),
        pair("output.value", json.dumps({"text": json.dumps({"k": canary})})),
        pair("metadata", json.dumps({"note": canary})),
        pair("note", canary),
        pair("list", AnyValue(array_value=ArrayValue(values=[text(canary)]))),
        pair("map", AnyValue(kvlist_value=KeyValueList(values=[pair("deep", canary)]))),
        pair("bytes", AnyValue(bytes_value=canary.encode())),
        pair("session.id", f"s {canary}"),
        pair("tag.tags", AnyValue(array_value=ArrayValue(values=[text(canary)]))),
    ]


def traces(canary: str) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend([pair("service.name", "s"), pair("argv", f"--key {canary}")])
    scope = resource.scope_spans.add()
    scope.scope.name = "openinference.instrumentation.openai"
    scope.scope.attributes.append(pair("where", canary))
    for number, kind in enumerate(("AGENT", "LLM", "TOOL"), 1):
        span = scope.spans.add(
            trace_id=(b"\xca" + canary.encode()).ljust(16, b"\0")[:16],
            span_id=bytes([number] * 8),
            parent_span_id=b"" if number == 1 else bytes([1] * 8),
            name=f"{kind} {canary}",
            start_time_unix_nano=1_790_000_000 * 10**9,
            end_time_unix_nano=1_790_000_001 * 10**9,
            trace_state=f"x={canary}" if "@" not in canary else "",
        )
        span.attributes.extend([pair("openinference.span.kind", kind), *everywhere(canary)])
        span.attributes.append(pair("llm.model_name", "gpt-4o-mini"))
        span.status.code = 2
        span.status.message = f"failed with {canary}"
        event = span.events.add(name="exception", time_unix_nano=1_790_000_000 * 10**9)
        event.attributes.append(pair("exception.message", f"bad {canary}"))
        span.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8).attributes.append(pair("why", canary))
    return request.SerializeToString()


def logs(canary: str) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.append(pair("argv", canary))
    for body in (
        text(f"log {canary}"),
        AnyValue(kvlist_value=KeyValueList(values=[pair("content", canary)])),
    ):
        record = resource.scope_logs.add().log_records.add(
            time_unix_nano=1_790_000_000 * 10**9,
            body=body,
            event_name="gen_ai.user.message",
            trace_id=b"\xcb" * 16,
            span_id=b"\xcb" * 8,
        )
        record.attributes.extend(everywhere(canary))
    return request.SerializeToString()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The data directory after everything was stored, and all that the API said of it."""
    directory = tmp_path_factory.mktemp("redaction") / "data"
    config = directory.with_suffix(".yaml")
    config.write_text(CONFIG, encoding="utf-8")
    server = Server(directory, "--config", str(config)).start()
    served = []
    try:
        for number, send in enumerate(TRANSPORTS.values()):
            for canary in (KEY, f"Bearer {TOKEN}"):
                send(server, traces(canary), f"open-{number}")
        for canary in (KEY, EMAIL, CONTENT):
            TRANSPORTS["http-protobuf"](server, traces(canary), "private-1")
            TRANSPORTS["grpc"](server, logs(canary), "private-1", "logs")
        server.settled()
        for run in server.runs(include="all"):
            path = f"/runs/{run['run_id']}"
            served += [json.dumps(run)]
            served += [json.dumps(server.get(path + rest)) for rest in ("/spans", "/warnings")]
            served.append(json.dumps(server.get(path + "/events", fields="io")))
        served.append(json.dumps(server.get("/status")))
    finally:
        assert server.stop() == 0
    return directory, served


@pytest.mark.parametrize("canary", [KEY, TOKEN, EMAIL])
def test_no_table_holds_it(kept: tuple[Path, list[str]], canary: str, rows: dict[str, str]) -> None:
    assert {"otel_traces", "otel_logs", "run_events", "runs"} <= rows.keys()
    for table, content in rows.items():
        assert canary not in content, table
        assert base64.b64encode(canary.encode()).decode()[:20] not in content, table


@pytest.fixture(scope="module")
def rows(kept: tuple[Path, list[str]]) -> Iterator[dict[str, str]]:
    """Every row of every table as text."""
    store = Store.open(kept[0] / "clickhouse")
    tables = [
        name
        for (name,) in store.query(
            "SELECT name FROM system.tables WHERE database = 'otel' AND engine LIKE '%MergeTree'"
        )
    ]
    yield {
        table: "\n".join(row for (row,) in store.query(f"SELECT toString(tuple(*)) FROM otel.{table}"))
        for table in tables
    }
    store.close()


@pytest.mark.parametrize("canary", [KEY, TOKEN, EMAIL])
def test_the_api_does_not_say_it(kept: tuple[Path, list[str]], canary: str) -> None:
    assert len(kept[1]) > 10
    assert not any(canary in document for document in kept[1])


@pytest.mark.parametrize("canary", [KEY, TOKEN, EMAIL])
def test_no_file_holds_it_but_the_journal(kept: tuple[Path, list[str]], canary: str) -> None:
    """The journal holds requests as they came, for its owner alone, until the segment is done with."""
    directory = kept[0]
    for file in [*directory.rglob("*"), directory.with_suffix(".log")]:
        if file.is_file() and canary.encode() in file.read_bytes():
            assert file.is_relative_to(directory / "journal")
            assert file.stat().st_mode & 0o77 == 0


def test_content_that_a_project_does_not_want_is_not_stored(rows: dict[str, str]) -> None:
    """But for what a program chose to put elsewhere: names, errors, attributes of its own."""
    for key in ("input.value", "output.value"):
        assert f"{key}': '" not in rows["otel_logs"]
    events = rows["run_events"]
    assert "sang" in events  # the names of its spans
    assert f"use {CONTENT}" not in events
    assert f"use {CONTENT}" not in rows["otel_traces"]
    assert f"use {CONTENT}" not in rows["runs"]


# --------------------------------------------------------------------------- without a server


def redaction(**rules: Any) -> Redaction:
    return Redaction(ProjectRules(RedactionSettings(**rules)), BUILTIN)


def test_a_large_batch_is_looked_through_like_a_small_one() -> None:
    clean = traces("nothing to see " * (FEW_BYTES // 100))
    for bodies in ([traces(KEY)], [clean, traces(KEY), clean]):
        one = redaction()
        decoded = [decode_traces(body) for body in bodies]
        for body, spans in zip(bodies, decoded, strict=True):
            one.saw(body, spans)
        one.mask()
        assert one.masked == 3
        assert KEY not in repr(decoded)


def test_a_batch_is_looked_through_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces, each in its time: what is said of a record is said of that one, in every batch."""
    monkeypatch.setattr(collector.pipeline.marks, "AHEAD_BYTES", len(traces("")) * 2)
    one = redaction()
    for suspects in ({0, 4}, {3}, set()):
        decoded = []
        for place in range(6):
            body = traces(KEY if place in suspects else "nothing")
            decoded.append(decode_traces(body))
            one.saw(body, decoded[-1])
        assert {place for place, is_changed in enumerate(one.mask()) if is_changed} == suspects
        assert KEY not in repr(decoded)


@pytest.mark.parametrize(
    "fault", [MemoryError(), RuntimeError("can't start new thread")], ids=["in it", "none"]
)
def test_a_batch_is_looked_through_also_if_nobody_can_do_it_beside(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Searcher:
        def __init__(self, *of: Any) -> None:
            pass

        def submit(self, *call: Any) -> Future[Any]:
            if isinstance(fault, RuntimeError):
                raise fault
            search: Future[Any] = Future()
            search.set_exception(fault)
            return search

    monkeypatch.setattr(collector.pipeline.marks, "AHEAD_BYTES", 1)
    monkeypatch.setattr(collector.pipeline.marks, "ThreadPoolExecutor", Searcher)
    search = MarkSearch()
    for body in (b"nothing", KEY.encode(), b"nothing"):
        search.add(body)
    assert search.found() == [False, True, False]


def test_the_first_rule_that_fits_a_project_holds_alone() -> None:
    rules = {"a-*": RedactionRules(mask=["email"]), "a-b": RedactionRules(capture_input=False)}
    one = redaction(capture_output=False, projects=rules)
    for project, output, email in (("a-b", True, True), ("other", False, False)):
        spans = decode_traces(traces(EMAIL))
        for span in spans:
            span.project = project
        one.saw(traces(EMAIL), spans)
        one.mask()
        events = [Normalizer().normalize(span) for span in spans]
        one.hide(spans, events)
        assert ("output.value" in spans[1].attributes) is output
        assert ("[email]" in repr(spans)) is email


def test_what_was_understood_stays_known_where_content_is_not_kept() -> None:
    one = redaction(capture_input=False, capture_output=False)
    spans = decode_traces(traces("x"))
    events = [Normalizer().normalize(span) for span in spans]
    one.hide(spans, events)
    assert all(event.input == event.output == "" for event in events)
    tool = events[2]
    assert tool.args_hash
    assert tool.input_bytes
    assert spans[1].attributes["llm.model_name"] == "gpt-4o-mini"


@pytest.mark.parametrize("hidden", [{"input"}, {"output"}, {"input", "output"}])
def test_content_that_was_taken_out_of_a_span_is_hidden_by_its_side(hidden: set[str]) -> None:
    one = redaction(**{f"capture_{side}": False for side in hidden})
    sides = {side: {"messages": [{"role": "x", "content": f"the {side}"}]} for side in ("input", "output")}
    records = [record_of("strands.telemetry.tracer", sides)]
    reader = RecordReader(Normalizer())
    events = [event for record in records if (event := reader.event(record)) is not None]
    assert len(events) == 1
    one.hide(records, events)
    assert set(records[0].body) == {"input", "output"} - hidden  # type: ignore[arg-type]  # a mapping
    assert not any(f"the {side}" in repr([records, events]) for side in hidden)


def test_an_item_that_can_not_be_masked_is_stored_without_what_it_holds() -> None:
    one = redaction()
    spans = decode_traces(traces(KEY))
    spans[0].attributes = None  # type: ignore[assignment]  # what must not break it
    one.saw(traces(KEY), spans)
    one.mask()
    assert one.failures == 1
    assert KEY not in repr(spans)


def test_a_dead_letter_holds_no_secret(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead.jsonl", redaction().masked_request)
    broken = b"\xff\xfe" + KEY.encode() + b" \x00"
    for body in (broken, traces(KEY)):
        letters.keep([Letter(Record(1, Header(0, items=1), body), "traces", "broken")])
    first, second = (letter.record.body for _, letter in read(tmp_path / "dead.jsonl"))
    assert KEY.encode() not in first + second
    assert first.startswith(b"\xff\xfe[redacted api key]")
    before, after = decode_traces(traces(KEY)), decode_traces(second)
    assert [span.span_id for span in after] == [span.span_id for span in before]
