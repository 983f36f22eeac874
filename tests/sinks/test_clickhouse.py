from __future__ import annotations

import itertools
import sys
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mappers.model import (
    PROXY_SCOPE,
    Counts,
    Document,
    Event,
    Kind,
    LogRecord,
    Resource,
    Run,
    RunStatus,
    Scope,
    Span,
    SpanEvent,
    SpanLink,
    Status,
    ToolRequest,
    Usage,
    Warning,
)
from sinks.base import Batch, PermanentError, WrongStoreError
from sinks.clickhouse import ClickHouseSink, Reader, RunFilter, Store
from sinks.clickhouse.attributes import text
from sinks.clickhouse.columns import EVENTS, RUNS, TEXTS, WARNINGS
from sinks.clickhouse.migrations import Migration, SchemaError, migrate, migrations
from sinks.clickhouse.store import STREAMED_ROWS
from sinks.filter import Compare, Every
from tests import forked
from tests.server import with_schema

SECOND = 10**9
START = 1_790_000_000 * SECOND


@pytest.fixture
def sink(store: Store) -> ClickHouseSink:
    return ClickHouseSink(store)


@pytest.fixture
def reader(store: Store) -> Reader:
    return Reader(store)


@pytest.fixture
def trace_id() -> str:
    """One that no other test has: all tests of the module share the database."""
    return f"{next(NUMBERS):032x}"


NUMBERS = itertools.count(0xABC000)


def full_event(run_id: str, span: int = 1, **changes: Any) -> Event:
    return replace(
        Event(
            run_id=run_id,
            trace_id=run_id,
            span_id=f"{span:016x}",
            parent_span_id=f"{99:016x}",
            seq=0,
            project="shop",
            kind=Kind.LLM,
            name="chat — 東京 'quoted' \\ \n",
            start_ns=START + 123_456_789,
            end_ns=START + 5 * SECOND,
            status=Status.ERROR,
            error_type="RateLimitError",
            error_message="slow down",
            service="agent",
            instance="agent-7f",
            environment="prod",
            scope="openinference.instrumentation.openai",
            convention="openinference",
            mapper_version=1,
            agent="triage",
            session_id="s-1",
            user_id="u-1",
            tags=["a", "b"],
            metadata={"tier": "gold"},
            links=["ff" * 16],
            provider="openai",
            operation="chat",
            request_model="gpt-4o",
            response_model="gpt-4o-2024-08-06",
            response_id="chatcmpl-1",
            parameters={"temperature": "0.2"},
            offered_tools=["search", "gone"],
            offered_tools_hash=2**64 - 1,
            documents=(Document("d1", 0.5), Document("", None)),
            http_status=429,
            tool_requests=(ToolRequest("call_1", "search", 2**64 - 1), ToolRequest("", "gone", 0)),
            finish_reasons=["stop"],
            streaming=False,
            ttft_ms=12.5,
            input_tokens=0,
            output_tokens=2**40,
            cache_read_tokens=None,
            usage_source="reported",
            cost_usd=Decimal("0.000000001"),
            cost_source="reported",
            audio_input_tokens=2,
            price_version="prices 1",
            service_tier="flex",
            attempts=3,
            tool_call_id="call_1",
            args_hash=2**64 - 1,
            result_hash=0,
            signs=5,
            history="[]",
            input="question",
            output="answer",
            input_bytes=0,
            output_bytes=None,
            duplicate_of="12" * 8,
            handoff_from="a",
            handoff_to="b",
            part="details",
            filled=["input_tokens"],
            handoff_source="tool_span",
        ),
        **changes,
    )


