"""How the tables lie on servers: on one, or on a cluster, where each statement of the schema becomes others.

On a sharded cluster what grows with the traffic is spread by trace: `otel.runs_local` of each server holds a share of
the runs, and `otel.runs`, a Distributed table, stands for all of them, for reading as for writing. A run and all that
belongs to it lie on one shard. What is small and looked up from everywhere — settings, tombstones — lies whole on
every server. On a cluster that is only replicated everything does.

Paths in the keeper say the table's name and not its identity, so that a server that joins later finds the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DATABASE = "otel"
SHARDED: Mapping[str, str] = {
    "otel_traces": "TraceId",
    "otel_traces_trace_id_ts": "TraceId",
    "otel_logs": "RunId",
    "run_events": "RunId",
    "runs": "RunId",
    "run_values": "RunId",
    "run_rows": "RunId",
    "loop_warnings": "RunId",
    "proxy_exchanges": "TraceId",
}
"""Tables that are spread, by which column. A run's id is its trace's."""
FIRST_KEY = {"otel_logs": (24, "TraceId")}
"""The schema step that adds the column, and the column before that."""
MOVED: Mapping[str, str] = {
    "otel_traces": "IngestedAt",
    "otel_logs": "IngestedAt",
    "run_events": "IngestedAt",
    "runs": "DerivedAt",
    "loop_warnings": "IngestedAt",
    "proxy_exchanges": "IngestedAt",
}
"""Tables whose rows go to the cold volume, and the time from which their age counts."""
LOCAL = "_local"

_CREATE_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS otel\.(\w+)")
_CREATE_VIEW = re.compile(
    r"CREATE (MATERIALIZED VIEW IF NOT EXISTS|VIEW IF NOT EXISTS|OR REPLACE VIEW) otel\.(\w+)"
)
_SOURCE = re.compile(r"\bFROM otel\.(\w+)")
_ON_TABLE = re.compile(
    r"(ALTER TABLE|OPTIMIZE TABLE|DELETE FROM|DROP TABLE IF EXISTS|CREATE TABLE|SYSTEM START MERGES) otel\.(\w+)"
)
_MERGE_TREE = re.compile(r"^ENGINE = (\w*MergeTree)(?:\(([^)]*)\))?", re.M)
_COLUMNS_CHANGE = re.compile(r"\b(?:ADD|MODIFY|DROP|RENAME) COLUMN\b")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where tables lie. Without a cluster: on the server that is spoken to."""

    cluster: str = ""
    """Name of a cluster that the servers know; its servers have the macros `shard` and `replica`."""
    sharded: bool = True
    """Whether its shards share the rows."""
    storage_policy: str = ""
    """Policy of the servers that new tables get."""
    cold_volume: str = ""
    """Volume of that policy where rows go after `cold_after_days`."""
    cold_after_days: int = 0

    @property
    def spreads(self) -> bool:
        """Whether there are tables of which each server has a part."""
        return bool(self.cluster) and self.sharded

    def physical(self, table: str) -> str:
        """The table that holds the rows, on each server."""
        return table + LOCAL if self.spreads and table in SHARDED else table

    @staticmethod
    def logical(physical: str) -> str:
        return physical.removesuffix(LOCAL)

    def system(self, table: str, *, every_replica: bool = False) -> str:
        """Where to read a system table, of one server of each shard or of all."""
        if not self.cluster or not (every_replica or self.sharded):
            return f"system.{table}"
        function = "clusterAllReplicas" if every_replica else "cluster"
        return f"{function}('{self.cluster}', system.{table})"

    # ------------------------------------------------------------------- settings

    @property
    def read_settings(self) -> Mapping[str, Any]:
        # A query within a query is asked of all shards once, not of each shard by each.
        return (
            {"distributed_product_mode": "global", "optimize_skip_unused_shards": 1} if self.spreads else {}
        )

    @property
    def write_settings(self) -> Mapping[str, Any]:
        return {"distributed_foreground_insert": 1} if self.spreads else {}

    @property
    def command_settings(self) -> Mapping[str, Any]:
        if not self.cluster:
            return {}
        # Which rows go is decided once, so that all replicas lose the same.
        return {
            "allow_nondeterministic_mutations": 1,
            "mutations_execute_subqueries_on_initiator": 1,
            "mutations_max_literal_size_to_replace": 64 << 20,
        }

    # ------------------------------------------------------------------- statements

    def schema(self, statement: str, step: int) -> list[str]:
        """What a statement of schema step `step` (0: of the book of steps) is here."""
        if created := _CREATE_TABLE.match(statement):
            return self._table(created[1], statement, step)
        if not self.cluster:
            return [statement]
        if created := _CREATE_VIEW.match(statement):
            return [self._view(created[0], statement)]
        if statement.startswith("CREATE DATABASE"):
            return [statement.replace(DATABASE, f"{DATABASE}{self._on_cluster}", 1)]
        changed = [self.command(statement)]
        altered = _ON_TABLE.match(statement)
        if altered and self.physical(altered[2]) != altered[2] and _COLUMNS_CHANGE.search(statement):
            changed.append(self._distributed(altered[2], step, "CREATE OR REPLACE TABLE"))
        return changed

    def command(self, statement: str) -> str:
        """A statement on one table, as it is here: on all servers that hold rows of it."""
        if not self.cluster:
            return statement
        statement = statement.replace(
            "non_replicated_deduplication_window", "replicated_deduplication_window"
        )

        def there(found: re.Match[str]) -> str:
            what, table = found[1], f"otel.{self.physical(found[2])}"
            if what.startswith("SYSTEM"):
                return f"{what}{self._on_cluster} {table}"
            return f"{what} {table}{self._on_cluster}"

        return _ON_TABLE.sub(there, statement, count=1)

    def tiering(self, engines: Mapping[str, str]) -> list[str]:
        """What is to be done so that rows move to the cold volume as is wanted; `engines` says how the servers
        describe each physical table's."""
        statements = []
        for table, written in MOVED.items():
            engine = engines.get(self.physical(table), "")
            wanted = f"toIntervalDay({self.cold_after_days}) TO VOLUME '{self.cold_volume}'"
            if not engine or (wanted in engine if self.cold_volume else "TO VOLUME" not in engine):
                continue
            times = f"toDateTime({written}) + INTERVAL 10 YEAR"
            if self.cold_volume:
                times += f", toDateTime({written}) + INTERVAL {self.cold_after_days} DAY TO VOLUME '{self.cold_volume}'"
            statements.append(self.command(f"ALTER TABLE otel.{table} MODIFY TTL {times}"))
        return statements

    @property
    def _on_cluster(self) -> str:
        return f" ON CLUSTER '{self.cluster}'"

    def _table(self, table: str, statement: str, step: int) -> list[str]:
        if self.storage_policy and _MERGE_TREE.search(statement):
            policy = f"storage_policy = '{self.storage_policy}'"
            has_settings = re.search(r"^SETTINGS ", statement, re.M)
            statement += f", {policy}" if has_settings else f"\nSETTINGS {policy}"
        if not self.cluster:
            return [statement]
        physical = self.physical(table)
        statement = statement.replace(f"otel.{table}", f"otel.{physical}{self._on_cluster}", 1)
        statement = _MERGE_TREE.sub(self._replicated(physical), statement, count=1)
        if physical == table:
            return [statement]
        return [statement, self._distributed(table, step, "CREATE TABLE IF NOT EXISTS")]

    def _replicated(self, physical: str) -> Callable[[re.Match[str]], str]:
        if physical.endswith(LOCAL):
            place = f"'/clickhouse/tables/{{shard}}/{DATABASE}/{physical}', '{{replica}}'"
        else:  # every server is a replica of it, of whatever shard
            place = f"'/clickhouse/tables/all/{DATABASE}/{physical}', '{{shard}}-{{replica}}'"

        def engine(found: re.Match[str]) -> str:
            values = f"{place}, {found[2]}" if found[2] else place
            return f"ENGINE = Replicated{found[1]}({values})"

        return engine

    def _distributed(self, table: str, step: int, create: str) -> str:
        key = SHARDED[table]
        if table in FIRST_KEY and step < FIRST_KEY[table][0]:
            key = FIRST_KEY[table][1]
        return (
            f"{create} otel.{table}{self._on_cluster} AS otel.{table}{LOCAL}\n"
            f"ENGINE = Distributed('{self.cluster}', '{DATABASE}', '{table}{LOCAL}', cityHash64({key}))"
        )

    def _view(self, head: str, statement: str) -> str:
        statement = statement.replace(head, head + self._on_cluster, 1)
        source = _SOURCE.search(statement)
        if "MATERIALIZED" not in head or source is None or self.physical(source[1]) == source[1]:
            return statement
        # It sees what comes into its own server's part, and writes beside it.
        names: Sequence[str] = sorted(SHARDED, key=len, reverse=True)
        return re.sub(rf"\b(TO|FROM) otel\.({'|'.join(names)})\b", rf"\1 otel.\2{LOCAL}", statement)
