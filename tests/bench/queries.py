"""Times the API's questions against a store as `build_store` fills it: median and longest in milliseconds, and the
median of the processor time that they took, which other work on the machine disturbs less.

    python -m tests.bench.queries DIRECTORY [--repeat 9]
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from collector.documents.render import entry_document
from collector.query import read_text
from mappers.model import Run
from mappers.timeline import timeline
from sinks.aggregates import Asked
from sinks.base import Batch, RetryableError
from sinks.clickhouse import ClickHouseSink, Reader, RunFilter, Store
from sinks.clickhouse.queries.search import PLACES
from sinks.clickhouse.reader import Order
from sinks.clickhouse.runindex import RunIndex

LARGE = "fedcba98" * 4
DAY_NS = 86_400 * 10**9
FILTERS = (
    "",
    "project:lab",
    "status:failed",
    "status:running",
    "name:support_agent",
    "name:no_such_name",
    "model:gpt-4o*",
    "tool:web_search",
    "tool:rare_tool",
    "tag:test",
    "session:s-1234",
    "user:u-77",
    "cost>0.019",
    "tokens>20k",
    "dur>59s",
    "errors>0",
    "warnings>0",
    "-status:completed",
    "error:rate",
    'text:"order 1234"',
    "巴黎",
)


def large_run(store: Store, reader: Reader, like: Run) -> Run:
    """A run of 1,000 events, in the middle of the others; written if it is not there."""
    if (found := reader.run("", LARGE)) is not None:
        return found
    events = reader.events(like)
    many = [
        replace(
            event, run_id=LARGE, trace_id=LARGE, span_id=f"{number:016x}", parent_span_id="", is_root=False
        )
        for number, event in enumerate(itertools.islice(itertools.cycle(events), 1000), 1)
    ]
    many[0] = replace(many[0], is_root=True)
    run = replace(like, run_id=LARGE)
    ClickHouseSink(store).write(Batch(events=many, runs=[run]))
    return run


def questions(store: Store) -> dict[str, Callable[[], object]]:
    """Questions by name."""
    reader = Reader(store)
    newest = reader.runs(RunFilter(), 1, None, time.time_ns()).runs[0]
    now_ns = newest.end_ns  # the store may have been filled long ago
    day = RunFilter(since_ns=now_ns - DAY_NS)
    asked: dict[str, Callable[[], object]] = {}
    for text in FILTERS:
        wanted = RunFilter(where=read_text(text))
        asked[f"latest 50, {text or 'no filter'}"] = lambda wanted=wanted: reader.runs(
            wanted, 50, None, now_ns
        )
    cursor = (now_ns - 7 * DAY_NS, "f" * 32)
    asked["latest 50, from a week back"] = lambda: reader.runs(RunFilter(), 50, cursor, now_ns)
    for order in (Order.COST, Order.TOKENS, Order.DURATION):
        asked[f"50 by {order.name.lower()}"] = lambda order=order: reader.runs(
            RunFilter(), 50, None, now_ns, order
        )
        asked[f"50 by {order.name.lower()}, last 24 h"] = lambda order=order: reader.runs(
            day, 50, None, now_ns, order
        )
    asked["a run and its events"] = lambda: (reader.run("", newest.run_id), reader.events(newest))
    large = large_run(store, reader, newest)
    asked["a run of 1,000 events, as the API tells it"] = lambda: (
        reader.run("", LARGE),
        [entry_document(entry, content=False) for entry in timeline(large, reader.events(large, False))],
        reader.warnings("", LARGE),
    )
    for field in ("model", "tool", "project", "user"):
        asked[f"facet {field}, 24 h"] = lambda field=field: reader.facet(field, "", day, 20, now_ns)
    series = [Asked("cost_usd"), Asked("llm_ms", "p95"), Asked("llm_calls")]
    asked["cost, p95 and calls by model and hour, 24 h"] = lambda: reader.aggregate(
        series, ("model",), day, 3600, "UTC", now_ns
    )
    asked["sessions"] = lambda: reader.sessions(RunFilter(), 50, None, now_ns)
    asked["sessions, 24 h"] = lambda: reader.sessions(day, 50, None, now_ns)
    for by in ("models", "users"):
        asked[f"{by}, 24 h"] = lambda by=by: reader.groups(by, day, 50, now_ns)
    (since_ns,) = store.query(
        "SELECT toUnixTimestamp64Nano(StartTime) FROM otel.run_events ORDER BY StartTime DESC LIMIT 1 OFFSET 1000000"
    )[0]
    for words in ("answer", "巴黎", "order 77777 of", "no such words"):
        asked[f"search for {words}, 1,000,000 events"] = lambda words=words: reader.search(
            [words], PLACES, RunFilter(since_ns=since_ns), 50, None, now_ns
        )
    asked["runs by status and hour, 24 h"] = lambda: reader.aggregate(
        [Asked("runs")], ("status",), day, 3600, "UTC", now_ns
    )
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--repeat", type=int, default=9)
    given = parser.parse_args()
    store = Store.open(given.directory)
    RunIndex(store).fill(lambda: False)
    for name, ask in questions(store).items():
        took, worked = [], []
        for _ in range(given.repeat):
            start, work = time.perf_counter(), time.process_time()
            try:
                ask()
            except RetryableError:  # longer than a query may take
                took.append(math.inf)
                break
            took.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - work) * 1000)
        figures = (statistics.median(took), max(took), statistics.median(worked or [math.inf]))
        print(*(f"{figure:9.1f}" for figure in figures), "", name, flush=True)
    store.close()


if __name__ == "__main__":
    main()
