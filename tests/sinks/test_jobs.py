"""Mapping anew: stored spans become what today's mappers make of them, and a restart goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from collector.deriver.deriver import Deriver
from collector.otlp import decode_traces
from collector.pipeline.order import WriteOrder
from collector.pipeline.stages import Derivation, Totals
from collector.telemetry.operations import Operations
from collector.upkeep.jobs import SETTING, BusyError, Job, Jobs
from collector.upkeep.rewriting import Rewriter
from mappers.model import Kind
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Reader, Store, StoredSettings
from tests import told
from tests.corpus import captured
from tests.mappers.spans import captured_logs

TENANT = "remap"


def jobs_on(store: Store) -> Jobs:
    reader = Reader(store)
    derivation = Derivation(Deriver(reader, max_events=10_000), reader, Totals())
    rewriter = Rewriter(WriteOrder(), derivation, ClickHouseSink(store))
    return Jobs(reader, StoredSettings(store), rewriter, Normalizer, Operations())


def ended(jobs: Jobs) -> Job:
    deadline = time.monotonic() + 60
    while jobs.last is not None and jobs.last.state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert jobs.last is not None
    return jobs.last


@pytest.fixture
def misread(store: Store) -> list[str]:
    """Runs whose events were made by a mapper that understood nothing."""
    run_ids = [f"{number:02x}" * 16 for number in (201, 202, 203)]
    sink, reader = ClickHouseSink(store), Reader(store)
    for run_id in run_ids:
        spans = decode_traces(told.run(run_id, "hello"))
        for span in spans:
            span.tenant = TENANT
        events = [Normalizer([]).normalize(span) for span in spans]
        runs = Deriver(reader, max_events=100).derive(events, batch=1, stored=0).runs
        sink.write(Batch(spans=spans, events=events, runs=runs))
        run = reader.run(TENANT, run_id)
        assert run is not None
        assert run.counts.llm_calls == 0
    return run_ids


def read_anew(store: Store, run_ids: list[str]) -> list[tuple[int, int, Any]]:
    runs = Reader(store).runs_by_id(TENANT, run_ids)
    return [
        (run.counts.llm_calls, run.counts.tool_calls, run.usage.input)
        for run in map(runs.__getitem__, run_ids)
    ]


def test_stored_spans_are_mapped_again(store: Store, misread: list[str]) -> None:
    jobs = jobs_on(store)
    job = jobs.remap(0)
    with pytest.raises(BusyError):
        jobs.compact()
    assert ended(jobs).state == "done"
    assert job.done == job.total >= 3
    assert read_anew(store, misread) == [(1, 1, 100)] * 3
    kinds = {event.kind for event in Reader(store).events_of(TENANT, misread)[misread[0]]}
    assert kinds == {Kind.AGENT, Kind.LLM, Kind.TOOL}
    assert StoredSettings(store).get(SETTING) is None


def test_what_was_cut_short_goes_on(store: Store, misread: list[str]) -> None:
    first = jobs_on(store)
    first._rewriter.stopping.set()
    first.remap(0)
    assert ended(first).state == "stopped"
    assert StoredSettings(store).get(SETTING) is not None
    second = jobs_on(store)
    second.start()
    assert ended(second).state == "done"
    assert second.last is not None
    assert second.last.job_id == first.last.job_id if first.last else False
    assert read_anew(store, misread) == [(1, 1, 100)] * 3


def test_compaction_merges_every_table(store: Store, misread: list[str]) -> None:
    jobs = jobs_on(store)
    jobs.compact()
    assert ended(jobs).state == "done"
    parts = store.query(
        "SELECT max(c) FROM (SELECT count() AS c FROM system.parts WHERE active AND database = 'otel'"
        " GROUP BY table, partition)"
    )
    assert parts[0][0] == 1


def test_what_log_records_tell_is_mapped_again(store: Store) -> None:
    sink, reader = ClickHouseSink(store), Reader(store)
    records = captured_logs(next(one for one in captured() if str(one) == "codex/cli/tools"))
    fresh = RecordReader(Normalizer())
    events = []
    for record in records:
        record.tenant = TENANT
        event = fresh.event(record)
        record.run_id = event.run_id if event is not None else fresh.run_of(record)
        if event is not None:
            events.append(event)
    misread = [replace(event, kind=Kind.OTHER, operation="") for event in events]
    runs = Deriver(reader, max_events=1000).derive(misread, batch=1, stored=0).runs
    sink.write(Batch(logs=records, events=misread, runs=runs))
    (run_id,) = {event.run_id for event in events}
    before = reader.runs_by_id(TENANT, [run_id])[run_id]
    jobs = jobs_on(store)
    jobs.remap(0)
    assert ended(jobs).state == "done"
    after = reader.runs_by_id(TENANT, [run_id])[run_id]
    assert (before.counts.llm_calls, before.counts.tool_calls) == (0, 0)
    assert (after.counts.llm_calls, after.counts.tool_calls) == (3, 2)
    assert len(reader.events_of(TENANT, [run_id])[run_id]) == len(events)
