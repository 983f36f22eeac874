"""Runs out of every table: found, buried so that nothing of them is taken again, deleted, and looked for afterwards.

Rows are hidden at once by a lightweight delete, and leave the disk when the parts that held them are written anew
without them. Each step may be done again, so that what a crash cut short is simply repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinks.base import RetryableError, RunKey
from sinks.clickhouse.columns import TEXT, arrow_array
from sinks.clickhouse.queries.selecting import RunFilter, run_conditions
from sinks.clickhouse.store import Store

TABLES: Mapping[str, tuple[str, str]] = {
    "runs": ("runs", "RunId"),
    "warnings": ("loop_warnings", "RunId"),
    "events": ("run_events", "RunId"),
    "spans": ("otel_traces", "TraceId"),
    "logs": ("otel_logs", "RunId"),
    "exchanges": ("proxy_exchanges", "TraceId"),
    "annotations": ("annotations", "RunId"),
}
"""What a run consists of: the table, and its column of the run's id."""
INDEXES: Mapping[str, tuple[str, str]] = {
    "run_rows": ("run_rows", "RunId"),
    "run_values": ("run_values", "RunId"),
}
"""Tables that say again what those say, likewise."""
EVERY = {**TABLES, **INDEXES}
VISIBLE = ("runs", "run_rows", "warnings")
"""Without these, no list shows a run, and its own page can not be found."""
TIMES = "otel_traces_trace_id_ts"
"""Knows traces by their id alone, whoever sent them."""
LOOK_EVERY_S = 0.5
PURGE_S = 60.0
"""For so long parts are waited for at a time."""
POSTPONED_MS = 2000
MOST_PARTITIONS = 8
"""Of more, one statement for the whole table is sooner done."""
ONLY_PARTITION = "all"
"""What the engine calls that of a table without any."""
_ALL = [*(table for table, _ in EVERY.values()), TIMES]
_THEIRS = (
    "(SELECT RunId FROM otel.tombstones WHERE Tenant = {tenant:String} AND DeletionId = {deletion:String})"
)
"""Ids of the runs that a deletion is about."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion as it is kept. `document` is what the API shows of it."""

    deletion_id: str
    tenant: str
    project: str
    state: str
    document: dict[str, Any]