def full_run(run_id: str, **changes: Any) -> Run:
    return replace(
        Run(
            run_id=run_id,
            project="shop",
            name="weather",
            status=RunStatus.COMPLETED,
            has_root=True,
            start_ns=START,
            end_ns=START + 3 * SECOND,
            session_id="s-1",
            services=["agent"],
            agents=["triage"],
            models=["gpt-4o"],
            tools=["search"],
            tags=["x"],
            metadata={"k": "v"},
            conventions=["openinference"],
            usage=Usage(input=0, output=7),
            cost_usd=Decimal("1.5"),
            cost_source="reported",
            counts=Counts(**{field.name: number for number, field in enumerate(fields(Counts), 1)}),
            input="in",
            output="out",
            health_score=42,
            health_label="stuck",
            health_reasons=["-50 again and again"],
            top_warning="exact_repeat",
            top_severity="critical",
        ),
        **changes,
    )


def span(trace_id: str, number: int = 1, **changes: Any) -> Span:
    return replace(
        Span(
            trace_id=trace_id,
            span_id=f"{number:016x}",
            parent_span_id="",
            name="chat",
            kind=3,
            start_ns=START,
            end_ns=START + SECOND,
            attributes={
                "s": "text",
                "i": 2**53 + 1,
                "t": True,
                "d": 0.5,
                "n": None,
                "l": ["a", 1],
                "m": {"k": b"x"},
            },
            status_code=2,
            status_message="failed",
            events=[SpanEvent(START + 7, "exception", {"exception.type": "ValueError"})],
            links=[SpanLink("ab" * 16, "cd" * 8, "", {"why": "retry"})],
            resource=Resource({"service.name": "agent", "pid": 7}),
            scope=Scope("scope", "1.2", {"a": "b"}),
            project="shop",
        ),
        **changes,
    )


# --------------------------------------------------------------------------- rows and models


