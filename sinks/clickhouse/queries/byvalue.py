"""Runs by a value that they have: the latest of them are neighbours in `run_values`, however rare the value is; and
runs of anywhere in one piece. What was written too lately for these tables is looked for in `otel.runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mappers.assemble import settle
from mappers.model import Run
from sinks.clickhouse.annotations import NONE, StoredRun
from sinks.clickhouse.columns import RUNS, read_run, selection, unpack_run
from sinks.clickhouse.conditions import Sql, like_pattern
from sinks.clickhouse.queries.base import Queries
from sinks.clickhouse.queries.selecting import RunFilter, run_conditions
from sinks.clickhouse.runindex import FIELDS
from sinks.filter import Compare, Condition, Every, fields_of
from sinks.matching import OF_ROWS, matches

INDEXED = 20
"""From so many ids on, to look each up in the index takes longer than to read the ids of all runs (of a million: 20 ms
of processor time against 5)."""
RARE = 2_000
"""So many rows of a value are counted at most. Of patterns with more, and of several conditions each with more, the
latest runs are found sooner by looking through all."""
MOST_CANDIDATES = 4 * RARE
"""Of one page. A run is another one each time that its start was thought to be another."""

_SINCE = "DerivedAt >= fromUnixTimestamp64Micro({written:Int64}, 'UTC')"

Cursor = tuple[int | float, str]
"""Sort key and run id of the last run of a page."""


@dataclass(frozen=True, slots=True)
class Walked:
    """Runs that match, the latest first, and from where on there may be more; None: there are none."""

    runs: Sequence[Run]
    cursor: Cursor | None


class ByValueQueries(Queries):
    def latest_by_value(
        self, wanted: RunFilter, most: int, cursor: Cursor | None, now_ns: int
    ) -> Walked | None:
        """The latest runs that match, `most` or all, unless the walk became long. None if this is not the way to find
        them."""
        if not self._told_by_rows(wanted):
            return None
        until_us = self._index.until_us()
        part = self._rarest(wanted) if until_us is not None else None
        if part is None or until_us is None:
            return None
        fresh = self._fresh(wanted, until_us, cursor, now_ns)
        if len(fresh) > RARE:
            return None
        found: list[Run] = []
        looked_at = 0
        size = most + most // 4
        while looked_at < MOST_CANDIDATES:
            rows = self._candidates(wanted, part, cursor, size)
            last = rows[-1] if len(rows) == size else (-1, "")
            candidates = sorted({*rows, *(place for place in fresh if place >= last)}, reverse=True)
            fresh = [place for place in fresh if place < last]
            current = self.runs_by_id(wanted.tenant, [run_id for _, run_id in candidates])
            found += (
                run
                for start_ns, run_id in candidates
                if (run := current.get(run_id)) is not None
                # What is told of another start comes there.
                and run.start_ns == start_ns
                and _fits(wanted, run, now_ns)
            )
            if len(rows) < size:
                return Walked(found, None)
            cursor = last
            if len(found) >= most:
                break
            looked_at += size
            size *= 2
        return Walked(found, cursor)

    def _told_by_rows(self, wanted: RunFilter) -> bool:
        """Whether a run's own row says if it matches."""
        fields = set(fields_of(wanted.where))
        return (
            wanted.run_ids is None
            and not fields.isdisjoint(FIELDS)
            and fields <= OF_ROWS
            and not ("tag" in fields and self.annotations.have_tags(wanted.tenant))
        )

    def _rarest(self, wanted: RunFilter) -> Compare | None:
        """The condition of those that must hold that leaves the fewest runs."""
        parts = [part for part in _required(wanted.where) if isinstance(part, Compare) and _is_of_index(part)]
        if not parts or (parts == [wanted.where] and not parts[0].pattern):
            return parts[0] if parts else None
        values: dict[str, Any] = {"tenant": wanted.tenant}
        counted = " UNION ALL ".join(
            f"SELECT {place} AS Part, count() AS Many FROM (SELECT 1 FROM otel.run_values"
            f" WHERE {_having(part, Sql(values))} LIMIT {RARE})"
            for place, part in enumerate(parts)
        )
        many, place = min((many, place) for place, many in self._store.query(counted, values))
        return parts[place] if many < RARE else None

    def _candidates(
        self, wanted: RunFilter, part: Compare, cursor: Cursor | None, limit: int
    ) -> list[tuple[int, str]]:
        """(start, id) of the next runs of which some version has the value, the latest first."""
        values: dict[str, Any] = {"tenant": wanted.tenant, "limit": limit}
        conditions = [_having(part, Sql(values)), *older(cursor, values)]
        for operator, name, bound in ((">=", "since", wanted.since_ns), ("<", "until", wanted.until_ns)):
            if bound is not None:
                conditions.append(f"Start {operator} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')")
                values[name] = bound
        once = " LIMIT 1 BY Start, RunId" if part.pattern else ""
        rows = self._store.query(
            f"SELECT toUnixTimestamp64Nano(Start), RunId FROM otel.run_values WHERE {' AND '.join(conditions)}"
            f" ORDER BY Start DESC, RunId DESC{once} LIMIT {{limit:UInt32}}",
            values,
        )
        return [(start_ns, run_id) for start_ns, run_id in rows]

    def _fresh(
        self, wanted: RunFilter, until_us: int, cursor: Cursor | None, now_ns: int
    ) -> list[tuple[int, str]]:
        """(start, id) of runs of which a version that was written since then matches."""
        conditions, values = run_conditions(wanted, now_ns)
        conditions += [*older(cursor, values), _SINCE]
        rows = self._store.query(
            f"SELECT DISTINCT toUnixTimestamp64Nano(Start), RunId FROM otel.runs WHERE {' AND '.join(conditions)}"
            f" LIMIT {RARE + 1}",
            values | {"written": until_us},
        )
        return [(start_ns, run_id) for start_ns, run_id in rows]

    def runs_by_id(self, tenant: str, run_ids: Sequence[str]) -> dict[str, Run]:
        """The runs that there are, by id."""
        found = self.packed_runs(tenant, run_ids)
        if run_ids := [run_id for run_id in run_ids if run_id not in found]:
            found |= self._runs_by_id(tenant, run_ids)
        return {run_id: self._with_said(run) for run_id, run in found.items()}

    def _runs_by_id(self, tenant: str, run_ids: Sequence[str]) -> dict[str, Run]:
        rows = self._store.query(
            f"SELECT {selection(RUNS)} FROM otel.runs WHERE Tenant = {{tenant:String}}"
            " AND RunId IN {runs:Array(String)} ORDER BY Version DESC LIMIT 1 BY RunId"
            f" SETTINGS use_skip_indexes = {int(len(run_ids) < INDEXED)}",
            {"tenant": tenant, "runs": list(run_ids)},
        )
        return {run.run_id: run for run in map(read_run, rows)}

    def packed_runs(self, tenant: str, run_ids: Sequence[str]) -> dict[str, Run]:
        """The newest rows of these runs, as far as they are there in one piece, by id."""
        until_us = self._index.until_us()
        if until_us is None:
            return {}
        rows = self._store.query(
            "SELECT Packed FROM otel.run_rows WHERE Tenant = {tenant:String}"
            " AND RunId IN {runs:Array(String)} AND RunId NOT IN"
            f" (SELECT RunId FROM otel.runs WHERE Tenant = {{tenant:String}} AND {_SINCE})"
            " ORDER BY Version DESC LIMIT 1 BY RunId",
            {"tenant": tenant, "runs": list(run_ids), "written": until_us},
        )
        found = (unpack_run(packed) for (packed,) in rows)
        return {run.run_id: run for run in found if run is not None}

    def _with_said(self, run: Run) -> Run:
        said = self.annotations.of((run.tenant, run.run_id))
        return run if said is NONE else StoredRun.of(run, said)


