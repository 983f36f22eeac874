"""Which runs are meant, as SQL conditions on `otel.runs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mappers.model import DEFAULT_TENANT
from sinks.clickhouse.conditions import Sql, base_values, condition_sql
from sinks.filter import ALWAYS, Condition


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; times are half-open [since, until)."""

    tenant: str = DEFAULT_TENANT
    since_ns: int | None = None
    until_ns: int | None = None
    where: Condition = ALWAYS
    include_all: bool = False
    """Also runs that only set something up, and runs whose calls are counted in another."""


def run_conditions(wanted: RunFilter, now_ns: int) -> tuple[list[str], dict[str, Any]]:
    conditions = ["Tenant = {tenant:String}"]
    values = base_values(wanted.tenant, now_ns)
    if wanted.since_ns is not None:
        conditions.append("Start >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')")
        values["since_ns"] = wanted.since_ns
    if wanted.until_ns is not None:
        conditions.append("Start < fromUnixTimestamp64Nano({until_ns:Int64}, 'UTC')")
        values["until_ns"] = wanted.until_ns
    if wanted.where != ALWAYS:
        conditions.append(condition_sql(wanted.where, Sql(values, wanted.since_ns)))
    if not wanted.include_all:
        conditions.append("NOT SetupOnly AND DuplicateOf = ''")
    return conditions, values
