"""Sessions, and what runs or events have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mappers.model import Kind, RunStatus, Status
from sinks.clickhouse.conditions import STATUS
from sinks.clickhouse.queries.runs import WIDTHS_NS
from sinks.clickhouse.queries.said import NOTHING, SaidQueries
from sinks.clickhouse.queries.selecting import RunFilter, newest_runs, of_matching_runs, run_conditions
from sinks.groups import MOST_NAMED, Group, Session, Spread

SessionCursor = tuple[int, str, str]
"""Start of the latest run, project and id of the last session of a page."""


@dataclass(frozen=True, slots=True)
class SessionPage:
    sessions: Sequence[Session]
    next_cursor: SessionCursor | None
    """Set if more follow."""


@dataclass(frozen=True, slots=True)
class _Told:
    """How events tell of something."""

    value: str
    """The name, as SQL over `run_events`."""
    where: str


_CALLS = f"Kind IN ('{Kind.LLM}', '{Kind.TOOL}')"
_OF_EVENTS: Mapping[str, _Told] = {
    "services": _Told("Service", _CALLS),
    "agents": _Told("if(Agent != '', Agent, Name)", f"Kind = '{Kind.AGENT}'"),
    "tools": _Told("Tool", f"Kind = '{Kind.TOOL}'"),
    "models": _Told(
        "if(ResponseModel != '', ResponseModel, RequestModel)",
        f"Kind IN ('{Kind.LLM}', '{Kind.EMBEDDING}', '{Kind.RERANKER}')",
    ),
}
_OF_RUNS: Mapping[str, str] = {"projects": "Project", "users": "UserId"}


class GroupQueries(SaidQueries):
    def sessions(
        self, wanted: RunFilter, limit: int, cursor: SessionCursor | None, now_ns: int
    ) -> SessionPage:
        """Sessions with a run that matches, those whose matching runs are the latest first. All numbers are of the
        runs that match.

        A session's place is the start of its latest run, or where it was thought to be once: then it is told a little
        too early, but once.
        """
        found: list[tuple[SessionCursor, Session]] = []
        after = cursor
        while len(found) <= limit:
            places = self._places(wanted, limit + 1, after, now_ns)
            sessions = self._sessions(wanted, places, now_ns) if places else {}
            found += ((place, sessions[place[1:]]) for place in places if place[1:] in sessions)
            if len(places) <= limit:
                break
            after = places[-1]  # some of them match in an old version only
        page = [session for _, session in found[:limit]]
        return SessionPage(page, found[limit - 1][0] if len(found) > limit else None)

    def _places(
        self, wanted: RunFilter, limit: int, after: SessionCursor | None, now_ns: int
    ) -> list[SessionCursor]:
        """The next sessions of which some version of a run matches; most questions are answered by the last hour or
        day."""
        for width_ns in (*WIDTHS_NS, None):
            window = wanted
            if width_ns is not None:
                since_ns = (now_ns if after is None else after[0]) - width_ns
                if since_ns <= (wanted.since_ns or 0):
                    continue
                window = replace(wanted, since_ns=since_ns)
            conditions, values = run_conditions(window, now_ns)
            conditions.append("SessionId != ''")
            later = ""
            if after is not None:
                later = "HAVING (LastNs, Project, SessionId) < ({last:Int64}, {project:String}, {id:String})"
                values |= {"last": after[0], "project": after[1], "id": after[2]}
            rows = self._store.query(
                f"""
                SELECT toUnixTimestamp64Nano(max(Start)) AS LastNs, Project, SessionId FROM otel.runs
                WHERE {" AND ".join(conditions)} GROUP BY Project, SessionId {later}
                ORDER BY LastNs DESC, Project DESC, SessionId DESC LIMIT {{limit:UInt32}}
                """,
                values | {"limit": limit},
            )
            if len(rows) == limit:
                break
        return [(last_ns, project, session_id) for last_ns, project, session_id in rows]

    def _sessions(
        self, wanted: RunFilter, places: Sequence[SessionCursor], now_ns: int
    ) -> dict[tuple[str, str], Session]:
        """Sessions of these ids by project and id, as they are now."""
        conditions, values = run_conditions(wanted, now_ns)
        conditions.append("SessionId IN {sessions:Array(String)}")
        values["sessions"] = [session_id for _, _, session_id in places]
        columns = ", ".join(
            f"arraySort(groupUniqArrayArray({MOST_NAMED})({column}))"
            for column in ("Agents", "Models", "Tools")
        )
        rows = self._store.query(
            f"""
            SELECT Project, SessionId, toUnixTimestamp64Nano(max(Start)) AS LastNs,
                toUnixTimestamp64Nano(min(Start)), toUnixTimestamp64Nano(max(End)), count(),
                mapFromArrays(sumMap([{STATUS}], [toUInt64(1)]).1, sumMap([{STATUS}], [toUInt64(1)]).2),
                arraySort(groupUniqArrayIf({MOST_NAMED})(UserId, UserId != '')), {columns},
                sumOrNull(InputTokens), sumOrNull(OutputTokens), sumOrNull(CostUsd),
                sum(LlmCalls), sum(ToolCalls), sum(Errors), sum(Warnings),
                argMin(Input, Start), argMax(Output, Start), argMin(RunId, Start), argMax(RunId, Start)
            FROM ({newest_runs(conditions, narrow=True)})
            GROUP BY Project, SessionId
            """,
            values,
        )
        found = [(_session(row), *row[-2:]) for row in rows]
        silent = [
            (session, first, last)
            for session, first, last in found
            if session.llm_calls and not (session.input and session.output)
        ]
        said = (
            self.said_in(
                wanted.tenant,
                [run_id for _, *ends in silent for run_id in ends],
                min(session.start_ns for session, _, _ in silent),
                max(session.end_ns for session, _, _ in silent),
            )
            if silent
            else {}
        )
        return {
            (session.project, session.session_id): replace(
                session,
                input=session.input or said.get(first, NOTHING)[0],
                output=session.output or said.get(last, NOTHING)[1],
            )
            for session, first, last in found
        }

    def groups(self, by: str, wanted: RunFilter, limit: int, now_ns: int) -> list[Group]:
        """The values with the most calls, or runs; numbers are of the runs that match, and of their events within the
        filter's time."""
        if by in _OF_RUNS:
            return self._groups_of_runs(_OF_RUNS[by], wanted, limit, now_ns)
        return self._groups_of_events(_OF_EVENTS[by], wanted, limit, now_ns)

    def _groups_of_runs(self, value: str, wanted: RunFilter, limit: int, now_ns: int) -> list[Group]:
        conditions, values = run_conditions(wanted, now_ns)
        ended = f"{STATUS} != '{RunStatus.RUNNING}'"
        rows = self._store.query(
            f"""
            SELECT {value} AS Value, count(), count() AS Many, countIf(Status = '{RunStatus.FAILED}'),
                sumOrNull(InputTokens), sumOrNull(OutputTokens), sumOrNull(CostUsd),
                quantileTDigestOrNullIf(0.5)(DurationNs / 1e6, {ended}),
                quantileTDigestOrNullIf(0.95)(DurationNs / 1e6, {ended}),
                NULL, NULL, toUnixTimestamp64Nano(max(Start))
            FROM ({newest_runs(conditions, narrow=wanted.narrow)})
            WHERE Value != '' GROUP BY Value ORDER BY Many DESC, Value LIMIT {{limit:UInt32}}
            """,
            values | {"limit": limit},
        )
        return [_group(row) for row in rows]

    def _groups_of_events(self, told: _Told, wanted: RunFilter, limit: int, now_ns: int) -> list[Group]:
        within, values = of_matching_runs(wanted, now_ns)
        ended = f"Status != '{Status.RUNNING}'"
        rows = self._store.query(
            f"""
            SELECT {told.value} AS Value, uniqExact(RunId), count() AS Many, countIf(Status = '{Status.ERROR}'),
                sumOrNull(InputTokens), sumOrNull(OutputTokens), sumOrNull(CostUsd),
                quantileTDigestOrNullIf(0.5)(DurationNs / 1e6, {ended}),
                quantileTDigestOrNullIf(0.95)(DurationNs / 1e6, {ended}),
                quantileTDigestOrNull(0.5)(TtftMs), quantileTDigestOrNull(0.95)(TtftMs),
                toUnixTimestamp64Nano(max(StartTime))
            FROM
            (
                SELECT *, DurationNs FROM otel.run_events FINAL
                WHERE Tenant = {{tenant:String}} AND {told.where} AND {within}
            )
            WHERE DuplicateOf = '' AND Value != ''
            GROUP BY Value ORDER BY Many DESC, Value LIMIT {{limit:UInt32}}
            """,
            values | {"limit": limit},
        )
        return [_group(row) for row in rows]


def _session(row: Sequence[Any]) -> Session:
    project, session_id, last, start, end, runs, statuses, users, agents, models, tools, *rest = row
    read, wrote, cost, llm_calls, tool_calls, errors, warnings, given, answered, _, _ = rest
    return Session(
        project=project,
        session_id=session_id,
        start_ns=start,
        end_ns=end,
        last_start_ns=last,
        runs=runs,
        statuses=statuses,
        users=users,
        agents=agents,
        models=models,
        tools=tools,
        input_tokens=read,
        output_tokens=wrote,
        cost_usd=cost,
        llm_calls=llm_calls,
        tool_calls=tool_calls,
        errors=errors,
        warnings=warnings,
        input=given,
        output=answered,
    )


def _group(row: Sequence[Any]) -> Group:
    value, runs, calls, errors, read, wrote, cost, p50, p95, ttft_p50, ttft_p95, last = row
    return Group(
        value=value,
        runs=runs,
        calls=calls,
        errors=errors,
        input_tokens=read,
        output_tokens=wrote,
        cost_usd=cost,
        duration_ms=Spread(p50, p95),
        ttft_ms=Spread(ttft_p50, ttft_p95),
        last_ns=last,
    )