def test_an_event_is_read_as_it_was_written(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    event = full_event(trace_id)
    sink.write(Batch(events=[event], runs=[full_run(trace_id)]))
    run = reader.run("", trace_id)
    assert run is not None
    assert reader.events(run) == [event]
    assert reader.event_rows("", trace_id, [(event.span_id, 0)]) == [event]


def test_more_events_than_go_to_the_engine_at_once_are_one_part(
    sink: ClickHouseSink, reader: Reader, store: Store, trace_id: str
) -> None:
    some = [
        full_event(
            trace_id, number, input_tokens=number % 3 or None, input="é" * (number % 7), part="", seq=0
        )
        for number in range(1, 2 * STREAMED_ROWS + 100)
    ]
    sink.write(Batch(events=some, runs=[full_run(trace_id)]))
    rows = reader.event_rows("", trace_id, [(event.span_id, 0) for event in some])
    assert sorted(rows, key=lambda event: event.span_id) == some
    counted = "SELECT count(), uniqExact(_part) FROM otel.run_events WHERE RunId = {run:String}"
    assert store.query(counted, {"run": trace_id}) == [(len(some), 1)]


def test_what_is_not_known_is_not_zero(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    lists: dict[str, Any] = {column.field: [] for column in EVENTS if column.kind == TEXTS}
    bare = Event(run_id=trace_id, span_id="0" * 16, trace_id=trace_id, start_ns=START, end_ns=START, **lists)
    sink.write(Batch(events=[bare], runs=[full_run(trace_id)]))
    run = reader.run("", trace_id)
    assert run is not None
    assert reader.events(run) == [bare]
    zero = replace(bare, input_tokens=0, streaming=False, ttft_ms=0.0, cost_usd=Decimal(0))
    sink.write(Batch(events=[zero]))
    assert reader.events(run) == [zero]


def test_a_run_is_read_as_it_was_written(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    run = full_run(trace_id)
    sink.write(Batch(runs=[run]))
    assert reader.run("", trace_id) == run


def test_a_warning_is_read_as_it_was_written(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    warning = Warning(
        warning_id="w1",
        run_id=trace_id,
        type="exact_repeat",
        category="loop",
        severity="warning",
        state="active",
        count=6,
        message="again and again",
        evidence=["a.end", "b.end"],
        wasted_tokens=12,
        wasted_cost_usd=None,
        primary=True,
        incident_id="w1",
        tool="search",
        agent="triage",
        thread=trace_id,
        session_id="s-1",
        engine_version="1/1",
        first_ns=START,
        last_ns=START + SECOND,
    )
    sink.write(Batch(warnings=[warning, replace(warning, warning_id="w2", state="retracted")]))
    assert reader.warnings("", trace_id) == [warning]


def test_a_span_keeps_everything_it_came_with(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    sink.write(Batch(spans=[span(trace_id)]))
    [stored] = reader.spans(full_run(trace_id))
    assert stored["attributes"] == {
        "s": "text",
        "i": "9007199254740993",
        "t": "true",
        "d": "0.5",
        "n": "",
        "l": '["a",1]',
        "m": '{"k":"eA=="}',
    }
    assert (stored["kind"], stored["status_code"]) == ("Client", "Error")
    assert stored["resource"] == {"service.name": "agent", "pid": "7"}
    assert stored["event_times_ns"] == [START + 7]
    assert stored["event_attributes"] == [{"exception.type": "ValueError"}]
    assert stored["link_attributes"] == [{"why": "retry"}]


def log_record(trace_id: str) -> LogRecord:
    return LogRecord(
        time_ns=START,
        observed_ns=START,
        trace_id=trace_id,
        span_id="",
        flags=1,
        severity_number=9,
        severity_text="INFO",
        event_name="gen_ai.choice",
        body={"message": {"content": "hello"}},
        attributes={"gen_ai.system": "openai"},
        resource=Resource({"service.name": "agent"}),
        scope=Scope("scope"),
    )


def test_a_log_record_is_stored_once_however_often_it_comes(
    sink: ClickHouseSink, store: Store, trace_id: str
) -> None:
    record = log_record(trace_id)
    for _ in range(3):
        sink.write(Batch(logs=[record, replace(record, event_name="other")]))
    rows = store.query(
        "SELECT Body, EventName, LogAttributes FROM otel.otel_logs FINAL"
        " WHERE TraceId = {t:String} ORDER BY EventName",
        {"t": trace_id},
    )
    assert rows == [
        ('{"message":{"content":"hello"}}', "gen_ai.choice", {"gen_ai.system": "openai"}),
        ('{"message":{"content":"hello"}}', "other", {"gen_ai.system": "openai"}),
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.0, "1"),
        (1e300, "1e+300"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Inf"),
        (b"\x00\xff", "AP8="),
        ([1.5, None, [True]], "[1.5,null,[true]]"),
        ({"a": {"b": float("nan")}}, '{"a":{"b":"NaN"}}'),
        (-(2**63), "-9223372036854775808"),
    ],
)
def test_attribute_values_have_one_form(value: Any, written: str) -> None:
    assert text(value) == written


@pytest.mark.parametrize(
    ("table", "columns"), [("run_events", EVENTS), ("runs", RUNS), ("loop_warnings", WARNINGS)]
)
def test_every_column_is_written_or_made_by_the_engine(store: Store, table: str, columns: Any) -> None:
    rows = store.query(
        "SELECT name, default_kind FROM system.columns WHERE database = 'otel' AND table = {t:String}",
        {"t": table},
    )
    assert {name for name, kind in rows if not kind} == {column.name for column in columns}


@pytest.mark.parametrize(("model", "columns"), [(Event, EVENTS), (Run, RUNS), (Warning, WARNINGS)])
def test_every_field_of_the_model_is_stored(model: Any, columns: Any) -> None:
    stored = {column.field.partition(".")[0] for column in columns}
    assert {field.name for field in fields(model)} == stored


def test_times_out_of_range_do_not_cost_the_batch(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    wild = [span(trace_id, 1, start_ns=2**64 - 1, end_ns=0), span(trace_id, 2, start_ns=0), span(trace_id, 3)]
    sink.write(Batch(spans=wild))
    found = reader.spans(full_run(trace_id, start_ns=0, end_ns=2**63 - 1))
    assert sorted(stored["span_id"][-1] for stored in found) == ["1", "2", "3"]


def test_spans_of_many_days_are_one_batch(
    store: Store, sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    def partitions() -> set[tuple[str, str]]:
        sql = (
            "SELECT DISTINCT table, partition_id FROM system.parts WHERE active AND table LIKE 'otel_traces%'"
        )
        return {(table, partition) for table, partition in store.query(sql)}

    before = partitions()
    days = [span(trace_id, day + 1, start_ns=START - day * 86_400 * SECOND) for day in range(150)]
    sink.write(Batch(spans=days))
    assert len(reader.spans(full_run(trace_id, start_ns=START - 200 * 86_400 * SECOND))) == 150
    for table, partition in partitions() - before:  # the deletions of other tests would look through each
        store.command(f"ALTER TABLE otel.{table} DROP PARTITION ID '{partition}'")


# --------------------------------------------------------------------------- again and late


def test_writing_again_changes_nothing(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    batch = Batch(
        spans=[span(trace_id, 1), span(trace_id, 2)],
        events=[full_event(trace_id, 1), full_event(trace_id, 2)],
        runs=[full_run(trace_id)],
    )
    sink.write(batch)
    once = (reader.events(full_run(trace_id)), reader.spans(full_run(trace_id)), reader.totals(""))
    for _ in range(2):
        sink.write(batch)
    assert (reader.events(full_run(trace_id)), reader.spans(full_run(trace_id)), reader.totals("")) == once


def test_the_newest_word_on_an_event_holds(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    sink.write(Batch(events=[full_event(trace_id, 1, name="first")]))
    sink.write(Batch(events=[full_event(trace_id, 1, name="second")]))
    assert [event.name for event in reader.events(full_run(trace_id))] == ["second"]


def test_a_run_that_began_earlier_than_thought_is_one_run(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    wanted = RunFilter(where=Compare("project", "=", "moved"))
    late = full_run(trace_id, project="moved", counts=Counts(spans=1))
    sink.write(Batch(runs=[late]))
    early = replace(late, start_ns=START - 7200 * SECOND, counts=Counts(spans=2))
    sink.write(Batch(runs=[early]))
    sink.write(Batch(runs=[late]))  # a derive that saw less, and came last
    assert reader.run("", trace_id) == early
    assert reader.runs(wanted, 10, None, START).runs == [early]


def test_events_are_read_back_without_content_but_for_roots(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    root = full_event(trace_id, 1, is_root=True, parent_span_id="")
    child = full_event(trace_id, 2, part="", filled=[], status=Status.OK)
    failed = full_event(trace_id, 3, part="", filled=[], status=Status.ERROR, kind=Kind.LLM)
    sink.write(Batch(events=[root, child, failed]))
    found = reader.events_of("", [trace_id, "0" * 32])
    assert set(found) == {trace_id}
    by_span = {event.span_id: event for event in found[trace_id]}
    assert by_span[root.span_id] == root
    assert by_span[failed.span_id] == failed  # known again by what was asked
    assert by_span[child.span_id] == replace(
        child, input="", output="", metadata={}, parameters={}, offered_tools=[]
    )


def test_runs_that_have_newer_events_than_their_row_knows_of_are_named(
    sink: ClickHouseSink, reader: Reader
) -> None:
    run = [f"{next(NUMBERS):032x}" for _ in range(3)]
    sink.write(Batch(events=[full_event(run[0])], runs=[full_run(run[0])]))
    sink.write(Batch(events=[full_event(run[1])], runs=[full_run(run[1])]))
    sink.write(
        Batch(
            events=[
                full_event(run[1], 2, part=""),
                full_event(run[2], part=""),
                full_event("4" * 32, part="input"),
            ]
        )
    )
    assert reader.runs_with_rows("", [*run, "5" * 32]) == set(run[:2])
    assert not reader.rows_tell([])  # parts have none
    found = {run_id for _, run_id in reader.unsettled_runs()}
    assert found & {*run, "4" * 32} == {run[1], run[2]}


def test_only_runs_in_which_a_call_may_be_told_again_are_read_back(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    def call(number: int, scope: str, response_id: str, start: int, end: int, **more: Any) -> Event:
        run_id, process = f"{trace_id[:-2]}{number:02d}", f"host/{trace_id}"
        times = {"start_ns": START + start * 10**9, "end_ns": START + end * 10**9}
        return replace(full_event(run_id), **{
            "kind": Kind.LLM, "scope": scope, "response_id": response_id, "instance": process,
            "session_id": "", "source": "span", "part": "", "result_hash": 0, "input_tokens": None, **times, **more,
        })  # fmt: skip

    named, again = f"id-{trace_id}", f"again-{trace_id}"
    stored = [
        call(1, "sdk", named, 0, 4),
        call(2, "wrapper", named, 0, 4),
        call(3, "sdk", "", 0, 4),
        call(4, "wrapper", "", 0, 4),
        call(5, "sdk", "", 5, 5),
        call(6, "sdk", again, 1, 3),
        call(7, "sdk", named, 3, 4, source="log"),
    ]
    sink.write(Batch(events=stored))

    def found(*calls: Event) -> list[int]:
        return sorted(int(run_id[-2:]) for run_id in reader.runs_with_twins(stored[0].tenant, calls))

    assert found(call(50, "sdk", named, 2, 4)) == [2, 4, 5, 7]
    assert found(call(50, "sdk", again, 1, 4)) == [4, 5, 6]
    assert found(call(50, "sdk", "", 1, 3)) == [2, 4, 5, 7]
    assert found(call(50, "sdk", "", 6, 6)) == [1, 2, 3, 4, 5, 6, 7]
    assert found(call(50, "sdk", named, 2, 4), call(51, "wrapper", named, 2, 4)) == [1, 2, 3, 4, 5, 7]


def test_runs_with_calls_that_are_alike_are_read_back_where_one_of_them_has_no_id(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    answer = int(trace_id[-15:], 16)

    def call(number: int, scope: str, response_id: str, said: int, counts: tuple[int | None, int]) -> Event:
        times = {"start_ns": START, "end_ns": START + 10**9}
        return replace(full_event(f"{trace_id[:-2]}{number:02d}"), **{
            "kind": Kind.LLM, "scope": scope, "response_id": response_id, "instance": "", "session_id": "",
            "source": "span", "part": "", "result_hash": said, "input_tokens": counts[0],
            "output_tokens": counts[1], **times,
        })  # fmt: skip

    unlike, unknown = (7, answer % 10**9), (None, 1)
    stored = [
        call(1, "sdk", "", answer, unknown),
        call(2, "sdk", f"id-{trace_id}", answer, unknown),
        call(3, "sdk", "", answer + 1, (8, answer % 10**9)),
        call(4, "sdk", f"id-{trace_id}", answer + 1, (8, answer % 10**9)),
        call(5, "wrapper", "", answer, unknown),
    ]
    sink.write(Batch(events=stored))

    def found(*calls: Event) -> list[int]:
        return sorted(int(run_id[-2:]) for run_id in reader.runs_with_twins(stored[0].tenant, calls))

    assert found(call(50, "wrapper", f"other-{trace_id}", answer, unlike)) == [1]
    assert found(call(50, "wrapper", "", answer, unknown)) == [1, 2]
    assert found(call(50, "wrapper", "", 0, (8, answer % 10**9))) == [3, 4]
    assert found(call(50, "wrapper", f"other-{trace_id}", 0, (8, answer % 10**9))) == [3]


def test_runs_in_which_others_told_of_a_tool_are_read_back(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    result = int(trace_id[-15:], 16) + 1

    def executed(number: int, scope: str) -> Event:
        return replace(full_event(f"{trace_id[:-2]}{number:02d}"), **{
            "kind": Kind.TOOL, "scope": scope, "response_id": "", "instance": "", "session_id": "", "source": "span",
            "part": "", "result_hash": result, "input_tokens": None, "start_ns": START, "end_ns": START + 10**9,
        })  # fmt: skip

    seen, own = executed(1, PROXY_SCOPE), executed(2, "sdk")
    sink.write(Batch(events=[seen, own]))
    both = [seen.run_id, own.run_id]
    assert sorted(reader.runs_with_twins(seen.tenant, [executed(50, "wrapper")])) == both
    assert reader.runs_with_twins(seen.tenant, [executed(50, "sdk")]) == [seen.run_id]
    assert reader.runs_with_twins(seen.tenant, [executed(50, PROXY_SCOPE)]) == [own.run_id]


def test_a_tenant_sees_its_own_rows_alone(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    sink.write(Batch(runs=[full_run(trace_id, tenant="a", name="of a")]))
    sink.write(Batch(runs=[full_run(trace_id, tenant="b", name="of b")]))
    assert [run.name for run in reader.runs(RunFilter(tenant="a"), 10, None, START).runs] == ["of a"]
    assert reader.run("c", trace_id) is None


# --------------------------------------------------------------------------- the list


def test_pages_are_complete_although_versions_crowd_them(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    base = int(trace_id, 16) << 16
    runs = [
        full_run(f"{base + number:032x}", project="paged", start_ns=START + number // 2 * SECOND)
        for number in range(40)
    ]
    for repeat in range(6):
        sink.write(Batch(runs=[replace(run, counts=Counts(spans=repeat + 1)) for run in runs]))
    seen: list[str] = []
    cursor = None
    while True:
        page = reader.runs(RunFilter(where=Compare("project", "=", "paged")), 7, cursor, START)
        seen += [run.run_id for run in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            break
    ordered = sorted(runs, key=lambda run: (run.start_ns, run.run_id), reverse=True)
    assert seen == [run.run_id for run in ordered]


def test_a_run_is_found_by_what_it_is_now(sink: ClickHouseSink, reader: Reader, trace_id: str) -> None:
    before = full_run(
        trace_id, project="renamed", name="unknown", status=RunStatus.RUNNING, counts=Counts(spans=1)
    )
    sink.write(Batch(runs=[before]))
    sink.write(
        Batch(runs=[replace(before, name="known", status=RunStatus.COMPLETED, counts=Counts(spans=2))])
    )
    by_name = {
        name: len(
            reader.runs(
                RunFilter(where=Every([Compare("project", "=", "renamed"), Compare("name", "=", name)])),
                5,
                None,
                START,
            ).runs
        )
        for name in ("unknown", "known")
    }
    assert by_name == {"unknown": 0, "known": 1}


def test_a_rootless_run_is_running_and_then_incomplete(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    run = full_run(trace_id, project="rootless", has_root=False, status=RunStatus.RUNNING)
    sink.write(Batch(runs=[run]))

    def found(status: str, now_ns: int) -> int:
        return len(
            reader.runs(
                RunFilter(where=Every([Compare("project", "=", "rootless"), Compare("status", "=", status)])),
                5,
                None,
                now_ns,
            ).runs
        )

    soon, later = run.end_ns + SECOND, run.end_ns + 301 * SECOND
    assert (found("running", soon), found("incomplete", soon)) == (1, 0)
    assert (found("running", later), found("incomplete", later)) == (0, 1)


def test_set_up_and_duplicate_runs_come_on_request(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    other = f"{int(trace_id, 16) << 8:032x}"
    sink.write(
        Batch(
            runs=[
                full_run(trace_id, project="hidden", setup_only=True),
                full_run(other, project="hidden", duplicate_of=trace_id),
            ]
        )
    )
    assert reader.runs(RunFilter(where=Compare("project", "=", "hidden")), 5, None, START).runs == []
    assert (
        len(
            reader.runs(
                RunFilter(where=Compare("project", "=", "hidden"), include_all=True), 5, None, START
            ).runs
        )
        == 2
    )


# --------------------------------------------------------------------------- the schema


def test_the_exporters_columns_are_there(store: Store) -> None:
    rows = store.query("SELECT name FROM system.columns WHERE database = 'otel' AND table = 'otel_traces'")
    assert {name for (name,) in rows} >= {
        "Timestamp",
        "TraceId",
        "SpanId",
        "ParentSpanId",
        "TraceState",
        "SpanName",
        "SpanKind",
        "ServiceName",
        "ResourceAttributes",
        "ScopeName",
        "ScopeVersion",
        "SpanAttributes",
        "Duration",
        "StatusCode",
        "StatusMessage",
        "Events.Timestamp",
        "Events.Name",
        "Events.Attributes",
        "Links.TraceId",
        "Links.SpanId",
        "Links.TraceState",
        "Links.Attributes",
    }


class Book:
    """Stands for the database's list of applied steps."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, str, str, str]] = {}
        self.ran: list[str] = []

    def command(self, sql: str, parameters: dict[str, Any] | None = None) -> None:
        if parameters:
            p = parameters
            self.rows[p["version"]] = (p["version"], p["checksum"], p["state"], p["app"])
        else:
            self.ran.append(sql)

    def query(self, sql: str) -> list[tuple[int, str, str, str]]:
        return sorted(self.rows.values())


def test_steps_are_applied_once_in_order() -> None:
    book = Book()
    steps = [Migration(1, "one", "-- why\nA 1;\n\nA 2;\n"), Migration(2, "two", "B;\n")]
    assert migrate(book.command, book.query, app_version="1", steps=steps[:1]) == steps[:1]
    assert book.ran[-2:] == ["A 1", "A 2"]
    assert migrate(book.command, book.query, app_version="2", steps=steps) == steps[1:]
    assert migrate(book.command, book.query, app_version="2", steps=steps) == []


def test_a_step_that_was_cut_short_is_repeated() -> None:
    book = Book()
    step = Migration(1, "one", "A;\n")
    book.rows[1] = (1, step.checksum, "started", "1")
    assert migrate(book.command, book.query, app_version="1", steps=[step]) == [step]


def test_a_newer_or_changed_database_is_refused() -> None:
    book = Book()
    step = Migration(1, "one", "A;\n")
    book.rows[1] = (1, "other", "done", "1")
    with pytest.raises(SchemaError, match="another text"):
        migrate(book.command, book.query, app_version="1", steps=[step])
    book.rows[1] = (1, step.checksum, "done", "1")
    book.rows[2] = (2, "x", "done", "9.0")
    with pytest.raises(SchemaError, match=r"written by eddyline 9\.0"):
        migrate(book.command, book.query, app_version="1", steps=[step])


def test_no_two_steps_have_one_number() -> None:
    numbers = [step.version for step in migrations()]
    assert sorted(set(numbers)) == numbers
    assert numbers[0] == 1


# --------------------------------------------------------------------------- errors and crashes


def test_a_missing_table_is_a_permanent_error(store: Store) -> None:
    with pytest.raises(PermanentError):
        store.insert_arrow("no_such_table", ["x"], b"")
    with pytest.raises(PermanentError):
        store.query("SELECT * FROM otel.no_such_table")


def test_events_whose_runs_were_not_written_any_more_are_counted(
    store: Store, sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    """A batch is written table by table; a crash may come in between."""

    def event(run_id: str, span: int) -> Event:
        return full_event(run_id, span, tenant="crashed", part="", source="otlp")

    run = Run(run_id=trace_id, tenant="crashed", counts=Counts(spans=1, events=1))
    sink.write(Batch(events=[event(trace_id, 1)], runs=[run]))
    assert reader.totals("crashed") == (1, 1, 1)
    sink.write(Batch(events=[event(trace_id, 1), event(trace_id, 2), event(trace_id[::-1], 3)]))
    assert reader.totals("crashed") == (3, 3, 2)


def test_a_batch_under_a_known_token_leaves_no_second_row(
    store: Store, sink: ClickHouseSink, trace_id: str
) -> None:
    batch = Batch(spans=[span(trace_id, 1), span(trace_id, 2)], token=f"journal-{trace_id}")
    count = "SELECT count() FROM otel.otel_traces WHERE TraceId = {id:String}"
    engine = store._client({})
    engine.command("SYSTEM STOP MERGES otel.otel_traces")  # which would make one of two rows at any time
    try:
        for _ in range(3):
            sink.write(batch)
        sink.write(replace(batch, token=""))
        assert store.query(count, {"id": trace_id}) == [(4,)]
    finally:
        engine.command("SYSTEM START MERGES otel.otel_traces")
    count = count.replace("WHERE", "FINAL WHERE")
    assert store.query(count, {"id": trace_id}) == [(2,)]


def test_what_a_token_only_says_is_there_is_written(
    store: Store, sink: ClickHouseSink, trace_id: str
) -> None:
    """An engine that is killed in between has noted a token whose rows are not there."""
    spans = [span(trace_id, number) for number in (1, 2, 3)]
    logs = [replace(log_record(trace_id), body=body) for body in ("one", "other")]
    batch = Batch(spans=spans, logs=logs, token=f"killed-{trace_id}")

    def lose() -> None:
        for table, gone in (
            ("otel_traces", f"SpanId != '{spans[0].span_id}'"),
            ("otel_logs", "Body = 'other'"),
        ):
            store.command(f"ALTER TABLE otel.{table} DELETE WHERE TraceId = '{trace_id}' AND {gone}")

    def there() -> list[list[str]]:
        return [
            [text for (text,) in store.query(f"SELECT {what} WHERE TraceId = '{trace_id}' ORDER BY 1")]
            for what in ("SpanId FROM otel.otel_traces", "Body FROM otel.otel_logs FINAL")
        ]

    sink.write(batch)
    for _ in range(2):  # what was written anew may be lost in the same way
        lose()
        sink.write(batch)
        assert there() == [[spans[0].span_id], ["one"]]
        for _ in range(2):
            sink.write(replace(batch, again=True))
            assert there() == [[one.span_id for one in spans], ["one", "other"]]


def test_a_missing_table_is_nobody_s_row(store: Store) -> None:
    with pytest.raises(WrongStoreError):
        store.query("SELECT * FROM otel.no_such_table")


def test_rows_outlive_kill_9(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Reader, Store
from tests.sinks.test_clickhouse import full_event, full_run
store = Store.open(Path(sys.argv[1]))
if sys.argv[2] == "write":
    for number in range(1, 4):
        ClickHouseSink(store).write(Batch(events=[full_event("ab" * 16, number)], runs=[full_run("ab" * 16)]))
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
print(len(Reader(store).events(full_run("ab" * 16))))
"""
    with_schema(tmp_path / "db")
    written, read = (
        forked.run([sys.executable, "-c", script, str(tmp_path / "db"), mode]) for mode in ("write", "read")
    )
    assert written.stdout.split() == ["1", "2", "3"], written.stderr
    assert read.stdout.split() == ["3"], read.stderr


def test_values_that_no_column_can_hold_do_not_cost_the_batch(
    sink: ClickHouseSink, reader: Reader, trace_id: str
) -> None:
    odd = full_event(
        trace_id,
        1,
        name="half a pair \ud83d",
        tags=["\udc00"],
        metadata={"k": "\ud800"},
        input_tokens=2**70,
        attempts=-1,
        cost_usd=Decimal("0.12345678949"),
    )
    dear = full_event(trace_id, 2, cost_usd=Decimal("1e30"))
    sink.write(Batch(events=[odd, dear, full_event(trace_id, 3)]))
    first, second, third = reader.events(full_run(trace_id))
    assert (first.name, first.tags, first.metadata) == ("half a pair ?", ["?"], {"k": "?"})
    assert (first.input_tokens, first.attempts) == (None, 0)
    assert first.cost_usd == Decimal("0.123456789")
    assert second.cost_usd is None
    assert third == full_event(trace_id, 3)
