"""Model objects as the JSON that the API's contract fixes."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any, cast

from collector.documents import models
from mappers.assemble import settle
from mappers.model import Run, RunStatus, Usage, Warning
from mappers.timeline import TimelineEntry
from sinks.clickhouse.annotations import NONE, StoredRun


def rfc3339(time_ns: int) -> str:
    """UTC with nanoseconds: `2026-11-21T09:14:02.113481000Z`."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def milliseconds(duration_ns: int) -> float:
    return round(max(0, duration_ns) / 1e6, 6)


def money(amount_usd: Decimal | None) -> float | None:
    return None if amount_usd is None else float(amount_usd)


def _usage(usage: Usage) -> models.Usage:
    return {
        "input": usage.input,
        "output": usage.output,
        "total": usage.total,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "reasoning": usage.reasoning,
        "embedding": usage.embedding,
    }


def run_document(run: Run, now_ns: int, *, content: bool) -> models.Run:
    """A run; what it read and wrote only with `content`."""
    status = settle(run, now_ns)
    ended = status != RunStatus.RUNNING
    counts = run.counts
    said = run.said if isinstance(run, StoredRun) else NONE
    return {
        "run_id": run.run_id,
        "project": run.project,
        "name": run.name,
        "status": status,
        "started_at": rfc3339(run.start_ns),
        "ended_at": rfc3339(run.end_ns) if ended else None,
        "duration_ms": milliseconds(run.end_ns - run.start_ns) if ended else None,
        "session_id": run.session_id or None,
        "user_id": run.user_id or None,
        "environment": run.environment or None,
        "services": list(run.services),
        "agents": list(run.agents),
        "models": list(run.models),
        "tools": list(run.tools),
        "tags": list(dict.fromkeys([*run.tags, *said.tags])),
        "note": said.note or None,
        "pinned": said.pinned,
        "usage": _usage(run.usage),
        "usage_method": run.usage_method,
        "cost_usd": money(run.cost_usd),
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
            "unpriced_calls": counts.unpriced_calls,
        },
        "error": _error(run.error_type, run.error_message),
        "health": {
            "score": run.health_score,
            "label": run.health_label or None,
            "reasons": list(run.health_reasons),
        },
        "top_warning": {"type": run.top_warning, "severity": run.top_severity} if run.top_warning else None,
        "setup_only": run.setup_only,
        "duplicate_of": run.duplicate_of or None,
        "input": (content and run.input) or None,
        "output": (content and run.output) or None,
    }


def _error(kind: str, message: str) -> models.Error | None:
    return {"type": kind or None, "message": message or None} if kind or message else None


def entry_document(entry: TimelineEntry, *, content: bool, seq: int | None = None) -> models.Event:
    """One entry of a run's timeline, which is number `seq` in it; inputs and outputs only with `content`."""
    document: models.Event = {
        "event_id": entry.event_id,
        "type": entry.type,
        "run_id": entry.run_id,
        "span_id": entry.span_id or None,
        "parent_span_id": entry.parent_span_id or None,
        "time": rfc3339(entry.time_ns),
        "kind": entry.kind or None,
        "name": entry.name,
        "agent": entry.agent or None,
        "provider": entry.provider or None,
        "model": entry.model or None,
        "operation": entry.operation or None,
        "tool": entry.tool or None,
        "tool_call_id": entry.tool_call_id or None,
        "status": entry.status,
        "usage": _usage(entry.usage) if entry.usage else None,
        "cost_usd": money(entry.cost_usd),
        "latency_ms": entry.latency_ms,
        "ttft_ms": entry.ttft_ms,
        "finish_reasons": list(entry.finish_reasons),
        "error": _error(entry.error_type, entry.error_message),
        "handoff": {
            "from": entry.handoff_from or None,
            "to": entry.handoff_to or None,
            "source": entry.handoff_source,
        }
        if entry.handoff_source
        else None,
        "convention": entry.convention or None,
        "duplicate_of": entry.duplicate_of or None,
    }
    if seq is not None:
        document["seq"] = seq
    if content:
        document |= cast("models.Event", _content(entry))
    return document


