"""From one log record to one event, where a record tells of a model call.

GenAI instrumentations send content as log records: one for each message (`gen_ai.user.message`, `gen_ai.choice`,
…) or one for the call (`gen_ai.client.inference.operation.details`). Each becomes an event below its span, a
`part` that `assemble` puts into the call, whichever came first.
"""

from __future__ import annotations

from typing import Any

from mappers.conventions.fields import text
from mappers.messages import read_messages
from mappers.messages.document import compact, hash64, parse
from mappers.messages.requests import tool_requests
from mappers.model import Event, Kind, LogRecord, Span, Status
from mappers.normalize import PREVIEW, Normalizer

DETAILS = "gen_ai.client.inference.operation.details"
CHOICE = "gen_ai.choice"
ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


class RecordReader:
    """Reads log records. Used from one thread; give each thread its own.

    Args:
        normalizer: reads the attributes of records that have those of a span.
    """

    def __init__(self, normalizer: Normalizer) -> None:
        self._normalizer = normalizer

    def event(self, record: LogRecord) -> Event | None:
        """The event of a record; None if it tells nothing of a call, or of no span."""
        name = event_name(record)
        try:
            if record.trace_id and record.span_id:
                if name == DETAILS:
                    return self._details(record)
                if name == CHOICE or name in ROLES:
                    return self._message(record, name)
        except Exception:  # Hostile input must cost no more than its own meaning.
            self._normalizer.faults[""] += 1
        return None

    def _details(self, record: LogRecord) -> Event:
        event = self._normalizer.normalize(_as_span(record))
        event.kind, event.part, event.status = Kind.OTHER, "details", Status.OK
        event.name = DETAILS
        return event

    def _message(self, record: LogRecord, name: str) -> Event:
        event = self._normalizer.normalize(_as_span(record))
        event.kind, event.status, event.name = Kind.OTHER, Status.OK, name
        event.convention = event.convention or "gen_ai"
        body = parse(record.body) if isinstance(record.body, str) else record.body
        if body is None:
            body = {key: record.attributes[key] for key in record.attributes if key in ("content", "message")}
        written = body.encode(errors="replace") if isinstance(body, str) else compact(body)
        shown = _shown(body, ROLES.get(name, "assistant"))
        if name == CHOICE:
            event.part = "output"
            event.output, event.output_bytes = shown[:PREVIEW], len(written)
            event.result_hash = hash64(shown.encode(errors="replace")) if shown else 0
            reason = text(body.get("finish_reason")) if isinstance(body, dict) else None
            event.finish_reasons = (reason,) if reason else ()
            event.tool_requests = tuple(tool_requests(body))
        else:
            event.part = "input"
            event.input, event.input_bytes, event.args_hash = shown[:PREVIEW], len(written), hash64(written)
        return event


def event_name(record: LogRecord) -> str:
    """What the record is about: the field of OTLP 1.5 on, the attribute before."""
    return record.event_name or text(record.attributes.get("event.name")) or ""


def _shown(body: Any, role: str) -> str:
    if isinstance(body, dict) and "role" not in body and "message" not in body:
        body = {"role": role, **body}
    messages = read_messages(body)
    return next((message.text for message in messages if message.text), "")


def _as_span(record: LogRecord) -> Span:
    """The record as a span below the one that it belongs to. Its id is made of its content, so that a record
    that is sent again is the same event."""
    content = compact([record.trace_id, record.span_id, event_name(record), record.time_ns, record.body])
    attributes = compact(dict(record.attributes))
    time_ns = record.time_ns or record.observed_ns
    return Span(
        trace_id=record.trace_id,
        span_id=f"{hash64(content + attributes):016x}",
        parent_span_id=record.span_id,
        name="",
        kind=1,
        start_ns=time_ns,
        end_ns=time_ns,
        attributes=record.attributes,
        status_code=0,
        status_message="",
        events=(),
        links=(),
        resource=record.resource,
        scope=record.scope,
        project=record.project,
        tenant=record.tenant,
        source="log",
    )
