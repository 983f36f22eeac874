"""From one log record to one event, where a record tells of a model call.

GenAI instrumentations send content as log records: one for each message (`gen_ai.user.message`, `gen_ai.choice`,
…) or one for the call (`gen_ai.client.inference.operation.details`). Each becomes an event below its span, a
`part` that `assemble` puts into the call, whichever came first. Where a record for the call names no span, the
provider's response id says which call it is: the record is a call by itself, a twin of the span that tells it too.
Single messages that name no span are kept as log records only: that they are of a call's time and library does not say
that they are of that call.

Coding agents tell whole sessions as log records (`agent_logs`). What they tell becomes the events of a run, which is
the session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from mappers.agent_logs import AGENTS, AgentLogs
from mappers.conventions.fields import milliseconds, text
from mappers.cost import Prices
from mappers.filling import TAKEN_OUT
from mappers.messages import read_messages
from mappers.messages.document import compact, hash64, parse
from mappers.messages.part import text_of
from mappers.messages.requests import tool_requests
from mappers.model import SESSION_END, Event, Kind, LogRecord, Span, Status
from mappers.normalize import PREVIEW, Normalizer
from mappers.tree import MODEL_KINDS

DETAILS = "gen_ai.client.inference.operation.details"
OPERATION = "gen_ai.operation.name"
RESPONSE_ID = "gen_ai.response.id"
SESSIONS = ("session.id", "gen_ai.conversation.id")
CHOICE = "gen_ai.choice"
ASSISTANT = "gen_ai.assistant.message"
TOOL = "gen_ai.tool.message"
ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    ASSISTANT: "assistant",
    TOOL: "tool",
}


class RecordReader:
    """Reads log records. Used from one thread; give each thread its own.

    Args:
        normalizer: reads the attributes of records that have those of a span.
        prices: what calls cost that do not say so; list prices by default.
        agents: whose sessions are told by records.
    """

    def __init__(
        self, normalizer: Normalizer, prices: Prices | None = None, agents: Iterable[AgentLogs] = AGENTS
    ) -> None:
        self._normalizer = normalizer
        self._agents = [
            (agent, re.compile(agent.scopes or r"(?!)"), re.compile(agent.secondary or r"(?!)"))
            for agent in agents
        ]
        self._of_agents = Normalizer(
            [agent.convention() for agent, _, _ in self._agents], prices, normalizer.loops
        )

    def event(self, record: LogRecord) -> Event | None:
        """The event of a record; None if it tells nothing of a call, or of no span."""
        name = event_name(record)
        try:
            if record.trace_id and record.span_id:
                if name == DETAILS:
                    return self._details(record)
                if name == CHOICE or name in ROLES:
                    return self._message(record, name)
                if (content := taken_out(record.body)) is not None:
                    return self._taken_out(record, content)
            found = self._session_of(record, name)
            if found is not None:
                return self._of_an_agent(record, name, *found)
            if name == DETAILS:
                return self._call(record)
        except Exception:  # Hostile input must cost no more than its own meaning.
            self._normalizer.faults[""] += 1
        return None

    def content(self, record: LogRecord) -> tuple[Any, Any]:
        """(what the call read, what it wrote) as far as this record tells, whole; None where it tells nothing."""
        name = event_name(record)
        if name == DETAILS:
            return self._normalizer.content(_as_span(record))
        if (told := taken_out(record.body)) is not None:
            return self._normalizer.content(_as_call(record, told))
        if name != CHOICE and name not in ROLES:
            return None, None
        body = _body(record)
        if isinstance(body, dict) and "role" not in body and "message" not in body:
            body = {"role": ROLES.get(name, "assistant"), **body}
        return (None, body) if name == CHOICE else (body, None)

    def run_of(self, record: LogRecord) -> str:
        """The run that a record belongs to, whether it tells something of it or not; "" if none is known."""
        name = event_name(record)
        if record.trace_id and record.span_id and (name in (DETAILS, CHOICE) or name in ROLES):
            return record.trace_id
        found = self._session_of(record, name)
        if found is not None:
            return _session_run(record, found[3]) if found[3] else record.trace_id
        return record.trace_id or (_run_of_call(record) if name == DETAILS else "")

    def _session_of(self, record: LogRecord, name: str) -> tuple[AgentLogs, re.Pattern[str], str, str] | None:
        """The agent that tells its session by this record, its other scopes, its own name of what happened, and the
        session's id, "" if it has none; None if no agent does."""
        for agent, scopes, secondary in self._agents:
            # Where the library names events itself (after the place in the code), the attribute is the agent's.
            names = (name, record.attributes.get("event.name"), record.body)
            own_name = next(filter(None, (_own_name(agent, one) for one in names)), "")
            if own_name or scopes.search(record.scope.name) is not None:
                session = next(filter(None, (text(record.attributes.get(key)) for key in agent.session)), "")
                return agent, secondary, own_name, session
        return None

    def _of_an_agent(
        self,
        record: LogRecord,
        name: str,
        agent: AgentLogs,
        secondary: re.Pattern[str],
        own_name: str,
        session: str,
    ) -> Event | None:
        happening = _happening(agent, record, own_name or name)
        if agent.kinds.get(happening) is None or not session:
            return None
        if happening in agent.answers and not _told_apart(agent, record):
            return None
        adds = bool(agent.secondary) and secondary.search(record.scope.name) is not None
        return self._in_session(agent, record, happening, session, adds=adds)

    def _in_session(
        self, agent: AgentLogs, record: LogRecord, happening: str, session: str, *, adds: bool
    ) -> Event:
        """`adds`: another record may tell of the happening too; this one lies within that, as a twin, or is alone."""
        run_id = _session_run(record, session)
        span = _as_span(record)
        told_apart = _told_apart(agent, record)
        answers = happening in agent.answers
        if told_apart:
            shared = compact([session, agent.kinds[happening], happening in agent.failures, told_apart])
            identity = f"{hash64(shared):016x}"
            span.span_id, span.parent_span_id = (
                (span.span_id, identity) if adds or answers else (identity, "")
            )
        else:
            span.parent_span_id = ""
        span.attributes = {**record.attributes, agent.mark: happening}
        duration = milliseconds(_number(record.attributes.get(agent.duration_ms))) or 0
        span.start_ns = max(0, span.end_ns - int(duration * 1e6))
        event = self._of_agents.normalize(span)
        event.run_id, event.name = run_id, f"{agent.id}.{happening.partition(':')[0]}"
        event.trace_id, event.is_root = record.trace_id, False
        event.session_id, event.agent = session, agent.id
        if answers:
            event.kind, event.part = Kind.OTHER, "output"
        if happening in agent.failures and event.status != Status.ERROR:
            event.status = Status.ERROR
            event.error_message = (text(record.attributes.get("error")) or "")[:PREVIEW]
        if happening in agent.ends:
            event.operation = SESSION_END
        return event

    def _call(self, record: LogRecord) -> Event | None:
        """A call that only its response id places."""
        event = self._normalizer.normalize(_as_span(record))
        if event.kind not in MODEL_KINDS or not event.response_id:
            return None
        event.run_id, event.trace_id, event.is_root = self.run_of(record), record.trace_id, False
        event.name = f"{event.operation} {event.request_model}".strip()
        return event

    def _details(self, record: LogRecord) -> Event:
        """The name says that it tells of a model call, even if nothing says of which kind, as in Google's ADK."""
        span = _as_span(record)
        if OPERATION not in record.attributes:
            span.attributes = {**record.attributes, OPERATION: "chat"}
        event = self._normalizer.normalize(span)
        if OPERATION not in record.attributes:
            event.operation = ""
        event.kind, event.part, event.status = Kind.OTHER, "details", Status.OK
        event.name = DETAILS
        return event

    def _taken_out(self, record: LogRecord, content: dict[str, Any]) -> Event:
        """The content of a span, which a distribution of OpenTelemetry took out of it."""
        event = self._normalizer.normalize(_as_call(record, content))
        event.kind, event.part, event.status = Kind.OTHER, TAKEN_OUT, Status.OK
        event.name, event.operation = TAKEN_OUT, ""
        return event

    def _message(self, record: LogRecord, name: str) -> Event:
        event = self._normalizer.normalize(_as_span(record))
        event.kind, event.status, event.name = Kind.OTHER, Status.OK, name
        event.convention = event.convention or "gen_ai"
        body = _body(record)
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
            if name == ASSISTANT and isinstance(body, dict):
                event.tool_requests = tuple(tool_requests({"role": "assistant", **body}))
            event.input, event.input_bytes, event.args_hash = shown[:PREVIEW], len(written), hash64(written)
        return event


