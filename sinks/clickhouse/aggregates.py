"""Sums over events as SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mappers.model import Kind, Status
from mappers.transfers import UNSEEN
from sinks.aggregates import Asked

_LLM = f"Kind = '{Kind.LLM}'"
_TOOL = f"Kind = '{Kind.TOOL}'"
_FAILED = f"Status = '{Status.ERROR}'"

_SUMS: Mapping[str, str] = {
    "runs": "uniqExact(RunId)",
    "llm_calls": f"countIf({_LLM})",
    "llm_errors": f"countIf({_LLM} AND {_FAILED})",
    "tool_calls": f"countIf({_TOOL})",
    "tool_errors": f"countIf({_TOOL} AND {_FAILED})",
    "handoffs": f"countIf(Kind = '{Kind.HANDOFF}' OR HandoffSource IN {tuple(sorted(UNSEEN))})",
    "input_tokens": f"sumOrNullIf(InputTokens, {_LLM})",
    "output_tokens": f"sumOrNullIf(OutputTokens, {_LLM})",
    "cached_tokens": f"sumOrNullIf(CacheReadTokens, {_LLM})",
    "cost_usd": "sumOrNull(CostUsd)",
    "warnings": "sum(Standing)",
}
_DISTRIBUTIONS: Mapping[str, tuple[str, str]] = {
    "llm_ms": ("DurationNs / 1e6", f"{_LLM} AND Status != '{Status.RUNNING}'"),
    "ttft_ms": ("TtftMs", _LLM),
    "tool_ms": ("DurationNs / 1e6", f"{_TOOL} AND Status != '{Status.RUNNING}'"),
}
_DIMENSIONS: Mapping[str, str] = {
    "model": "if(ResponseModel != '', ResponseModel, RequestModel)",
    "provider": "Provider",
    "tool": "Tool",
    "agent": "Agent",
    "project": "Project",
    "service": "Service",
    "environment": "Environment",
    "status": "Status",
    "kind": "Kind",
    "convention": "Convention",
}


def metric_sql(asked: Asked) -> str:
    """The metric over a group of events."""
    if asked.metric in _SUMS:
        return _SUMS[asked.metric]
    value, where = _DISTRIBUTIONS[asked.metric]
    if asked.statistic == "avg":
        return f"avgOrNullIf({value}, {where})"
    return f"quantileTDigestOrNullIf(0.{asked.statistic[1:]})({value}, {where})"


def aggregate_sql(asked: Sequence[Asked], by: Sequence[str], *, bucket: str, within: str) -> str:
    """A query for rows of (start of the interval, keys, values).

    Args:
        bucket: the start of an event's interval in seconds, as SQL; "" for one row over all time.
        within: condition on the events that count.
    """
    keys = [f"{_DIMENSIONS[name]} AS Key{place}" for place, name in enumerate(by)]
    groups = [*(["Bucket"] if bucket else []), *(f"Key{place}" for place in range(len(by)))]
    # A warning is told with the event at which it set in, and so with that event's tool, agent and model.
    standing = joined = ""
    if any(one.metric == "warnings" for one in asked):
        standing = ", if(Seq = 0, Many, 0) AS Standing"
        joined = """
            LEFT JOIN
            (
                SELECT RunId, substring(OnsetEventId, 1, 16) AS SpanId, count() AS Many
                FROM otel.loop_warnings FINAL
                WHERE Tenant = {tenant:String} AND State != 'retracted' GROUP BY RunId, SpanId
            ) AS w USING (RunId, SpanId)
        """
    return f"""
        SELECT {bucket or "0"} AS Bucket, [{", ".join(f"toString(Key{place})" for place in range(len(by)))}] AS Keys,
            {", ".join(metric_sql(one) for one in asked)}
        FROM
        (
            SELECT *{standing}{"".join(f", {key}" for key in keys)} FROM
            (
                SELECT *, DurationNs FROM otel.run_events FINAL
                WHERE Tenant = {{tenant:String}} AND DuplicateOf = '' AND {within}
            ) AS e {joined}
        )
        {"GROUP BY " + ", ".join(groups) if groups else ""}
        ORDER BY Bucket, Keys LIMIT {{limit:UInt32}}
    """
