"""Filters as SQL over `otel.runs`. What people wrote enters the SQL as bound parameters only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.assemble import INCOMPLETE_AFTER_NS
from mappers.model import RunStatus
from sinks.filter import ATTRIBUTE_PREFIX, FIELDS, NUMERIC, Compare, Condition, Either, Every, Not, Type

STATUS = f"if(NOT HasRoot AND toUnixTimestamp64Nano(End) < {{idle_since_ns:Int64}}, '{RunStatus.INCOMPLETE}', Status)"
"""The status as `mappers.assemble.settle` would say it."""

TOTAL_TOKENS = (
    "if(InputTokens IS NULL AND OutputTokens IS NULL, NULL, ifNull(InputTokens, 0) + ifNull(OutputTokens, 0))"
)

COLUMNS: Mapping[str, str] = {
    "id": "RunId",
    "project": "Project",
    "status": STATUS,
    "name": "Name",
    "session": "SessionId",
    "user": "UserId",
    "environment": "Environment",
    "service": "Services",
    "agent": "Agents",
    "model": "Models",
    "tool": "Tools",
    "tag": "Tags",
    "convention": "Conventions",
    "error": "concat(ErrorType, ' ', ErrorMessage)",
    "cost": "CostUsd",
    "tokens": TOTAL_TOKENS,
    "input_tokens": "InputTokens",
    "output_tokens": "OutputTokens",
    "cached_tokens": "CacheReadTokens",
    "duration": f"if({STATUS} = '{RunStatus.RUNNING}', NULL, DurationNs / 1e6)",
    "spans": "Spans",
    "llm_calls": "LlmCalls",
    "llm_errors": "LlmErrors",
    "tool_calls": "ToolCalls",
    "tool_errors": "ToolErrors",
    "handoffs": "Handoffs",
    "retries": "Retries",
    "errors": "Errors",
    "warnings": "Warnings",
}
"""What a field is in a row of `otel.runs`; other fields are looked up in other tables."""

_OF_EVENTS = {"provider": "Provider", "source": "Source"}
_OF_WARNINGS = {"warning": "Type", "severity": "Severity"}


@dataclass(slots=True)
class Lookups:
    """What a condition asks other tables. To look through events takes longer than all else: who asks the same of some
    of the runs once more gives the answers along."""

    questions: list[str] = field(default_factory=list)
    """Expressions over a row of `otel.runs`, in the order in which the condition has them."""
    answers: Sequence[Sequence[str]] | None = None
    """For each of them the ids of the runs for which it is true."""


@dataclass(slots=True)
class Sql:
    """A condition under construction: the values that its text refers to."""

    values: dict[str, Any]
    since_ns: int | None = None
    """No run that is asked for has a span before this."""
    among: bool = False
    """The only runs that are asked for are those in the value `among`."""
    lookups: Lookups = field(default_factory=Lookups)

    def narrowed(self, run_id: str, time: str = "") -> str:
        """Conditions that leave out what can not be of a run that is asked for.

        Args:
            run_id: column with the run's id.
            time: column with a time of it, if there is one.
        """
        found = ""
        if time and self.since_ns is not None:
            found += f" AND {time} >= fromUnixTimestamp64Nano({self.bind(self.since_ns, 'Int64')}, 'UTC')"
        return found + (f" AND {run_id} IN {{among:Array(String)}}" if self.among else "")

    def look_up(self, question: str) -> str:
        """The question to another table as it is to be written: as it is, or as what is known of it."""
        number = len(self.lookups.questions)
        self.lookups.questions.append(question)
        if self.lookups.answers is None:
            return question
        return f"RunId IN {self.bind(list(self.lookups.answers[number]), 'Array(String)')}"

    def bind(self, value: Any, kind: str) -> str:
        """A placeholder for a value of that ClickHouse type."""
        name = f"value_{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"


def base_values(tenant: str, now_ns: int) -> dict[str, Any]:
    """The values that conditions and `STATUS` refer to by name."""
    return {"tenant": tenant, "idle_since_ns": now_ns - INCOMPLETE_AFTER_NS}


def condition_sql(condition: Condition, sql: Sql) -> str:
    """The condition as an expression that is true or false, never null, so that its contrary can be asked for."""
    match condition:
        case Every(parts):
            return _joined(parts, " AND ", "true", sql)
        case Either(parts):
            return _joined(parts, " OR ", "false", sql)
        case Not(part):
            return f"NOT {condition_sql(part, sql)}"
        case Compare():
            return _comparison(condition, sql)


def _joined(parts: Any, word: str, nothing: str, sql: Sql) -> str:
    return f"({word.join(condition_sql(part, sql) for part in parts)})" if parts else nothing


def _comparison(compare: Compare, sql: Sql) -> str:
    name = compare.field
    if name.startswith(ATTRIBUTE_PREFIX):
        return _attribute(name[len(ATTRIBUTE_PREFIX) :], compare, sql)
    if name in _OF_WARNINGS:
        return _warning(_OF_WARNINGS[name], compare, sql)
    if name in _OF_EVENTS:
        return _in_events(_fitting(compare, sql)(_OF_EVENTS[name]), sql)
    if name == "text":
        return _text(compare, sql)
    if name == "span":
        return _span(compare, sql)
    if name in ("pinned", "note"):
        return _said(compare, sql)
    column, kind = COLUMNS[name], FIELDS[name].type
    if kind in NUMERIC:
        if compare.pattern:
            return f"isNotNull({column})"
        # As decimal text: a double is not what a price compares with.
        operand = sql.bind(repr(compare.value), "String")
        number = f"toDecimal128({operand}, 9)" if kind is Type.MONEY else f"toFloat64({operand})"
        return f"ifNull({column} {compare.operator} {number}, false)"
    if kind is Type.WORDS:
        return _contains(column, compare, sql)
    if kind is Type.TEXTS:
        own = _among_texts(column, compare, sql)
        return f"({own} OR {_said(compare, sql)})" if name == "tag" else own
    return _fitting(compare, sql)(column)


def _among_texts(column: str, compare: Compare, sql: Sql) -> str:
    if not compare.pattern:
        return f"has({column}, {sql.bind(compare.value, 'String')})"
    return f"arrayExists(x -> {_fitting(compare, sql)('x')}, {column})"


def _said(compare: Compare, sql: Sql) -> str:
    """What people say of a run."""
    match compare.field:
        case "tag":
            fits = _among_texts("Tags", compare, sql)
        case "note":
            fits = _contains("Note", compare, sql)
        case _:
            fits = "Pinned"
    said = (
        "RunId IN (SELECT RunId FROM otel.annotations FINAL"
        f" WHERE Tenant = {{tenant:String}} AND {fits}{sql.narrowed('RunId')})"
    )
    return f"NOT {said}" if compare.field == "pinned" and compare.value == "false" else said


def _fitting(compare: Compare, sql: Sql) -> Callable[[str], str]:
    """How an expression is held against the value."""
    text = str(compare.value)
    if not compare.pattern:
        operand = sql.bind(text, "String")
        return lambda expression: f"{expression} = {operand}"
    if text == "*":
        return lambda expression: f"{expression} != ''"
    like = sql.bind(like_pattern(text), "String")
    return lambda expression: f"{expression} LIKE {like}"


def like_pattern(pattern: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%")


def _contains(expression: str, compare: Compare, sql: Sql) -> str:
    text = str(compare.value)
    if compare.pattern:
        return f"{expression} ILIKE {sql.bind('%' + like_pattern(text) + '%', 'String')}"
    return f"{position_of(text)}({expression}, {sql.bind(text, 'String')}) > 0"


def position_of(text: str) -> str:
    """The engine's fastest search that finds the text in any letter case: most scripts have only one."""
    if text.lower() == text.upper():
        return "position"
    return "positionCaseInsensitive" if text.isascii() else "positionCaseInsensitiveUTF8"