def older(cursor: Cursor | None, values: dict[str, Any]) -> list[str]:
    """Conditions on runs that come after the cursor; adds what they refer to."""
    if cursor is None:
        return []
    values |= {"cursor_ns": int(cursor[0]), "cursor_id": cursor[1]}
    # The comparison of Start alone lets the engine skip parts of the table, which that of the pairs does not.
    return [
        "Start <= fromUnixTimestamp64Nano({cursor_ns:Int64}, 'UTC')",
        "(toUnixTimestamp64Nano(Start), RunId) < ({cursor_ns:Int64}, {cursor_id:String})",
    ]


def _required(condition: Condition) -> Sequence[Condition]:
    return condition.parts if isinstance(condition, Every) else [condition]


def _is_of_index(part: Compare) -> bool:
    if part.field not in FIELDS:
        return False
    text = str(part.value)
    # A key begins with what stands before the star.
    return text.find("*") == len(text) - 1 > 0 if part.pattern else text != ""


def _having(part: Compare, sql: Sql) -> str:
    text = str(part.value)
    if part.pattern:
        fits = f"Value LIKE {sql.bind(like_pattern(text), 'String')}"
    else:
        fits = f"Value = {sql.bind(text, 'String')}"
    return f"Tenant = {{tenant:String}} AND Field = {sql.bind(part.field, 'String')} AND {fits}"


def _fits(wanted: RunFilter, run: Run, now_ns: int) -> bool:
    if not wanted.include_all and (run.setup_only or run.duplicate_of):
        return False
    return matches(wanted.where, replace(run, status=settle(run, now_ns)), ())
