"""Full text: events by what they read and wrote.

There is no index of words: words are not what Chinese is made of. Previews are read, newest first, in windows that grow
as far as the time for one answer allows; a million of them take about a third of a second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mappers.model import Event, Kind
from sinks.clickhouse.columns import EVENTS, read_event, selection
from sinks.clickhouse.conditions import Sql, position_of
from sinks.clickhouse.queries.base import Queries
from sinks.clickhouse.queries.selecting import RunFilter, not_left_out, of_matching_runs
from sinks.filter import ALWAYS

PLACES = ("input", "output", "tool", "error")
"""Where to look: what events read, what they wrote, either of these of tools, and what went wrong."""

SearchCursor = tuple[int, str, str, int]
"""Start, run id, span id and number of the last hit; the rest empty where a page ended between two hits."""

ENOUGH_S = 2.0
"""No new window is begun after so long."""
FIRST_WINDOW_NS = 3_600 * 10**9
WINDOW_S = 0.4
"""How long one window should take, beyond what any question takes: the next is made larger or smaller by that."""
MOST_GROWTH = 8.0

_TOOL = f"Kind IN ('{Kind.TOOL}', '{Kind.HANDOFF}')"
_COLUMNS = {
    "input": ("Input",),
    "output": ("Output",),
    "tool": (f"if({_TOOL}, Input, '')", f"if({_TOOL}, Output, '')"),
    "error": ("ErrorMessage", "ErrorType"),
}


_KEY = "toUnixTimestamp64Nano(StartTime), RunId, SpanId, Seq"
_ORDER = "StartTime DESC, RunId DESC, SpanId DESC, Seq DESC"


@dataclass(frozen=True, slots=True)
class SearchPage:
    events: Sequence[Event]
    next_cursor: SearchCursor | None
    """Set if more may follow."""
    searched_to_ns: int | None
    """Events before that were not looked at; None: all that there are were."""


class SearchQueries(Queries):
    def search(
        self,
        terms: Sequence[str],
        places: Sequence[str],
        wanted: RunFilter,
        limit: int,
        cursor: SearchCursor | None,
        now_ns: int,
    ) -> SearchPage:
        """Events that have every term in one of these places, in any letter case; the newest first.

        Args:
            wanted: whose events, and when they began.
        """
        asked = time.monotonic()
        oldest_ns, newest_ns = self._event_range()
        began = time.monotonic()
        least_s = began - asked
        until_ns = min(wanted.until_ns or newest_ns + 1, newest_ns + 1)
        since_ns = max(wanted.since_ns or oldest_ns, oldest_ns)
        if cursor is not None:
            until_ns = min(until_ns, cursor[0] + 1)
        width_ns = float(FIRST_WINDOW_NS)
        most = 2 * (limit + 1)
        rows: list[SearchCursor] = []
        found: list[Event] = []
        while until_ns > since_ns:
            from_ns = max(since_ns, until_ns - int(width_ns))
            window = replace(wanted, since_ns=from_ns, until_ns=until_ns)
            started = time.monotonic()
            more = self._rows_with(terms, places, window, most, cursor, now_ns)
            took = time.monotonic() - started
            # A store that is far away or busy takes long over the smallest window, and would be gone through in steps
            # that become ever smaller.
            least_s = min(least_s, took)
            rows += more
            if len(found) + len(rows) > limit:
                found += self._events_with(terms, places, wanted, rows)
                rows = []
            has_time = time.monotonic() - began <= ENOUGH_S
            if len(more) == most and len(found) <= limit:
                cursor = more[-1]  # most were old versions or are left out, and the window has more
                if has_time:
                    continue
                return SearchPage(found, cursor, cursor[0])
            until_ns = from_ns
            if len(found) > limit or not has_time:
                break
            width_ns *= min(max(WINDOW_S / max(took - least_s, 0.001), 0.5), MOST_GROWTH)
        if rows:
            found += self._events_with(terms, places, wanted, rows)
        page = found[:limit]
        if len(found) > limit:
            last = page[-1]
            return SearchPage(page, (last.start_ns, last.run_id, last.span_id, last.seq), last.start_ns)
        if until_ns > since_ns:
            return SearchPage(page, (until_ns - 1, "~", "", 0), until_ns)
        return SearchPage(page, None, None)

    def _event_range(self) -> tuple[int, int]:
        """First and last start of all events; the engine knows it without reading."""
        rows = self._store.query(
            "SELECT toUnixTimestamp64Nano(min(StartTime)), toUnixTimestamp64Nano(max(StartTime)) FROM otel.run_events"
        )
        first, last = rows[0]
        return int(first), int(last)

    def _rows_with(
        self,
        terms: Sequence[str],
        places: Sequence[str],
        window: RunFilter,
        limit: int,
        cursor: SearchCursor | None,
        now_ns: int,
    ) -> list[SearchCursor]:
        """The first rows that match, in whatever version. Of all rows only what is looked through is read, and what
        else they must be is asked of those that match: without conditions on runs, when their events are read."""
        within = RunFilter(window.tenant, window.since_ns, window.until_ns, include_all=True)
        in_time, values = of_matching_runs(within, now_ns)
        rest = []
        if window.where != ALWAYS:
            of_runs, values = of_matching_runs(window, now_ns)  # with the same times
            rest.append(of_runs)
        first = ["Tenant = {tenant:String}", in_time, _matching(terms, places, Sql(values))]
        if cursor is not None:
            rest.append(f"({_KEY}) < ({{at:Int64}}, {{run:String}}, {{span:String}}, {{seq:UInt16}})")
            values |= {"at": cursor[0], "run": cursor[1], "span": cursor[2], "seq": cursor[3]}
        rows = self._store.query(
            f"SELECT {_KEY} FROM otel.run_events PREWHERE {' AND '.join(first)} WHERE {' AND '.join(rest) or 'true'}"
            f" ORDER BY {_ORDER} LIMIT {{limit:UInt32}}",
            values | {"limit": limit},
        )
        return [(at, run_id, span_id, seq) for at, run_id, span_id, seq in rows]

    def _events_with(
        self, terms: Sequence[str], places: Sequence[str], wanted: RunFilter, rows: Sequence[SearchCursor]
    ) -> list[Event]:
        """The events of these rows that match in their newest version."""
        of_runs = "true" if wanted.include_all or wanted.where != ALWAYS else not_left_out()
        values = {
            "tenant": wanted.tenant,
            "runs": [run_id for _, run_id, _, _ in rows],
            "spans": [span_id for _, _, span_id, _ in rows],
            # With the hours, of a run only its place in the table is read.
            "starts": [at for at, _, _, _ in rows],
            "from_ns": rows[-1][0],
            "to_ns": rows[0][0],
        }
        found = self._store.query(
            f"""
            SELECT {selection(EVENTS)} FROM
            (
                SELECT * FROM otel.run_events
                WHERE Tenant = {{tenant:String}} AND RunId IN {{runs:Array(String)}}
                    AND SpanId IN {{spans:Array(String)}}
                    AND toStartOfHour(StartTime) IN
                        (SELECT toStartOfHour(fromUnixTimestamp64Nano(arrayJoin({{starts:Array(Int64)}}), 'UTC')))
                    AND StartTime >= fromUnixTimestamp64Nano({{from_ns:Int64}}, 'UTC')
                    AND StartTime <= fromUnixTimestamp64Nano({{to_ns:Int64}}, 'UTC')
                ORDER BY IngestedAt DESC LIMIT 1 BY RunId, SpanId, Seq
            )
            WHERE DuplicateOf = '' AND Part = '' AND {_matching(terms, places, Sql(values))} AND {of_runs}
            ORDER BY {_ORDER}
            """,
            values,
        )
        meant = set(rows)
        events = [read_event(row) for row in found]
        return [
            event for event in events if (event.start_ns, event.run_id, event.span_id, event.seq) in meant
        ]


def _matching(terms: Sequence[str], places: Sequence[str], sql: Sql) -> str:
    if {"input", "output"} <= set(places):
        places = [place for place in places if place != "tool"]  # has been looked at
    columns = [column for place in places for column in _COLUMNS[place]]
    found = []
    for term in terms:
        function, text = position_of(term), sql.bind(term, "String")
        found.append(f"({' OR '.join(f'{function}({column}, {text}) > 0' for column in columns)})")
    return " AND ".join(found)