def _attribute(key: str, compare: Compare, sql: Sql) -> str:
    name = sql.bind(key, "String")
    fits = _fitting(compare, sql)
    either = " OR ".join(
        # The question for the key lets the engine skip what its index says has none.
        f"(mapContains({attributes}, {name}) AND {fits(f'{attributes}[{name}]')})"
        for attributes in ("SpanAttributes", "ResourceAttributes")
    )
    return _in_spans(f"({either})", sql)


def _span(compare: Compare, sql: Sql) -> str:
    return _in_spans(_fitting(compare, sql)("SpanName"), sql)


def _in_spans(condition: str, sql: Sql) -> str:
    """One of the run's spans is such."""
    return sql.look_up(
        "RunId IN (SELECT TraceId FROM otel.otel_traces"
        f" WHERE Tenant = {{tenant:String}} AND {condition}{sql.narrowed('TraceId', 'Timestamp')})"
    )


def _warning(column: str, compare: Compare, sql: Sql) -> str:
    return sql.look_up(
        "RunId IN (SELECT RunId FROM otel.loop_warnings FINAL"
        f" WHERE Tenant = {{tenant:String}} AND State != 'retracted' AND {_fitting(compare, sql)(column)}"
        f"{sql.narrowed('RunId')})"
    )


def _text(compare: Compare, sql: Sql) -> str:
    of_event = ("Name", "ErrorMessage", "Input", "Output")
    said, event = (
        " OR ".join(_contains(column, compare, sql) for column in columns)
        for columns in ((*of_event, "ErrorType"), of_event)
    )
    return f"({said} OR {_in_events(f'({event})', sql)})"