class Eraser:
    """Deletes from one store. May be used from any number of threads.

    Raises: RetryableError, from every method, if the store can not be reached.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # ------------------------------------------------------------------- which

    def matching(self, wanted: RunFilter, now_ns: int) -> list[str]:
        """Ids of the runs that match, and of those whose calls are counted in one of them."""
        matching, values = _matching(wanted, now_ns)
        return [run_id for (run_id,) in self._store.query(f"{matching} ORDER BY RunId", values)]

    def rows_of_matching(self, wanted: RunFilter, now_ns: int) -> dict[str, int]:
        """How many rows of each kind there are of the runs that match."""
        matching, values = _matching(wanted, now_ns)
        return self._rows(f"({matching})", values)

    def rows(self, deletion: Deletion) -> dict[str, int]:
        """Rows of each kind that can still be read."""
        return self._rows(_THEIRS, _values(deletion))

    def left(self, deletion: Deletion) -> dict[str, int]:
        """The same, with those of the tables that runs are found by."""
        return self._rows(_THEIRS, _values(deletion), EVERY)

    def _rows(
        self, run_ids: str, values: Mapping[str, Any], tables: Mapping[str, tuple[str, str]] = TABLES
    ) -> dict[str, int]:
        """Of runs by a query for their ids. A run counts once, however many versions of its row there are."""
        return {
            kind: int(
                self._store.query(
                    f"SELECT {'uniqExact(RunId)' if kind == 'runs' else 'count()'} FROM otel.{table}"
                    f" WHERE Tenant = {{tenant:String}} AND {column} IN {run_ids}",
                    values,
                )[0][0]
            )
            for kind, (table, column) in tables.items()
        }

    def totals(self, deletion: Deletion) -> tuple[int, int, int]:
        """What its runs are in `RunQueries.totals`: spans, events, runs."""
        rows = self._store.query(
            f"""
            SELECT sum(S), sum(E), count() FROM
            (
                SELECT argMax(Spans, Version) AS S, argMax(Events, Version) AS E FROM otel.runs
                WHERE Tenant = {{tenant:String}} AND RunId IN {_THEIRS} GROUP BY RunId
            )
            """,
            _values(deletion),
        )
        spans, events, runs = rows[0]
        return int(spans), int(events), int(runs)

    # ------------------------------------------------------------------- tombstones

    def bury(self, tenant: str, run_ids: Sequence[str], deletion_id: str) -> None:
        """Makes their tombstones, all or none."""
        count = len(run_ids)
        self._insert(
            "tombstones",
            {"Tenant": [tenant] * count, "RunId": list(run_ids), "DeletionId": [deletion_id] * count},
            "DeletedAt",
        )

    def buried(self) -> list[RunKey]:
        """Every deleted run."""
        rows = self._store.query("SELECT DISTINCT Tenant, RunId FROM otel.tombstones")
        return [(tenant, run_id) for tenant, run_id in rows]

    def buried_since(self, at_us: int) -> list[tuple[str, str, str, int]]:
        """(tenant, run id, id of the deletion, when) of runs that were deleted from then on, µs of its clock."""
        rows = self._store.query(
            """
            SELECT Tenant, RunId, DeletionId, toUnixTimestamp64Micro(DeletedAt) FROM otel.tombstones
            WHERE DeletedAt >= fromUnixTimestamp64Micro({at:Int64}, 'UTC')
            """,
            {"at": at_us},
        )
        return [(tenant, run_id, deletion_id, at) for tenant, run_id, deletion_id, at in rows]

    def buried_by(self, deletion: Deletion) -> list[str]:
        """Ids of the runs that this deletion is about."""
        rows = self._store.query(f"SELECT DISTINCT RunId FROM {_THEIRS} ORDER BY RunId", _values(deletion))
        return [run_id for (run_id,) in rows]

    # ------------------------------------------------------------------- what became of it

    def note(self, deletion: Deletion) -> None:
        """Keeps how the deletion stands."""
        self._insert(
            "deletions",
            {
                "Tenant": [deletion.tenant],
                "Project": [deletion.project],
                "DeletionId": [deletion.deletion_id],
                "Document": [json.dumps(deletion.document)],
                "State": [deletion.state],
            },
            "UpdatedAt",
        )

    def deletion(self, tenant: str, deletion_id: str) -> Deletion | None:
        """The deletion as it was last noted; None if there is none."""
        found = self._deletions(
            "Tenant = {tenant:String} AND DeletionId = {deletion:String}",
            {"tenant": tenant, "deletion": deletion_id},
        )
        return found[0] if found else None

    def unfinished(self, final: str) -> list[Deletion]:
        """Deletions, of all tenants, whose state is not the final one, oldest first."""
        return [deletion for deletion in self._deletions("true", {}) if deletion.state != final]

    def _deletions(self, condition: str, values: Mapping[str, Any]) -> list[Deletion]:
        rows = self._store.query(
            f"""
            SELECT DeletionId, Tenant, Project, State, Document FROM
            (
                SELECT * FROM otel.deletions WHERE {condition}
                ORDER BY UpdatedAt DESC LIMIT 1 BY Tenant, DeletionId
            )
            ORDER BY UpdatedAt
            """,
            values,
        )
        return [
            Deletion(deletion_id, tenant, project, state, json.loads(document))
            for deletion_id, tenant, project, state, document in rows
        ]

    def _insert(self, table: str, columns: Mapping[str, list[str]], time: str) -> None:
        arrays = {name: arrow_array(TEXT, texts) for name, texts in columns.items()}
        self._store.insert_latest(table, arrays, time)

    # ------------------------------------------------------------------- rows

    def hide(self, deletion: Deletion) -> None:
        """Takes the rows that make runs visible out of their tables, for all who read from now on."""
        self._delete(deletion, VISIBLE)

    def erase(self, deletion: Deletion) -> None:
        """Takes all rows out of every table, for all who read from now on."""
        self._delete(deletion, EVERY)
        self._delete_rows(
            TIMES,
            f"TraceId IN {_THEIRS}"
            f" AND TraceId NOT IN (SELECT TraceId FROM otel.otel_traces WHERE TraceId IN {_THEIRS})",
            deletion,
        )

    def _delete(self, deletion: Deletion, kinds: Iterable[str]) -> None:
        for table, column in (EVERY[kind] for kind in kinds):
            self._delete_rows(table, f"Tenant = {{tenant:String}} AND {column} IN {_THEIRS}", deletion)

    def _delete_rows(self, table: str, condition: str, deletion: Deletion) -> None:
        """Every part of what is named is written anew, if only its names: a day's parts are a second's work, those of a
        hundred days half a minute's."""
        values = _values(deletion)
        rows = self._store.query(f"SELECT DISTINCT _partition_id FROM otel.{table} WHERE {condition}", values)
        for where in _in_partitions(partition for (partition,) in rows):
            self._store.command(f"DELETE FROM otel.{table}{where} WHERE {condition}", values)

    def purge(self, stop: Callable[[float], bool], waits_for: Callable[[str], None]) -> bool:
        """Writes the parts that hold hidden rows anew, and waits until the old ones are off the disk. False if it was
        stopped before: `stop` waits for so many seconds and says whether to. `waits_for` is told what is left.

        Raises: RetryableError, too, if that took longer than `PURGE_S`.
        """
        give_up_at = time.monotonic() + PURGE_S
        for table in _ALL:
            # Old parts are kept for minutes otherwise, against a loss of power before new ones are on the disk.
            self._store.command(
                f"ALTER TABLE otel.{table} MODIFY SETTING old_parts_lifetime = 1,"
                " min_compressed_bytes_to_fsync_after_merge = 1, fsync_part_directory = 1,"
                # What failed, for want of memory as a rule, is put off for up to five minutes otherwise.
                f" max_postpone_time_for_failed_mutations_ms = {POSTPONED_MS}"
            )
        try:
            for table, partitions in self._partitions_with_hidden_rows().items():
                for where in _in_partitions(partitions):
                    self._store.command(f"ALTER TABLE otel.{table} APPLY DELETED MASK{where}")
            left = self._parts("NOT active OR has_lightweight_delete", {})
            while left:
                waiting = f"{len(left)} parts of tables{self._failure()}"
                waits_for(f"{waiting} to leave the disk")
                if time.monotonic() > give_up_at:
                    raise RetryableError(f"after {PURGE_S:.0f} s there are still {waiting}")
                for table in {table for _, table, _ in left}:
                    # Wakes what takes old parts away, which sleeps ever longer while there is nothing to merge.
                    self._store.command(f"SYSTEM START MERGES otel.{table}")
                if stop(LOOK_EVERY_S):
                    return False
                names = [name for _, _, name in left]
                left &= self._parts("name IN {parts:Array(String)}", {"parts": names})
        finally:
            for table in _ALL:
                self._store.command(
                    f"ALTER TABLE otel.{table} RESET SETTING old_parts_lifetime,"
                    " min_compressed_bytes_to_fsync_after_merge, fsync_part_directory"
                )
        return True

    def _failure(self) -> str:
        """Why parts could not be written anew, if the engine says so."""
        layout = self._store.layout
        rows = self._store.query(
            f"SELECT latest_fail_reason FROM {layout.system('mutations', every_replica=True)}"
            " WHERE database = 'otel' AND NOT is_done AND latest_fail_reason != ''"
            " AND table IN {tables:Array(String)} ORDER BY latest_fail_time DESC LIMIT 1",
            {"tables": [layout.physical(table) for table in _ALL]},
        )
        return f" (the store: {rows[0][0][:200]})" if rows else ""

    def _partitions_with_hidden_rows(self) -> dict[str, set[str]]:
        """By table."""
        layout = self._store.layout
        rows = self._store.query(
            f"SELECT DISTINCT table, partition_id FROM {layout.system('parts', every_replica=True)}"
            " WHERE database = 'otel' AND table IN {tables:Array(String)} AND active AND has_lightweight_delete",
            {"tables": [layout.physical(table) for table in _ALL]},
        )
        found: dict[str, set[str]] = {}
        for table, partition in rows:
            found.setdefault(layout.logical(table), set()).add(partition)
        return found

    def _parts(self, condition: str, values: Mapping[str, Any]) -> set[tuple[str, str, str]]:
        """(server, table, part)"""
        layout = self._store.layout
        rows = self._store.query(
            f"SELECT hostName(), table, name FROM {layout.system('parts', every_replica=True)}"
            f" WHERE database = 'otel' AND table IN {{tables:Array(String)}} AND ({condition})",
            {"tables": [layout.physical(table) for table in _ALL], **values},
        )
        return {(server, layout.logical(table), name) for server, table, name in rows}


def _in_partitions(partitions: Iterable[str]) -> list[str]:
    """The clauses of the statements that change rows of these partitions: one for each, or one for all that there
    are."""
    found = sorted(set(partitions))
    if len(found) > MOST_PARTITIONS or found == [ONLY_PARTITION]:
        return [""]
    return [f" IN PARTITION ID '{partition}'" for partition in found]


def _values(deletion: Deletion) -> dict[str, str]:
    return {"tenant": deletion.tenant, "deletion": deletion.deletion_id}


def _matching(wanted: RunFilter, now_ns: int) -> tuple[str, dict[str, Any]]:
    """A query for ids of runs, and the values that it refers to."""
    conditions, values = run_conditions(wanted, now_ns)
    newest = (
        "(SELECT *, DurationNs FROM otel.runs WHERE Tenant = {tenant:String}"
        " ORDER BY Version DESC LIMIT 1 BY RunId)"
    )
    ids = f"SELECT RunId FROM {newest} WHERE {' AND '.join(conditions)}"
    return f"SELECT RunId FROM {newest} WHERE RunId IN ({ids}) OR DuplicateOf IN ({ids})", values
