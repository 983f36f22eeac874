"""Which runs are meant, as SQL conditions on `otel.runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mappers.model import DEFAULT_TENANT, RunStatus
from sinks.clickhouse.conditions import Lookups, Sql, base_values, condition_sql
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
    run_ids: Sequence[str] | None = None
    """Only these."""

    @property
    def narrow(self) -> bool:
        """It may leave out most runs."""
        return self.since_ns is not None or self.until_ns is not None or self.where != ALWAYS


def run_conditions(
    wanted: RunFilter, now_ns: int, among: Sequence[str] | None = None, lookups: Lookups | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Conditions on rows of `otel.runs`, and the values that they refer to.

    Args:
        among: ids of the only runs that are looked at, if that is known; what other tables know is then only asked of
            these, and `among` is one of the values.
        lookups: what the conditions ask other tables; with answers, they are not asked.
    """
    conditions = ["Tenant = {tenant:String}"]
    values = base_values(wanted.tenant, now_ns)
    if among is not None:
        values["among"] = list(among)
    if wanted.since_ns is not None:
        conditions.append("Start >= fromUnixTimestamp64Nano({since_ns:Int64}, 'UTC')")
        values["since_ns"] = wanted.since_ns
    if wanted.until_ns is not None:
        conditions.append("Start < fromUnixTimestamp64Nano({until_ns:Int64}, 'UTC')")
        values["until_ns"] = wanted.until_ns
    if wanted.where != ALWAYS:
        sql = Sql(values, wanted.since_ns, among is not None, lookups or Lookups())
        conditions.append(condition_sql(wanted.where, sql))
    if wanted.run_ids is not None:
        conditions.append("RunId IN {run_ids:Array(String)}")
        values["run_ids"] = list(wanted.run_ids)
    if not wanted.include_all:
        conditions.append("NOT SetupOnly AND DuplicateOf = ''")
    return conditions, values


def newest_runs(conditions: Sequence[str], *, narrow: bool) -> str:
    """A query for the current rows of the runs that match. A row of an older version does not count, even if it
    matches.

    Args:
        narrow: the conditions leave out most runs. Of those that match in no version the newest needs not be found.
    """
    matching = " AND ".join(conditions)
    narrowed = f" AND RunId IN (SELECT RunId FROM otel.runs WHERE {matching})" if narrow else ""
    return f"""
        SELECT * FROM
        (
            SELECT *, DurationNs FROM otel.runs WHERE Tenant = {{tenant:String}}{narrowed}
            ORDER BY Version DESC LIMIT 1 BY RunId
        )
        WHERE {matching}
    """


def of_matching_runs(wanted: RunFilter, now_ns: int) -> tuple[str, dict[str, Any]]:
    """A condition on events: those of the runs that match, as far as they began within the filter's time; and the
    values that it refers to."""
    # A run with such events may have begun before, but has not ended before.
    runs_time = RunFilter(wanted.tenant, None, wanted.until_ns, wanted.where, wanted.include_all)
    conditions, values = run_conditions(runs_time, now_ns)
    found = []
    for column, name, operator, bound in (
        ("StartTime", "from_ns", ">=", wanted.since_ns),
        ("StartTime", "to_ns", "<", wanted.until_ns),
    ):
        if bound is not None:
            found.append(f"{column} {operator} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')")
            values[name] = bound
    if wanted.since_ns is not None:
        conditions.append(
            f"(End >= fromUnixTimestamp64Nano({{from_ns:Int64}}, 'UTC') OR Status = '{RunStatus.RUNNING}')"
        )
    if wanted.where != ALWAYS:
        found.append(f"RunId IN (SELECT RunId FROM ({newest_runs(conditions, narrow=True)}))")
    elif not wanted.include_all:
        found.append(not_left_out())
    return " AND ".join(found) or "true", values


def not_left_out() -> str:
    """A condition on events: those of runs that did some work and are counted in no other; refers to `tenant`. Few runs
    are left out; to know all others would take longer than to add up their events."""
    left_out = newest_runs(["Tenant = {tenant:String}", "(SetupOnly OR DuplicateOf != '')"], narrow=True)
    return f"RunId NOT IN (SELECT RunId FROM ({left_out}))"
