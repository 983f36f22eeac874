"""Values and sums over many runs."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sinks.aggregates import MOST_ROWS, AggregateRow, Asked
from sinks.clickhouse.aggregates import aggregate_sql
from sinks.clickhouse.conditions import facet_sql
from sinks.clickhouse.queries.base import HOUR_S, Queries
from sinks.clickhouse.queries.selecting import RunFilter, newest_runs, of_matching_runs, run_conditions

DAY_S = 24 * HOUR_S


class AnalysisQueries(Queries):
    def facet(
        self, field: str, prefix: str, wanted: RunFilter, limit: int, now_ns: int
    ) -> list[tuple[str, int]]:
        """Values of a field that begin with the prefix, in any letter case, with how many of the runs have them;
        most frequent first. `attr` gives keys of attributes, `attr.KEY` the values of one."""
        conditions, values = run_conditions(wanted, now_ns)
        values |= {"prefix": prefix, "limit": limit}
        newest = newest_runs(conditions, narrow=wanted.narrow)
        rows = self._store.query(
            f"""
            SELECT Value, count() AS Runs FROM ({facet_sql(field, newest, values)})
            WHERE Value != '' AND startsWith(lowerUTF8(Value), lowerUTF8({{prefix:String}}))
            GROUP BY Value ORDER BY Runs DESC, Value LIMIT {{limit:UInt32}}
            """,
            values,
        )
        return [(str(value), int(runs)) for value, runs in rows]

    def aggregate(
        self,
        asked: Sequence[Asked],
        by: Sequence[str],
        wanted: RunFilter,
        interval_s: int | None,
        zone: str,
        now_ns: int,
    ) -> list[AggregateRow]:
        """Metrics over the events of the runs that match, in the filter's time; at most `MOST_ROWS` and one more.

        Args:
            interval_s: length of an interval in seconds, None for one row over all time.
            zone: IANA name of the time zone in which intervals of a day or more begin.
        """
        within, values = of_matching_runs(wanted, now_ns)
        bucket = ""
        if interval_s is not None:
            values |= {"interval": interval_s, "zone": zone}
            bucket = (
                "toUnixTimestamp(toStartOfInterval(StartTime, toIntervalSecond({interval:UInt32}), {zone:String}))"
                if interval_s < DAY_S
                else "toUnixTimestamp(toStartOfInterval(toDateTime(StartTime, {zone:String}),"
                f" toIntervalDay({interval_s // DAY_S}), {{zone:String}}))"
            )
        values["limit"] = MOST_ROWS + 1
        rows = self._store.query(aggregate_sql(asked, by, bucket=bucket, within=within), values)
        return [
            AggregateRow(
                int(start) * 10**9 if interval_s is not None else None,
                tuple(keys),
                [float(value) if isinstance(value, Decimal) else value for value in found],
            )
            for start, keys, *found in rows
        ]

    def event_times(self, wanted: RunFilter, now_ns: int) -> tuple[int, int] | None:
        """First and last start of an event of the runs that match, in ns; None if there is none."""
        conditions, values = run_conditions(wanted, now_ns)
        rows = self._store.query(
            "SELECT count(), toUnixTimestamp64Nano(min(Start)), toUnixTimestamp64Nano(max(End))"
            f" FROM otel.runs WHERE {' AND '.join(conditions)}",
            values,
        )
        count, first, last = rows[0]
        return (int(first), int(last)) if count else None
