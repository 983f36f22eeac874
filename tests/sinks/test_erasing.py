"""Deletion in the store itself."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from sinks.base import Batch, RetryableError
from sinks.clickhouse import ClickHouseSink, Store, erasing
from sinks.clickhouse.erasing import EVERY, TIMES, Deletion, Eraser
from tests.sinks.test_clickhouse import full_event


def test_every_table_with_rows_of_runs_is_looked_after(store: Store) -> None:
    rows = store.query(
        "SELECT DISTINCT table FROM system.columns WHERE database = 'otel' AND name IN ('RunId', 'TraceId')"
        " AND table IN (SELECT name FROM system.tables WHERE database = 'otel' AND engine LIKE '%MergeTree')"
    )
    assert {table for (table,) in rows} == {*(table for table, _ in EVERY.values()), TIMES, "tombstones"}


def test_a_purge_that_takes_too_long_says_what_is_left_and_may_be_done_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    eraser = Eraser(store)
    deletion = Deletion("del_slow", "", "p", "hidden", {})
    ClickHouseSink(store).write(Batch(events=[full_event("ab" * 16)]))
    eraser.bury("", ["ab" * 16], deletion.deletion_id)
    eraser.erase(deletion)
    told: list[str] = []
    monkeypatch.setattr(erasing, "PURGE_S", 0.0)
    with pytest.raises(RetryableError, match=r"after 0 s there are still \d+ parts of tables"):
        eraser.purge(_wait, told.append)
    assert "to leave the disk" in told[0]
    monkeypatch.undo()
    assert eraser.purge(_wait, told.append)
    assert eraser.rows(deletion)["events"] == 0


def test_what_was_noted_last_holds_although_the_clock_was_set_back(store: Store) -> None:
    eraser = Eraser(store)
    store.command(
        "INSERT INTO otel.deletions (Tenant, DeletionId, Document, State, UpdatedAt)"
        " SELECT 'clock', 'del_clock', '{}', 'accepted', now64(6) + toIntervalHour(1)"
    )
    eraser.note(Deletion("del_clock", "clock", "", "purged", {}))
    assert all(deletion.deletion_id != "del_clock" for deletion in eraser.unfinished("purged"))


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def test_only_the_days_of_a_run_are_gone_through(store: Store) -> None:
    theirs, others = full_event("cd" * 16, tenant="days"), full_event("ef" * 16, tenant="days")
    day_ns = 86_400 * 10**9
    for days in (0, 20, 40):
        moved = [
            replace(event, start_ns=event.start_ns - days * day_ns, end_ns=event.end_ns - days * day_ns)
            for event in ((theirs, others) if days == 20 else (others,))
        ]
        ClickHouseSink(store).write(Batch(events=moved))
    eraser, deletion = Eraser(store), Deletion("del_days", "days", "p", "hidden", {})
    eraser.bury("days", [theirs.run_id], deletion.deletion_id)
    eraser.erase(deletion)
    assert eraser.purge(_wait, lambda what: None)
    assert eraser.left(deletion)["events"] == 0
    touched = store.query(
        "SELECT length(block_numbers.partition_id) FROM system.mutations WHERE table = 'run_events'"
        " ORDER BY create_time DESC, mutation_id DESC LIMIT 2"
    )
    assert list(touched) == [(1,), (1,)]
    assert store.query("SELECT count() FROM otel.run_events WHERE Tenant = 'days'")[0][0] == 3
