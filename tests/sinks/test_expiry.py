"""What has been kept long enough goes, and nothing else."""

from __future__ import annotations

import time

import pytest

from collector.pipeline.stages import Derivation
from collector.telemetry.operations import Operations
from collector.upkeep.retention import DAY_S, Policy, PolicyError, Retention
from sinks.clickhouse import Reader, Store, StoredSettings
from sinks.clickhouse.annotations import Annotation
from sinks.clickhouse.expiry import Expiry

TENANT = "expiry"
NOW = int(time.time())


def written(store: Store, run_id: str, days_ago: int, spans: int = 1) -> None:
    values = {"tenant": TENANT, "run": run_id, "at": NOW - days_ago * DAY_S, "spans": spans}
    store.command(
        "INSERT INTO otel.otel_traces (Timestamp, TraceId, SpanId, Tenant, IngestedAt) SELECT now64(9),"
        " {run:String}, toString(number), {tenant:String}, fromUnixTimestamp({at:Int64}) FROM numbers({spans:UInt32})",
        values,
    )
    store.command(
        "INSERT INTO otel.runs (RunId, Tenant, Start, End, Spans, Events, DerivedAt) SELECT"
        " {run:String}, {tenant:String}, now64(9), now64(9), {spans:UInt32}, 2, fromUnixTimestamp({at:Int64})",
        values,
    )


def left(store: Store, table: str, column: str) -> set[str]:
    rows = store.query(
        f"SELECT DISTINCT {column} FROM otel.{table} WHERE Tenant = {{t:String}}", {"t": TENANT}
    )
    return {run_id for (run_id,) in rows}


class Totals:
    """Stands for the derivation, which keeps the totals."""

    def __init__(self) -> None:
        self.gone = (0, 0, 0)

    def deleted(self, keys: object, spans: int, events: int, runs: int) -> None:
        self.gone = spans, events, runs


def test_age_is_counted_from_the_arrival_and_pinned_runs_stay(store: Store) -> None:
    for run_id, days_ago in (("fresh", 0), ("older", 20), ("oldest", 200), ("pinned", 200)):
        written(store, run_id, days_ago)
    Reader(store).annotations.put((TENANT, "pinned"), Annotation(pinned=True))
    store.command("OPTIMIZE TABLE otel.otel_traces FINAL")  # old and new in one part
    settings, totals = StoredSettings(store), Totals()
    retention = Retention(Expiry(store), settings, totals, Operations())  # type: ignore[arg-type]  # totals that remember what is gone
    expected = retention.expected(retention.policy())
    assert expected["spans"] == 2
    assert retention.hold()["spans"] == 2
    assert left(store, "otel_traces", "TraceId") == {"fresh", "pinned"}
    assert left(store, "runs", "RunId") == {"fresh", "older", "pinned"}
    assert totals.gone == (1, 2, 1)
    assert retention.hold()["spans"] == 0

    retention.set(retention.policy().changed({"runs_days": 10}), "key")
    assert Retention(Expiry(store), settings, totals, Operations()).policy().runs_days == 10  # type: ignore[arg-type]  # totals that remember what is gone
    retention.hold()
    assert left(store, "runs", "RunId") == {"fresh", "pinned"}
    settings.put("retention", None)


def test_where_room_is_short_the_oldest_goes_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for run_id, days_ago in (("three", 3), ("two", 2), ("one", 1)):
        written(store, run_id, days_ago, spans=2_000)
    written(store, "pinned too", 5)
    Reader(store).annotations.put((TENANT, "pinned too"), Annotation(pinned=True))
    for table in ("otel_traces", "runs"):  # what merges between two looks makes room by itself
        store.command(f"OPTIMIZE TABLE otel.{table} FINAL")
    expiry, settings = Expiry(store), StoredSettings(store)
    size = expiry.size_bytes()
    monkeypatch.setattr("collector.upkeep.retention.LEAST_BYTES", 1)
    retention = Retention(expiry, settings, Totals(), Operations())  # type: ignore[arg-type]  # totals that remember what is gone
    bounded = Policy(runs_days=None, max_bytes=size - 1)
    assert 2_000 <= retention.expected(bounded)["spans"] < 4_000
    retention.set(bounded, "")
    retention.hold()
    traces = left(store, "otel_traces", "TraceId")
    assert "three" not in traces
    assert {"one", "pinned too"} <= traces
    settings.put("retention", None)


@pytest.mark.parametrize(
    "document", [{"spans_days": 0}, {"spans_days": True}, {"spans_days": "14"}, {"days": 3}, {"max_bytes": 5}]
)
def test_a_policy_that_is_not_understood_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        Policy().changed(document)


def test_the_derivation_is_what_stands_for_it() -> None:
    assert Totals.deleted.__code__.co_varnames[1:5] == Derivation.deleted.__code__.co_varnames[1:5]


def test_what_people_say_holds_although_the_clock_was_set_back(store: Store) -> None:
    store.command(
        "INSERT INTO otel.annotations (Tenant, RunId, Note, UpdatedAt)"
        " SELECT 'clock', 'run', 'earlier', now64(6) + toIntervalHour(1)"
    )
    annotations = Reader(store).annotations
    assert annotations.of(("clock", "run")).note == "earlier"
    assert annotations.put(("clock", "run"), Annotation(note="later")).note == "later"
    assert annotations.put(("clock", "other"), Annotation(pinned=True)).pinned
    assert Reader(store).annotations.of(("clock", "run")).note == "later"
