"""Questions over many runs of many days, older versions of them among them, against what is right by plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mappers.model import Counts, Event, Kind, Run, RunStatus
from sinks.aggregates import Asked
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Reader, RunFilter, Store
from sinks.clickhouse.queries import search
from sinks.filter import ALWAYS, Compare, Either, Every, Not

HOUR_NS = 3_600 * 10**9
TENANT = "many days"
NOW_NS = 1_790_000_000 * 10**9
DAYS = 12


@pytest.fixture(scope="module")
def runs(store: Store) -> Sequence[Run]:
    """The newest versions of runs, most of them of the last hours; many began earlier than was thought at first."""
    chance = random.Random(3)
    sink = ClickHouseSink(store)
    newest = []
    for number in range(60):
        hours = chance.choice([chance.random(), chance.random() * 20, chance.random() * 24 * DAYS])
        start_ns = NOW_NS - int(hours * HOUR_NS)
        run = Run(
            run_id=f"{number:032x}",
            tenant=TENANT,
            name=chance.choice(["a", "b"]),
            project="p",
            status=RunStatus.COMPLETED,
            has_root=True,
            start_ns=start_ns,
            end_ns=start_ns + 10**9,
            session_id=f"s{number % 11}" if number % 3 else "",
            user_id=f"u{number % 5}",
            counts=Counts(spans=3, events=3),
            setup_only=number % 17 == 0,
        )
        versions = [run]
        for earlier in range(chance.randrange(3)):
            later_start = start_ns + int(chance.random() * 30 * HOUR_NS)
            versions.append(
                replace(
                    run, start_ns=later_start, name="a", counts=Counts(spans=2 - earlier, events=2 - earlier)
                )
            )
        event = Event(
            run_id=run.run_id,
            span_id=f"{number:016x}",
            tenant=TENANT,
            project="p",
            kind=Kind.TOOL,
            tool=run.name,
            start_ns=start_ns,
            end_ns=start_ns + 10**6,
            input=f"the number is {number}.",
        )
        sink.write(Batch(runs=versions, events=[event]))
        if number % 4 == 0:  # an older word on the event, which had other content
            sink.write(Batch(events=[event]))
        newest.append(run)
    return newest


@pytest.fixture
def reader(store: Store) -> Reader:
    return Reader(store)


def paged(reader: Reader, wanted: RunFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = reader.runs(wanted, limit, cursor, NOW_NS)
        assert len(page.runs) <= limit
        found += [run.run_id for run in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [9, 500])
def test_pages_of_runs_are_those_of_the_newest_versions(
    reader: Reader, runs: Sequence[Run], limit: int
) -> None:
    edges = NOW_NS - 40 * HOUR_NS, NOW_NS - 2 * HOUR_NS
    twenties = {2, *range(20, 30)}
    # Asked of events twice, once for the contrary.
    mixed = Every(
        (
            Compare("text", "=", "is 2"),
            Either((Compare("name", "=", "b"), Not(Compare("text", "=", "is 25.")))),
        )
    )
    cases: list[tuple[RunFilter, Callable[[Run], bool]]] = [
        (RunFilter(TENANT), lambda run: True),
        (RunFilter(TENANT, include_all=True), lambda run: True),
        (RunFilter(TENANT, where=Compare("name", "=", "b")), lambda run: run.name == "b"),
        (RunFilter(TENANT, where=Not(Compare("name", "=", "b"))), lambda run: run.name == "a"),
        (RunFilter(TENANT, where=Compare("text", "=", "is 2")), lambda run: int(run.run_id, 16) in twenties),
        (
            RunFilter(TENANT, where=mixed),
            lambda run: int(run.run_id, 16) in twenties and (run.name == "b" or int(run.run_id, 16) != 25),
        ),
        (RunFilter(TENANT, *edges), lambda run: edges[0] <= run.start_ns < edges[1]),
        (RunFilter(TENANT, where=Compare("name", "=", "nobody")), lambda run: False),
    ]
    for wanted, fits in cases:
        right = [
            run.run_id for run in by_start(runs) if fits(run) and (wanted.include_all or not run.setup_only)
        ]
        assert paged(reader, wanted, limit) == right


def by_start(runs: Sequence[Run]) -> list[Run]:
    """The latest first."""
    return sorted(runs, key=lambda run: (run.start_ns, run.run_id), reverse=True)


def test_every_session_comes_once_with_the_numbers_of_its_newest_versions(
    reader: Reader, runs: Sequence[Run]
) -> None:
    right: dict[str, list[int]] = {}
    for run in runs:
        if run.session_id and not run.setup_only:
            right.setdefault(run.session_id, []).append(run.start_ns)
    found = []
    cursor = None
    while True:
        page = reader.sessions(RunFilter(TENANT), 2, cursor, NOW_NS)
        found += page.sessions
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(session.session_id for session in found) == sorted(right)
    for session in found:
        starts = right[session.session_id]
        assert (session.runs, session.start_ns, session.last_start_ns) == (
            len(starts),
            min(starts),
            max(starts),
        )


def test_sums_of_a_time_span_are_of_the_events_in_it(reader: Reader, runs: Sequence[Run]) -> None:
    since, until = NOW_NS - 30 * HOUR_NS, NOW_NS - HOUR_NS
    inside = [run for run in runs if since <= run.start_ns < until]
    for name in ("", "b"):
        where = Compare("name", "=", name) if name else ALWAYS
        wanted = RunFilter(TENANT, since, until, where)
        (row,) = reader.aggregate([Asked("runs"), Asked("tool_calls")], (), wanted, None, "UTC", NOW_NS)
        right = sum(not run.setup_only and name in ("", run.name) for run in inside)
        assert list(row.values) == [right, right]
        assert sum(group.calls for group in reader.groups("tools", wanted, 10, NOW_NS)) == right
    users = {
        group.value: group.runs
        for group in reader.groups("users", RunFilter(TENANT, since, until), 10, NOW_NS)
    }
    assert sum(users.values()) == sum(not run.setup_only for run in inside)


CHOSEN: dict[str, tuple[RunFilter, Callable[[Run], bool]]] = {
    "all": (RunFilter(TENANT, include_all=True), lambda run: True),
    "usual": (RunFilter(TENANT), lambda run: not run.setup_only),
    "by name": (
        RunFilter(TENANT, where=Compare("name", "=", "b")),
        lambda run: run.name == "b" and not run.setup_only,
    ),
}


@pytest.mark.parametrize(("chosen", "limit"), [("all", 200), ("usual", 9), ("by name", 9)])
def test_hits_of_a_search_come_once_and_in_order(
    reader: Reader, runs: Sequence[Run], chosen: str, limit: int
) -> None:
    wanted, is_meant = CHOSEN[chosen]
    assert hits(reader, wanted, limit) == [run.run_id for run in by_start(runs) if is_meant(run)]


def test_a_search_that_is_out_of_time_goes_on_where_it_was(
    reader: Reader, runs: Sequence[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "ENOUGH_S", -1.0)
    since_ns = NOW_NS - 2 * HOUR_NS
    right = [run.run_id for run in by_start(runs) if run.start_ns >= since_ns and not run.setup_only]
    assert hits(reader, RunFilter(TENANT, since_ns=since_ns), 9) == right
    assert len(right) > 9


def test_a_store_that_takes_long_over_any_question_is_gone_through_in_large_steps(
    store: Store, reader: Reader, runs: Sequence[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    query = store.query

    def slow(*asked: Any) -> Any:
        nonlocal now_s
        now_s += 0.7
        return query(*asked)

    monkeypatch.setattr(store, "query", slow)
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=lambda: now_s))
    cursor, pages = None, 0
    while not pages or cursor is not None:
        page = reader.search(["not there"], ["input"], RunFilter(TENANT), 9, cursor, NOW_NS)
        assert not page.events
        cursor, pages = page.next_cursor, pages + 1
    assert pages < DAYS


def hits(reader: Reader, wanted: RunFilter, limit: int) -> list[str]:
    """Runs of all hits, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page = reader.search(["NUMBER"], ["input"], wanted, limit, cursor, NOW_NS)
        assert len(page.events) <= limit
        found += [event.run_id for event in page.events]
        cursor = page.next_cursor
        if cursor is None:
            return found
