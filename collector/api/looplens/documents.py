"""Runs, events and warnings in LoopLens' members. What it has no word for keeps ours; where it shows zero for what is
not known, so do these, since its readers take no null there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from collector.documents.render import money, rfc3339
from mappers.messages.document import parse
from mappers.model import Run, Warning
from mappers.timeline import TimelineEntry

Document = dict[str, Any]

WARNINGS = {
    "exact_repeat": "repeated_tool_call_exact_input",
    "near_repeat": "repeated_tool_call_similar_input",
    "retry_storm": "retry_storm",
    "no_progress": "no_progress",
    "empty_results": "empty_result_loop",
    "slow_step": "long_running_step",
    "handoff_loop": "handoff_bounce",
}
"""What LoopLens calls our warnings."""
STATUSES = {"incomplete": "running"}


def run_document(run: Run, status: str) -> Document:
    """A run. `status` is as it stands now."""
    return {
        "id": run.run_id,
        "name": run.name or None,
        "project": run.project,
        "status": STATUSES.get(status, status),
        "started_at": rfc3339(run.start_ns),
        "ended_at": None if status == "running" else rfc3339(run.end_ns),
        "total_cost": money(run.cost_usd) or 0,
        "total_tokens": tokens(run),
        "metadata": dict(run.metadata) or None,
    }


def summary_document(run: Run, status: str) -> Document:
    """A run in a list."""
    counts = run.counts
    return run_document(run, status) | {
        "event_count": counts.spans,
        "warning_count": counts.warnings,
        "health_score": 100 if run.health_score is None else run.health_score,
        "loop_health_status": health(run, status),
    }


def tokens(run: Run) -> int:
    return (run.usage.input or 0) + (run.usage.output or 0)


def health(run: Run, status: str) -> str:
    score = 100 if run.health_score is None else run.health_score
    if status == "failed":
        return "Failed"
    return "Healthy" if score >= 80 else "Warning" if score >= 50 else "Likely stuck"


def event_document(entry: TimelineEntry, sequence: int, *, content: bool) -> Document:
    """An entry of the timeline, which is number `sequence` in it."""
    usage = entry.usage
    known = usage is not None and (usage.input is not None or usage.output is not None)
    error = {"type": entry.error_type or None, "message": entry.error_message or None}
    return {
        "event_id": entry.event_id,
        "run_id": entry.run_id,
        "sequence": sequence,
        "timestamp": rfc3339(entry.time_ns),
        "type": entry.type,
        "agent": entry.agent or None,
        "name": entry.name or None,
        "status": entry.status,
        "model": entry.model or None,
        "tool": entry.tool or None,
        "input": _value(entry.input) if content else None,
        "output": _value(entry.output) if content else None,
        "error": error if entry.error_type or entry.error_message else None,
        "tokens": (usage.input or 0) + (usage.output or 0) if usage is not None and known else None,
        "cost": money(entry.cost_usd),
        "latency_ms": None if entry.latency_ms is None else round(entry.latency_ms),
        "parent_event_id": f"{entry.parent_span_id}.start" if entry.parent_span_id else None,
        "span_id": entry.span_id or None,
        "trace_id": entry.run_id,
        "metadata": None,
    }


def _value(text: str) -> Any:
    return parse(text) if text else None


def warning_document(warning: Warning) -> Document:
    return {
        "warning_id": warning.warning_id,
        "run_id": warning.run_id,
        "event_id": warning.onset_event_id or warning.first_event_id or None,
        "type": WARNINGS.get(warning.type, warning.type),
        "severity": warning.severity,
        "message": warning.message,
        "details": {
            "count": warning.count,
            "evidence": list(warning.evidence),
            "suggestion": warning.suggestion or None,
            "tool": warning.tool or None,
            "agent": warning.agent or None,
        },
        "created_at": rfc3339(warning.first_ns),
    }


def metrics_document(
    run: Run, status: str, entries: Sequence[TimelineEntry], warnings: Sequence[Warning]
) -> Document:
    counts = run.counts
    latencies = [entry.latency_ms for entry in entries if entry.latency_ms is not None]
    tools = Counter(entry.tool for entry in entries if entry.type == "tool_call_started" and entry.tool)
    agents = Counter(entry.agent for entry in entries if entry.agent)
    return {
        "run_id": run.run_id,
        "total_events": len(entries),
        "total_duration_sec": round(max(0, run.end_ns - run.start_ns) / 1e9, 3),
        "total_llm_calls": counts.llm_calls,
        "total_tool_calls": counts.tool_calls,
        "total_retries": counts.retries,
        "total_handoffs": counts.handoffs,
        "total_errors": sum(1 for entry in entries if entry.type.endswith("_failed")),
        "total_tokens": tokens(run),
        "estimated_cost": money(run.cost_usd) or 0,
        "average_latency_ms": round(sum(latencies) / len(latencies), 2) if latencies else 0,
        "max_latency_ms": round(max(latencies, default=0)),
        "most_used_tool": _most(tools),
        "most_active_agent": _most(agents),
        "warnings_count": len(warnings),
        "health_score": 100 if run.health_score is None else run.health_score,
        "loop_health_status": health(run, status),
    }


def _most(counter: Mapping[str, int]) -> str | None:
    return max(counter, key=lambda name: counter[name], default=None)


def received_document(event: Document, sequence: int) -> Document:
    """An event as it was sent."""
    return {name: event.get(name) for name in _RECEIVED} | {"sequence": sequence}


_RECEIVED = (
    *(
        "event_id",
        "run_id",
        "timestamp",
        "type",
        "agent",
        "name",
        "status",
        "model",
        "tool",
        "input",
        "output",
    ),
    *("error", "tokens", "cost", "latency_ms", "parent_event_id", "span_id", "trace_id", "metadata"),
)
