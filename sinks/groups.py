"""Runs and their events put together by what they have in common: a session, a user, a model, a tool, …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

MOST_NAMED = 20
"""Names of one kind that a session lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Runs that share a conversation. Times in ns; sums are None where nobody told any."""

    project: str
    session_id: str
    start_ns: int
    end_ns: int
    last_start_ns: int
    """When its latest run began."""
    runs: int
    statuses: Mapping[str, int]
    """Runs by status; without those that there are none of."""
    users: Sequence[str]
    agents: Sequence[str]
    models: Sequence[str]
    tools: Sequence[str]
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    llm_calls: int
    tool_calls: int
    errors: int
    warnings: int
    input: str
    """What its first run read, and its last run wrote: previews."""
    output: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a duration in milliseconds; None if there was none."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What has one value in common. `calls` are runs for projects and users, else events: model calls, tool calls,
    turns of agents."""

    value: str
    runs: int
    calls: int
    errors: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    duration_ms: Spread = field(default_factory=Spread)
    ttft_ms: Spread = field(default_factory=Spread)
    last_ns: int = 0
