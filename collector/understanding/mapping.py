"""How spans are understood, for people: `eddyline map` and the route that explains a stored span."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from collector.deriver.callindex import CallIndex
from collector.documents.render import entry_document, run_document
from collector.otlp import NotOtlpError, Signal, check, decode_logs, decode_traces, transcode
from mappers.assemble import assemble
from mappers.explain import Explanation, FieldReading, Found
from mappers.foreign import Foreign, join
from mappers.model import Event, LogRecord, Resource, Scope, Span, SpanEvent
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from mappers.timeline import timeline

GZIP = b"\x1f\x8b"


class NotReadableError(ValueError):
    """A file holds no OTLP; the message says why."""


def read_items(content: bytes) -> tuple[list[Span], list[LogRecord]]:
    """Spans and log records of a request in protobuf or JSON, or of several in lines of JSON; gzip or not.

    Raises:
        NotReadableError: it is neither.
    """
    if content.startswith(GZIP):
        content = _inflated(content)
    spans: list[Span] = []
    records: list[LogRecord] = []
    for request in _requests(content):
        signal, body = _checked(request)
        if signal is Signal.TRACES:
            spans += decode_traces(body)
        else:
            records += decode_logs(body)
    return spans, records


def _inflated(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise NotReadableError(f"gzip: {error}") from None


def _requests(content: bytes) -> Sequence[bytes]:
    if content.lstrip()[:1] != b"{":
        return [content]
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return [
            line for line in content.splitlines() if line.strip()
        ]  # as the collector's file exporter writes
    return [content]


def _checked(request: bytes) -> tuple[Signal, bytes]:
    """The signal that fits best, and the request as protobuf. Both signals nest alike in protobuf: only one of them
    makes sense of it."""
    json = request.lstrip()[:1] == b"{"
    best, why = None, "it is neither OTLP protobuf nor OTLP/JSON"
    for signal in (Signal.TRACES, Signal.LOGS):
        try:
            checked = transcode(signal, request) if json else check(signal, request)
        except NotOtlpError as error:
            why = str(error)
            continue
        rank = checked.accepted - checked.rejected
        if checked.accepted and (best is None or rank > best[0]):
            best = rank, signal, checked.body
        why = checked.reasons or "it holds no spans and no log records"
    if best is None:
        raise NotReadableError(why)
    return best[1], best[2]


def mapping_document(
    spans: Sequence[Span], records: Iterable[LogRecord], normalizer: Normalizer, now_ns: int
) -> dict[str, Any]:
    """Spans with what was understood of them and why, log records that tell of calls, and the runs they make."""
    events = [normalizer.normalize(span) for span in spans]
    reader = RecordReader(normalizer)
    told = [(record, reader.event(record)) for record in records]
    by_run: dict[str, dict[tuple[str, int], Event]] = {}
    for event in [*events, *(event for _, event in told if event is not None)]:
        by_run.setdefault(event.run_id, {})[event.span_id, event.seq] = event
    twins = _told_elsewhere([event for found in by_run.values() for event in found.values()])
    runs = []
    for run_id, found in by_run.items():
        if all(event.part for event in found.values()):
            continue  # parts of calls whose spans are not in the files
        run = assemble(list(found.values()), twins.get(run_id, {})).run
        entries = timeline(run, list(found.values()))
        runs.append(
            run_document(run, now_ns, content=True)
            | {"timeline": [entry_document(entry, content=True) for entry in entries]}
        )
    return {
        "spans": [
            explanation_document(span, event, normalizer.explain(span))
            for span, event in zip(spans, events, strict=True)
        ],
        "logs": [
            {
                "trace_id": record.trace_id or None,
                "span_id": record.span_id or None,
                "event_name": record.event_name or None,
                "tells": event.part or event.kind if event is not None else None,
            }
            for record, event in told
        ],
        "runs": runs,
    }


def _told_elsewhere(events: Sequence[Event]) -> dict[str, dict[str, Foreign]]:
    """What other traces know of the events, by run id and span id."""
    index = CallIndex()
    calls = [event for event in events if index.add(event)]
    told: dict[str, dict[str, Foreign]] = {}
    for call in calls:
        for (run_id, span_id), foreign in join(index.group(call)).items():
            told.setdefault(run_id, {})[span_id] = foreign
    return told


def explanation_document(span: Span, event: Event, told: Explanation) -> dict[str, Any]:
    """One span: what it is, by which rules, from which attributes."""
    no_entry = told.no_entry
    if event.duplicate_of:
        no_entry = f"it tells the same call as {event.duplicate_of}, which is counted; its own entries say so"
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "name": span.name,
        "scope": {"name": span.scope.name, "version": span.scope.version or None},
        "conventions": [{"id": convention, "shown_by": shown} for convention, shown in told.conventions],
        "kind": told.kind,
        "kind_rule": told.kind_rule or None,
        "told_kind": told.told_kind,
        "quirks": told.quirks,
        "status": event.status,
        "fields": {reading.field: _reading(reading) for reading in told.fields},
        "unread": told.unread,
        "entries": list(told.entries),
        "no_entry": no_entry or None,
        "duplicate_of": event.duplicate_of or None,
    }


def _reading(reading: FieldReading) -> dict[str, Any]:
    return _found(reading.taken) | {"others": [_found(other) for other in reading.others]}


def _found(found: Found) -> dict[str, str]:
    return {"value": found.value, "source": found.source, "convention": found.convention}


# --------------------------------------------------------------------------- a stored span

_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})$")
_REAL = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?$")
_KINDS = {"Internal": 1, "Server": 2, "Client": 3, "Producer": 4, "Consumer": 5}
_CODES = {"Ok": 1, "Error": 2}


def stored_span(row: dict[str, Any]) -> Span:
    """A span of `otel_traces` as it was received: attributes are stored as text, numbers and truths become what
    they were."""
    return Span(
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        parent_span_id=row["parent_span_id"],
        name=row["name"],
        kind=_KINDS.get(row["kind"], 0),
        start_ns=row["start_ns"],
        end_ns=row["start_ns"] + row["duration_ns"],
        attributes=_typed(row["attributes"]),
        status_code=_CODES.get(row["status_code"], 0),
        status_message=row["status_message"],
        events=[
            SpanEvent(time_ns, name, _typed(attributes))
            for time_ns, name, attributes in zip(
                row["event_times_ns"], row["event_names"], row["event_attributes"], strict=True
            )
        ],
        links=(),
        resource=Resource(_typed(row["resource"])),
        scope=Scope(row["scope_name"], row["scope_version"], _typed(row["scope"])),
        trace_state=row["trace_state"],
        project=row["project"],
    )


def stored_record(row: dict[str, Any]) -> LogRecord:
    """A record of `otel_logs` as it was received, as `stored_span` is."""
    return LogRecord(
        time_ns=row["time_ns"],
        observed_ns=row["time_ns"],
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        flags=row["flags"],
        severity_number=row["severity_number"],
        severity_text=row["severity_text"],
        event_name=row["event_name"],
        body=row["body"] or None,
        attributes=_typed(row["attributes"]),
        resource=Resource(_typed(row["resource"])),
        scope=Scope(row["scope_name"], row["scope_version"], _typed(row["scope"])),
        project=row["project"],
    )


def _typed(attributes: dict[str, str]) -> dict[str, Any]:
    return {key: _value(text) for key, text in attributes.items()}


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _REAL.match(text) else text


# --------------------------------------------------------------------------- as a table


def table_lines(document: dict[str, Any]) -> Iterable[str]:
    """The document for a terminal: spans as a tree would list them, each with its reasons; then the runs."""
    for span in document["spans"]:
        yield f"{span['kind']:<10} {span['name']}  [{span['span_id']}]"
        for convention in span["conventions"]:
            yield f"    convention  {convention['id']}: {convention['shown_by']}"
        yield f"    kind        {span['kind_rule'] or 'no rule had an answer'}"
        for quirk in span["quirks"]:
            yield f"    quirk       {quirk}"
        for name, reading in span["fields"].items():
            yield f"    {name:<24} {_line(reading['value'])}"
            yield f"    {'':<24} from {reading['source']}" + "".join(
                f"; also {other['source']}" for other in reading["others"]
            )
        if span["unread"]:
            yield f"    unread      {', '.join(span['unread'])}"
        if span["no_entry"]:
            yield f"    no entry    {span['no_entry']}"
        yield ""
    for record in document["logs"]:
        yield f"LOG        {record['event_name'] or '(no name)'}: {record['tells'] or 'tells of no call'}"
    for run in document["runs"]:
        counts, usage = run["counts"], run["usage"]
        yield (
            f"RUN        {run['name']}  [{run['run_id']}]  {run['status']}, {counts['llm_calls']} LLM calls,"
            f" {counts['tool_calls']} tool calls, {counts['handoffs']} handoffs, {counts['retries']} retries,"
            f" tokens {usage['input']}/{usage['output']}, cost {run['cost_usd']}"
        )
        for entry in run["timeline"]:
            twin = f"  (counted as {entry['duplicate_of']})" if entry["duplicate_of"] else ""
            yield f"    {entry['time'][11:23]}  {entry['type']:<20} {entry['name']}{twin}"


def _line(text: str) -> str:
    return " ".join(text.split())
