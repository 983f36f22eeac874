"""Runs found by a value that they have, against what is right by plain Python; with the tables for it and without."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mappers.model import Counts, Run, RunStatus
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Reader, RunFilter, Store, StoredSettings, runindex
from sinks.clickhouse.annotations import Annotation
from sinks.clickhouse.erasing import Eraser
from sinks.clickhouse.queries import byvalue
from sinks.clickhouse.runindex import SETTING, TABLES, RunIndex
from sinks.filter import Compare, Condition, Either, Every, Not
from tests.sinks.test_clickhouse import full_run

HOUR_NS = 3_600 * 10**9
TENANT = "values"
NOW_NS = 1_790_000_000 * 10**9


def tool(name: str, pattern: bool = False) -> Compare:
    return Compare("tool", "=", name, pattern)


@pytest.fixture(scope="module")
def runs(store: Store) -> Sequence[Run]:
    """The newest versions of runs of many days; some began at another time, or had another tool, in older ones."""
    chance = random.Random(7)
    newest, versions = [], []
    for number in range(300):
        run = Run(
            run_id=f"{number:032x}",
            tenant=TENANT,
            name="a",
            project=chance.choice(["big", "big", "big", "small"]),
            status=RunStatus.COMPLETED if number % 4 else RunStatus.RUNNING,
            has_root=number % 4 != 0,
            start_ns=(start_ns := NOW_NS - int(chance.random() * 40 * 24 * HOUR_NS)),
            end_ns=start_ns + 10**9,
            user_id=f"u{number % 50}",
            tools=chance.sample(["search", "search_web", "fetch", "mail_100%", "mail_1000"], 2),
            models=["m"],
            tags=["t"] if number % 10 == 0 else [],
            counts=Counts(spans=9, events=9, errors=number % 3),
            setup_only=number % 17 == 0,
            duplicate_of="d" if number % 19 == 0 else "",
        )
        newest.append(run)
        versions.append(run)
        for earlier in range(chance.randrange(3)):
            shift_ns = int(chance.random() * 90 * HOUR_NS)
            versions.append(
                replace(
                    run,
                    start_ns=start_ns + shift_ns,
                    tools=["search", "gone"],
                    counts=Counts(spans=earlier, events=1),
                )
            )
    chance.shuffle(versions)
    for first in range(0, len(versions), 100):
        ClickHouseSink(store).write(Batch(runs=versions[first : first + 100]))
    return newest


@pytest.fixture(params=["all in the tables", "some in the tables", "without them"])
def reader(store: Store, runs: Sequence[Run], request: pytest.FixtureRequest) -> Reader:
    index = RunIndex(store)
    if request.param == "without them":
        index.until_us = lambda: None  # type: ignore[method-assign]  # as while an old store is worked through
    else:
        whole = request.param == "all in the tables"
        StoredSettings(store).put(SETTING, 0)
        for table in TABLES:
            store.command(f"TRUNCATE TABLE otel.{table}")
        half_us = store.query(
            "SELECT toUnixTimestamp64Micro(quantileExact(0.5)(DerivedAt)) FROM otel.runs WHERE Tenant = {t:String}",
            {"t": TENANT},
        )[0][0]
        age_s = (time.time_ns() // 1000 - half_us) / 1e6
        index.fill(lambda: False, lag_s=0.0 if whole else age_s)
    reader = Reader(store)
    reader._index = index
    return reader


def paged(reader: Reader, wanted: RunFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = reader.runs(wanted, limit, cursor, NOW_NS)
        found += [run.run_id for run in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            return found


def ids(runs: Sequence[Run], fits: Callable[[Run], bool], every: bool = False) -> list[str]:
    ordered = sorted(runs, key=lambda run: (run.start_ns, run.run_id), reverse=True)
    return [
        run.run_id for run in ordered if fits(run) and (every or not (run.setup_only or run.duplicate_of))
    ]


CASES: dict[str, tuple[Condition, Callable[[Run], bool]]] = {
    "a tool": (tool("fetch"), lambda run: "fetch" in run.tools),
    "a tool that is part of another's name": (tool("search"), lambda run: "search" in run.tools),
    "no run's tool": (tool("nothing"), lambda run: False),
    "a tool of older versions": (tool("gone"), lambda run: False),
    "a prefix": (tool("search*", True), lambda run: any(t.startswith("search") for t in run.tools)),
    "a prefix with a wildcard of the engine's": (
        tool("mail_100%*", True),
        lambda run: "mail_100%" in run.tools,
    ),
    "an end": (tool("*_web", True), lambda run: "search_web" in run.tools),
    "not a tool": (Not(tool("fetch")), lambda run: "fetch" not in run.tools),
    "a user and not a tool": (
        Every((Compare("user", "=", "u3"), Not(tool("fetch")))),
        lambda run: run.user_id == "u3" and "fetch" not in run.tools,
    ),
    "two tools and a number": (
        Every((tool("fetch"), tool("search"), Compare("errors", ">", 1.0))),
        lambda run: {"fetch", "search"} <= set(run.tools) and run.counts.errors > 1,
    ),
    "one of two": (
        Either((tool("fetch"), Compare("user", "=", "u3"))),
        lambda run: "fetch" in run.tools or run.user_id == "u3",
    ),
    "a project and how runs stand": (
        Every((Compare("project", "=", "small"), Compare("status", "=", "incomplete"))),
        lambda run: run.project == "small" and not run.has_root,
    ),
    "a tag": (Compare("tag", "=", "t"), lambda run: bool(run.tags)),
}


@pytest.mark.parametrize(("limit", "rare"), [(100, byvalue.RARE), (500, 5)], ids=["all rare", "all frequent"])
def test_the_runs_with_a_value_are_those_whose_newest_version_has_it(
    reader: Reader, runs: Sequence[Run], limit: int, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byvalue, "RARE", rare)
    monkeypatch.setattr(byvalue, "MOST_CANDIDATES", 4 * rare)
    edges = NOW_NS - 20 * 24 * HOUR_NS, NOW_NS - 5 * 24 * HOUR_NS
    for name, (where, fits) in CASES.items():
        assert paged(reader, RunFilter(TENANT, where=where), limit) == ids(runs, fits), name
        if limit == 500:
            everything = RunFilter(TENANT, *edges, where, include_all=True)
            right = [run for run in runs if edges[0] <= run.start_ns < edges[1]]
            assert paged(reader, everything, limit) == ids(right, fits, every=True), name


def test_what_people_tag_is_found_with_what_spans_tag(
    store: Store, reader: Reader, runs: Sequence[Run]
) -> None:
    tagged = next(run for run in runs if not run.tags and not run.setup_only and not run.duplicate_of)
    reader.annotations.put((TENANT, tagged.run_id), Annotation(tags=("t",)))
    found = paged(reader, RunFilter(TENANT, where=Compare("tag", "=", "t")), 50)
    assert found == ids(runs, lambda run: bool(run.tags) or run is tagged)
    reader.annotations.put((TENANT, tagged.run_id), Annotation())


def test_a_run_in_one_piece_is_the_run(store: Store) -> None:
    run = full_run("ab" * 16, tenant="packed", input='"quoted" \\ 巴黎 \n\t\x01 \u2028', duplicate_of="")
    blank = Run(run_id="0" * 32, tenant="packed", project="p")
    ClickHouseSink(store).write(Batch(runs=[run, blank]))
    reader = Reader(store)
    RunIndex(store).fill(lambda: False, lag_s=0.0)
    packed = reader.packed_runs("packed", [run.run_id, blank.run_id])
    assert packed == {one: reader.run("packed", one) for one in (run.run_id, blank.run_id)}
    assert packed[run.run_id].cost_usd == run.cost_usd


def test_what_was_deleted_is_not_put_under_its_values(store: Store) -> None:
    made = [Run(run_id=f"{number:032x}", tenant="buried", project="p", tools=["old"]) for number in range(3)]
    ClickHouseSink(store).write(Batch(runs=made))
    Eraser(store).bury("buried", [made[2].run_id], "del_filling")
    RunIndex(store).fill(lambda: False, lag_s=0.0)
    for table in TABLES:
        rows = store.query(f"SELECT DISTINCT RunId FROM otel.{table} WHERE Tenant = 'buried'")
        assert {run_id for (run_id,) in rows} == {run.run_id for run in made[:2]}


def test_runs_are_found_although_the_clock_was_set_back(store: Store) -> None:
    hour_us = 3600 * 10**6
    StoredSettings(store).put(SETTING, time.time_ns() // 1000 + hour_us)
    ClickHouseSink(store).write(Batch(runs=[Run(run_id="c1" * 16, tenant="clock", project="p", tools=["t"])]))
    RunIndex(store).fill(lambda: False, lag_s=0.0)
    assert under_values(store, "clock") == {"c1" * 16}


def test_runs_are_found_although_the_clock_was_set_back_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = RunIndex(store)
    index.fill(lambda: False, lag_s=0.0)
    ClickHouseSink(store).write(Batch(runs=[Run(run_id="c2" * 16, tenant="back", project="p", tools=["t"])]))
    # As if an hour had passed, and the clock were where it was; what came meanwhile came earlier by the clock.
    store.command(
        "INSERT INTO otel.runs (Tenant, Project, RunId, Start, End, Tools, DerivedAt)"
        " SELECT 'back', 'p', repeat('c3', 16), now64(9), now64(9), ['t'], now64(6) - toIntervalMinute(30)"
    )
    monkeypatch.setattr(runindex, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 3600))
    index.fill(lambda: False, lag_s=0.0)
    assert under_values(store, "back") == {"c2" * 16, "c3" * 16}


def under_values(store: Store, tenant: str) -> set[str]:
    """Ids of the tenant's runs that all the tables have."""
    return set.intersection(
        *(
            {
                run_id
                for (run_id,) in store.query(
                    f"SELECT DISTINCT RunId FROM otel.{table} WHERE Tenant = {{tenant:String}}",
                    {"tenant": tenant},
                )
            }
            for table in TABLES
        )
    )


def test_an_old_store_is_worked_through_before_its_tables_are_asked(
    store: Store, runs: Sequence[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runindex, "SLICE", 100)
    monkeypatch.setattr(runindex, "MOST_FRESH", 50)
    StoredSettings(store).put(SETTING, 0)
    looks = iter([False, True])
    RunIndex(store).fill(lambda: next(looks), lag_s=0.0)
    assert RunIndex(store).until_us() is None
    monkeypatch.setattr(runindex, "SLICE", 100_000)
    RunIndex(store).fill(lambda: False, lag_s=0.0)
    assert RunIndex(store).until_us() is not None