def _content(entry: TimelineEntry) -> models.EventContent:
    """What only who looks at one call wants to know of it."""
    content: models.EventContent = {"input": entry.input or None, "output": entry.output or None}
    event = entry.event
    if event is None:
        return content
    details: models.EventContent = {
        "response_id": event.response_id or None,
        "parameters": dict(event.parameters),
        "offered_tools": list(event.offered_tools),
        "tool_requests": [
            {"id": request.id or None, "name": request.name} for request in event.tool_requests
        ],
        "prompt": {"name": event.prompt_name or None, "version": event.prompt_version or None}
        if event.prompt_name or event.prompt_version
        else None,
        "documents": [{"id": document.id or None, "score": document.score} for document in event.documents],
        "embedding_dimensions": event.embedding_dimensions,
        "audio_tokens": {"input": event.audio_input_tokens, "output": event.audio_output_tokens},
        "web_searches": event.web_searches,
        "http_status": event.http_status,
        "service_tier": event.service_tier or None,
        "cost_source": event.cost_source or None,
        "price_version": event.price_version or None,
        "tags": list(event.tags),
        "metadata": dict(event.metadata),
    }
    content.update(details)
    return content


def span_document(span: dict[str, Any]) -> models.Span:
    """A stored span, with its events and links as lists of objects."""
    return {
        "trace_id": span["trace_id"],
        "span_id": span["span_id"],
        "parent_span_id": span["parent_span_id"] or None,
        "trace_state": span["trace_state"] or None,
        "name": span["name"],
        "kind": span["kind"],
        "started_at": rfc3339(span["start_ns"]),
        "duration_ms": milliseconds(span["duration_ns"]),
        "status": {"code": span["status_code"], "message": span["status_message"] or None},
        "project": span["project"],
        "resource": span["resource"],
        "scope": {
            "name": span["scope_name"],
            "version": span["scope_version"] or None,
            "attributes": span["scope"],
        },
        "attributes": span["attributes"],
        "events": [
            {"time": rfc3339(time_ns), "name": name, "attributes": attributes}
            for time_ns, name, attributes in zip(
                span["event_times_ns"], span["event_names"], span["event_attributes"], strict=True
            )
        ],
        "links": [
            {"trace_id": trace_id, "span_id": span_id, "attributes": attributes}
            for trace_id, span_id, attributes in zip(
                span["link_trace_ids"], span["link_span_ids"], span["link_attributes"], strict=True
            )
        ],
    }


def record_document(record: dict[str, Any]) -> dict[str, Any]:
    """A stored log record."""
    return {
        "trace_id": record["trace_id"] or None,
        "span_id": record["span_id"] or None,
        "started_at": rfc3339(record["time_ns"]),
        "flags": record["flags"],
        "severity": {"number": record["severity_number"], "text": record["severity_text"]},
        "event_name": record["event_name"],
        "body": record["body"],
        "project": record["project"],
        "resource": record["resource"],
        "scope": {
            "name": record["scope_name"],
            "version": record["scope_version"] or None,
            "attributes": record["scope"],
        },
        "attributes": record["attributes"],
    }


def warning_document(warning: Warning) -> models.Warning:
    return {
        "warning_id": warning.warning_id,
        "run_id": warning.run_id,
        "type": warning.type,
        "category": warning.category,
        "severity": warning.severity,
        "state": warning.state,
        "count": warning.count,
        "message": warning.message,
        "suggestion": warning.suggestion or None,
        "first_event_id": warning.first_event_id or None,
        "onset_event_id": warning.onset_event_id or None,
        "last_event_id": warning.last_event_id or None,
        "evidence": list(warning.evidence),
        "wasted_tokens": warning.wasted_tokens,
        "wasted_cost_usd": money(warning.wasted_cost_usd),
        "primary": warning.primary,
        "incident_id": warning.incident_id or None,
        "tool": warning.tool or None,
        "agent": warning.agent or None,
        "project": warning.project,
        "session_id": warning.session_id or None,
        "first_at": rfc3339(warning.first_ns),
        "last_at": rfc3339(warning.last_ns),
        "engine_version": warning.engine_version or None,
    }
