"""What can be summed up over runs and their events, and by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A number over many runs. `quantiles`: it is a distribution, asked for as `NAME:p95` or `NAME:avg`."""

    purpose: str
    quantiles: bool = False


METRICS: Mapping[str, Metric] = {
    "runs": Metric("runs with such an event"),
    "llm_calls": Metric("LLM calls"),
    "llm_errors": Metric("LLM calls that failed"),
    "tool_calls": Metric("tool calls"),
    "tool_errors": Metric("tool calls that failed"),
    "handoffs": Metric("handoffs"),
    "input_tokens": Metric("tokens read by LLM calls, cache included"),
    "output_tokens": Metric("tokens written by LLM calls, reasoning included"),
    "cached_tokens": Metric("tokens read from a cache"),
    "cost_usd": Metric("US dollars, of calls whose cost is known"),
    "llm_ms": Metric("how long LLM calls took", quantiles=True),
    "ttft_ms": Metric("time to the first token of LLM calls", quantiles=True),
    "tool_ms": Metric("how long tool calls took", quantiles=True),
    "warnings": Metric("warnings that stand, of the runs"),
}
"""By name; without anything to sum up, counts are 0 and the rest is null."""

QUANTILES = ("p50", "p90", "p95", "p99", "avg")

DIMENSIONS: Mapping[str, str] = {
    "model": "model that answered, else that was asked",
    "provider": "provider of the model",
    "tool": "tool",
    "agent": "agent whose event it is, as far as the span says",
    "project": "project",
    "service": "service",
    "environment": "deployment environment",
    "status": "how the event ended: ok, error, running",
    "kind": "kind of the event",
    "convention": "convention that its span came in",
}
"""What results can be split by; ids of users, sessions and runs are too many."""

MOST_DIMENSIONS = 2
MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One metric of a query, `llm_ms:p95` or `cost_usd`."""

    metric: str
    statistic: str = ""

    def __str__(self) -> str:
        return f"{self.metric}:{self.statistic}" if self.statistic else self.metric


@dataclass(frozen=True, slots=True)
class AggregateRow:
    """`start_ns` is the start of its interval, None without intervals; values in the order that was asked."""

    start_ns: int | None
    keys: Sequence[str]
    values: Sequence[int | float | None]
