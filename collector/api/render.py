"""Model objects as the JSON that the API's contract fixes."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from mappers.assemble import settle
from mappers.model import Run, RunStatus, Usage, Warning
from mappers.timeline import TimelineEntry


def rfc3339(time_ns: int) -> str:
    """UTC with nanoseconds: `2026-11-21T09:14:02.113481000Z`."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def _milliseconds(duration_ns: int) -> float:
    return round(max(0, duration_ns) / 1e6, 6)


def _money(amount_usd: Decimal | None) -> float | None:
    return None if amount_usd is None else float(amount_usd)


def _usage(usage: Usage) -> dict[str, int | None]:
    return {
        "input": usage.input,
        "output": usage.output,
        "total": usage.total,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "reasoning": usage.reasoning,
        "embedding": usage.embedding,
    }


def run_document(run: Run, now_ns: int) -> dict[str, Any]:
    status = settle(run, now_ns)
    ended = status != RunStatus.RUNNING
    counts = run.counts
    return {
        "run_id": run.run_id,
        "project": run.project,
        "name": run.name,
        "status": status,
        "started_at": rfc3339(run.start_ns),
        "ended_at": rfc3339(run.end_ns) if ended else None,
        "duration_ms": _milliseconds(run.end_ns - run.start_ns) if ended else None,
        "session_id": run.session_id or None,
        "user_id": run.user_id or None,
        "environment": run.environment or None,
        "services": list(run.services),
        "agents": list(run.agents),
        "models": list(run.models),
        "tools": list(run.tools),
        "tags": list(run.tags),
        "usage": _usage(run.usage),
        "usage_method": run.usage_method,
        "cost_usd": _money(run.cost_usd),
        "cost_source": run.cost_source or None,
        "counts": {
            "spans": counts.spans,
            "llm_calls": counts.llm_calls,
            "llm_errors": counts.llm_errors,
            "embeddings": counts.embeddings,
            "tool_calls": counts.tool_calls,
            "tool_errors": counts.tool_errors,
            "handoffs": counts.handoffs,
            "retries": counts.retries,
            "warnings": counts.warnings,
        },
        "error": _error(run.error_type, run.error_message),
        "health": None,
        "setup_only": run.setup_only,
        "duplicate_of": run.duplicate_of or None,
        "input": run.input or None,
        "output": run.output or None,
    }


def _error(kind: str, message: str) -> dict[str, str | None] | None:
    return {"type": kind or None, "message": message or None} if kind or message else None