def taken_out(body: Any) -> dict[str, Any] | None:
    """What AWS' distribution took out of a span, for Bedrock AgentCore among others, if a record's body is that:
    `input` and `output`, each with `messages`. A store keeps it as a text. The record is named by the span's scope."""
    if isinstance(body, str) and body.startswith(('{"input"', '{"output"')):
        body = parse(body)
    if not isinstance(body, dict) or not 0 < len(body) <= 2:
        return None
    for side, told in body.items():
        if side not in ("input", "output") or not isinstance(told, dict):
            return None
        if not isinstance(told.get("messages"), list):
            return None
    return body


def _as_call(record: LogRecord, body: dict[str, Any]) -> Span:
    """The content that was taken out of a span as that of a call."""
    span = _as_span(record)
    attributes = {**record.attributes, "gen_ai.operation.name": "chat"}
    for side, told in body.items():
        messages = [_put_back(message) for message in told["messages"]]
        attributes[f"gen_ai.{side}.messages"] = messages[0] if len(messages) == 1 else messages
    reasons = [
        text(content.get("finish_reason"))
        for message in body.get("output", {}).get("messages", ())
        if isinstance(message, dict) and isinstance(content := message.get("content"), dict)
    ]
    attributes["gen_ai.response.finish_reasons"] = [reason for reason in reasons if reason]
    span.attributes = attributes
    return span