def _in_events(condition: str, sql: Sql) -> str:
    """One of the run's events is such."""
    return sql.look_up(
        "RunId IN (SELECT RunId FROM otel.run_events"
        f" WHERE Tenant = {{tenant:String}} AND {condition}{sql.narrowed('RunId', 'StartTime')})"
    )


def facet_sql(field: str, runs: str, values: dict[str, Any]) -> str:
    """A query for `Value`, one row for each run and value of the field. `runs` is a query for the runs, and `values`
    what it refers to."""
    if field == "attr" or field.startswith(ATTRIBUTE_PREFIX):
        if field == "attr":
            found = "arrayJoin(arrayConcat(mapKeys(SpanAttributes), mapKeys(ResourceAttributes)))"
        else:
            key = Sql(values).bind(field[len(ATTRIBUTE_PREFIX) :], "String")
            found = f"arrayJoin([SpanAttributes[{key}], ResourceAttributes[{key}]])"
        return (
            f"SELECT DISTINCT TraceId, {found} AS Value FROM otel.otel_traces"
            f" WHERE Tenant = {{tenant:String}} AND TraceId IN (SELECT RunId FROM ({runs}))"
        )
    if field in _OF_WARNINGS:
        return (
            f"SELECT DISTINCT RunId, {_OF_WARNINGS[field]} AS Value FROM otel.loop_warnings FINAL"
            f" WHERE Tenant = {{tenant:String}} AND State != 'retracted'"
            f" AND RunId IN (SELECT RunId FROM ({runs}))"
        )
    if field in _OF_EVENTS:
        return (
            f"SELECT DISTINCT RunId, {_OF_EVENTS[field]} AS Value FROM otel.run_events"
            f" WHERE Tenant = {{tenant:String}} AND Value != '' AND RunId IN (SELECT RunId FROM ({runs}))"
        )
    if field == "span":
        return (
            "SELECT DISTINCT TraceId, SpanName AS Value FROM otel.otel_traces"
            f" WHERE Tenant = {{tenant:String}} AND TraceId IN (SELECT RunId FROM ({runs}))"
        )
    if field == "tag":
        return (
            f"SELECT DISTINCT RunId, Value FROM (SELECT RunId, arrayJoin(Tags) AS Value FROM ({runs})"
            " UNION ALL SELECT RunId, arrayJoin(Tags) AS Value FROM otel.annotations FINAL"
            f" WHERE Tenant = {{tenant:String}} AND RunId IN (SELECT RunId FROM ({runs})))"
        )
    if field == "pinned":
        said = "SELECT RunId FROM otel.annotations FINAL WHERE Tenant = {tenant:String} AND Pinned"
        return f"SELECT if(RunId IN ({said}), 'true', 'false') AS Value FROM ({runs})"
    column = COLUMNS[field]
    if FIELDS[field].type is Type.TEXTS:
        column = f"arrayJoin({column})"
    return f"SELECT {column} AS Value FROM ({runs})"