def _put_back(message: Any) -> Any:
    """What was an attribute or an event is a message's content now: a text, a document, or attributes of an event."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, dict):
        content = content.get("content") or content.get("message") or content
    told = parse(content) if isinstance(content, str) else content
    if isinstance(told, list) and not any(isinstance(one, dict) and "role" in one for one in told):
        return {"role": message.get("role"), "content": told}
    return told if isinstance(told, (dict, list)) else {**message, "content": told}


def _body(record: LogRecord) -> Any:
    """The message that a record is."""
    body = parse(record.body) if isinstance(record.body, str) else record.body
    if body is None:
        return {key: record.attributes[key] for key in record.attributes if key in ("content", "message")}
    return body


def _told_apart(agent: AgentLogs, record: LogRecord) -> str:
    """What all records of the same happening share; "" if this one shares nothing."""
    return next(filter(None, (text(record.attributes.get(key)) for key in agent.twice)), "")


def _session_run(record: LogRecord, session: str) -> str:
    return sha256(f"{record.project}\0{session}".encode(errors="replace")).hexdigest()[:32]


def _run_of_call(record: LogRecord) -> str:
    """The run of a call without a trace: its conversation, else the call alone; "" if it has no response id."""
    response_id = text(record.attributes.get(RESPONSE_ID))
    named = (text(record.attributes.get(key)) for key in SESSIONS)
    return _session_run(record, next(filter(None, named), response_id)) if response_id else ""


def _own_name(agent: AgentLogs, name: Any) -> str:
    """The name without the agent's prefix; "" if it does not have it. Some have it in the body only."""
    if not isinstance(name, str):
        return ""
    return next((name[len(prefix) :] for prefix in agent.prefixes if name.startswith(prefix)), "")


def _happening(agent: AgentLogs, record: LogRecord, name: str) -> str:
    get = record.attributes.get
    if not name:
        return agent.unnamed(get) if agent.unnamed is not None else ""
    closer = agent.told_by.get(name)
    if closer is None:
        return name
    return f"{name}:{closer(get) if callable(closer) else text(get(closer)) or ''}"


def _number(value: Any) -> Any:
    """Some agents write numbers as texts."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


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
    that is sent again is the same event, and so is one that is read back from a store, which keeps values as texts."""
    time_ns = record.time_ns or record.observed_ns
    content = compact([record.trace_id, record.span_id, event_name(record), time_ns, _as_text(record.body)])
    attributes = compact({key: _as_text(value) for key, value in record.attributes.items()})
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


def _as_text(value: Any) -> str:
    """Equal for a value and for what is written for it; 3.0 is written as 3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        value = int(value)
    return text_of(value)
