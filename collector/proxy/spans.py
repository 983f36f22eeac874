"""From an exchange to spans of the GenAI conventions, as any instrumentation would send them.

Names: OpenTelemetry's semantic-conventions-genai, `docs/gen-ai`; what it has no name for is `eddyline.*`, and
`anthropic.*` and `openai.*` where the providers' own SDKs have named it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from collector.otlp import messages
from collector.proxy.capture import Policy
from collector.proxy.exchange import Call, Exchange, Outcome
from collector.proxy.formats import Message, Part
from collector.proxy.session import Open, Resolved, Session
from collector.proxy.span import Attributes, Span, SpanEvent
from mappers.model import PROXY_SCOPE

CLIENT, INTERNAL = 3, 1
ERROR = 2
_MS = 1e6

OPAQUE = "http"
"""Operation of calls whose API is not known."""


def spans_of(exchange: Exchange, resolved: Resolved, policy: Policy, version: str) -> bytes:
    """The spans that an exchange leads to, as an OTLP request: the call, tool calls whose results it brought, and
    the root of its run, anew each time, since it lasts as long as its run goes on.

    Changes the session: which calls are open, how it stands.
    """
    spans = [*_tool_spans(exchange, resolved.session, policy), _call_span(exchange, resolved, policy)]
    spans += _server_tool_spans(exchange, resolved.session, policy)
    _note_open_calls(exchange, resolved.session)
    if root := _root_span(exchange, resolved, policy):
        spans.insert(0, root)
    return _request(spans, exchange.tape.context.project, version)


def unanswered(session: Session, made: Open, at_ns: int, version: str) -> bytes | None:
    """The root of a run again, as an OTLP request, with an event for a tool call whose result did not come; None
    where the root is somebody else's, or not at hand: then it has the event when the run goes on."""
    attributes = {"gen_ai.tool.name": made.call.name, "gen_ai.tool.call.id": made.call.id}
    session.unanswered.append(SpanEvent(at_ns, "eddyline.tool_call_unanswered", attributes))
    if session.root is None:
        return None
    session.root.events = list(session.unanswered)
    return _request([session.root], session.project, version)


# --------------------------------------------------------------------------- the call


def _call_span(exchange: Exchange, resolved: Resolved, policy: Policy) -> Span:
    tape, session = exchange.tape, resolved.session
    context = tape.context
    asked = exchange.asked
    operation = asked.operation or OPAQUE
    model = asked.model or exchange.answered.model
    name = f"{operation} {model}".strip() if asked.operation else f"{tape.method} {tape.path}"
    span = Span(
        session.trace_id,
        tape.span_id,
        context.parent_id or session.root_id,
        name,
        CLIENT,
        tape.started_ns,
        tape.started_ns + tape.end_ns,
        {
            **_gen_ai(exchange, policy),
            **_http(exchange),
            **_of_the_call(exchange, resolved, policy),
        },
    )
    if context.link is not None:
        span.links.append(context.link)
    if exchange.outcome in Outcome.FAILED:
        span.failed, span.message = True, exchange.error_message
    for at, gap in exchange.stalls:
        span.events.append(SpanEvent(tape.started_ns + at, "eddyline.stall", {"eddyline.gap_ms": gap / _MS}))
    return span


def _gen_ai(exchange: Exchange, policy: Policy) -> Attributes:
    asked, answered = exchange.asked, exchange.answered
    if not asked.operation:
        return {}
    found: Attributes = {
        "gen_ai.operation.name": asked.operation,
        "gen_ai.provider.name": exchange.tape.upstream.provider,
        "gen_ai.request.model": asked.model,
        **asked.parameters,
        "gen_ai.response.id": answered.id,
        "gen_ai.response.model": answered.model,
        "gen_ai.response.finish_reasons": answered.finish_reasons,
        **answered.attributes,
        "gen_ai.conversation.id": asked.conversation,
    }
    api = exchange.format.api if exchange.format is not None else ""
    if api == "chat_completions" and exchange.tape.upstream.provider in ("openai", "azure.ai.openai"):
        found["openai.api.type"] = api
    if exchange.streamed or asked.stream:
        found["gen_ai.request.stream"] = True
    if exchange.first_event_ns is not None:
        found["gen_ai.response.time_to_first_chunk"] = exchange.first_event_ns / 1e9
    usage = answered.usage
    if policy.tokens:
        found |= {
            "gen_ai.usage.input_tokens": usage.input,
            "gen_ai.usage.output_tokens": usage.output,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
            "gen_ai.usage.cache_write.input_tokens": usage.cache_write,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
            "gen_ai.usage.audio.input_tokens": usage.audio_input,
            "gen_ai.usage.audio.output_tokens": usage.audio_output,
            "eddyline.usage.web_searches": usage.web_searches,
        }
    if policy.cost:
        found["gen_ai.usage.cost"] = usage.cost_usd
    if asked.tools:
        found["gen_ai.tool.definitions"] = _json(asked.tools)
    if asked.messages:
        found["eddyline.input.message_count"] = len(asked.messages)
    if policy.input:
        if asked.system:
            found["gen_ai.system_instructions"] = _json(asked.system)
        if asked.messages:
            found["gen_ai.input.messages"] = _json(asked.messages)
    else:
        found["eddyline.input.hash"] = _digest(asked.messages) if asked.messages else ""
    if policy.output and answered.messages:
        found["gen_ai.output.messages"] = _json(answered.messages)
    return found


def _http(exchange: Exchange) -> Attributes:
    tape = exchange.tape
    found: Attributes = {
        "http.request.method": tape.method,
        "http.response.status_code": tape.status or None,
        "url.path": tape.path,
        "user_agent.original": exchange.sent.get(b"user-agent"),
        "server.address": tape.server[0],
        "server.port": tape.server[1] or None,
        "error.type": exchange.error_type,
    }
    if exchange.tries:
        # Each try is a span of its own; it says how many were before it, for whoever saw one call of all of them.
        found["http.request.resend_count"] = exchange.tries
    return found


def _of_the_call(exchange: Exchange, resolved: Resolved, policy: Policy) -> Attributes:
    tape, context, session = exchange.tape, exchange.tape.context, resolved.session
    usage = exchange.answered.usage
    found: Attributes = {
        "eddyline.source": "proxy",
        "eddyline.proxy.route": tape.upstream.name,
        "eddyline.proxy.api": exchange.format.api if exchange.format else "",
        "eddyline.proxy.outcome": exchange.outcome,
        "eddyline.session.id": session.id,
        "eddyline.session.method": resolved.method,
        "eddyline.session.confidence": resolved.confidence,
        "eddyline.usage.source": _usage_source(exchange),
        "eddyline.bytes.request": tape.request_bytes,
        "eddyline.bytes.response": tape.response_bytes,
        "eddyline.proxy.truncated": True if tape.request_cut or tape.response_cut else None,
        "eddyline.proxy.unread": exchange.faults,
        "eddyline.proxy.mutations": tape.mutations,
        "eddyline.key_hash": policy.key_hash(*exchange.key_sources),
        "eddyline.key_name": policy.key_name(*exchange.key_sources),
        "eddyline.trace.external_id": context.external_trace,
        "eddyline.parent.external_id": context.external_parent,
        "user.id": context.user,
        "tags": context.tags,
    }
    if not session.is_inferred and resolved.method in ("session", "client_header", "client_field"):
        found["gen_ai.conversation.id"] = session.id
    if not usage.known and policy.tokens:
        found |= _estimates(exchange)
    for key, value in context.labels.items():
        found[f"eddyline.label.{key}"] = value
    if exchange.streamed:
        found |= {
            "eddyline.proxy.events": exchange.events,
            "eddyline.proxy.reads": tape.pieces,
            "eddyline.ttft_ms": exchange.first_content_ns / _MS
            if exchange.first_content_ns is not None
            else None,
        }
        if exchange.gaps_ns:
            ordered = sorted(exchange.gaps_ns)
            found |= {
                "eddyline.itl_p50_ms": ordered[len(ordered) // 2] / _MS,
                "eddyline.itl_p99_ms": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / _MS,
                "eddyline.itl_max_ms": ordered[-1] / _MS,
            }
    for header, given in exchange.got.items():
        if attribute := _RESPONSE_HEADERS.get(header):
            found.setdefault(attribute, given)
        elif b"ratelimit" in header:
            found[f"eddyline.{header.decode('latin-1').replace('-', '_')}"] = given
    if client := _CLIENT.match(exchange.sent.get(b"user-agent", "")):
        found["eddyline.client.kind"], found["eddyline.client.version"] = client[1], client[2]
    beta = exchange.sent.get(b"anthropic-beta")
    if beta:
        found["anthropic.beta"] = [name.strip() for name in beta.split(",")]
    if version := exchange.sent.get(b"anthropic-version"):
        found["anthropic.version"] = version
    return found


def _usage_source(exchange: Exchange) -> str:
    if not exchange.answered.usage.known:
        return "none"
    return "injected" if exchange.tape.usage_asked_for else "provider"


_CLIENT = re.compile(r"(?:Async)?([A-Za-z][\w.-]{0,63}(?:/(?:Python|JS))?)[/ ]v?([0-9][\w.+-]{0,31})")
"""The first product of a user agent: `claude-cli/2.1.86 (external, cli)`, `AsyncOpenAI/Python 3.57.0`."""
_RESPONSE_HEADERS = {
    b"x-request-id": "eddyline.request_id",
    b"request-id": "anthropic.request.id",
    b"apim-request-id": "eddyline.request_id",
    b"x-amzn-requestid": "eddyline.request_id",
    b"anthropic-organization-id": "anthropic.organization.id",
    b"openai-processing-ms": "eddyline.provider_ms",
    b"x-ms-region": "eddyline.azure.region",
    b"retry-after": "eddyline.retry_after",
}


def _estimates(exchange: Exchange) -> Attributes:
    """What a call without usage may have used, by the length of its texts. Never a count that is summed."""
    found: Attributes = {}
    for name, said in (("input", exchange.asked.messages), ("output", exchange.answered.messages)):
        tokens = sum(_estimated(part.get("content")) for message in said for part in message["parts"])
        if tokens:
            found["eddyline.usage.source"] = "estimated"
            found[f"eddyline.usage.estimated.{name}_tokens"] = tokens
    return found


def _estimated(text: Any) -> int:
    """A quarter token a character; three quarters for those of East Asian scripts."""
    if not isinstance(text, str):
        return 0
    wide = sum(character >= "\u2e80" for character in text)
    return round((len(text) - wide) / 4 + wide * 0.75)


# --------------------------------------------------------------------------- tool calls


def _tool_spans(exchange: Exchange, session: Session, policy: Policy) -> list[Span]:
    """Calls that earlier answers made and whose results this request brings. Each once: histories repeat them.

    They end when the request arrives, which is the latest that the tool can have ended.
    """
    spans = []
    results = list(_results(exchange.asked.messages))
    newest = set(map(id, _results(exchange.asked.messages[-1:])))
    for part in results:
        made = _take_open(session, part)
        if made is not None:
            spans.append(_tool_span(exchange, session, made, part, policy))
        elif part["id"] and part["id"] not in session.seen_results and id(part) in newest:
            unseen = _call_in_history(exchange, part)
            if unseen is not None:
                spans.append(_tool_span(exchange, session, unseen, part, policy))
        if part["id"]:
            session.note_result(part["id"])
    return spans


def _results(said: Sequence[Message]) -> Iterable[Part]:
    for message in said:
        for part in message["parts"]:
            if part["type"] == "tool_call_response":
                yield part


def _take_open(session: Session, part: Part) -> Open | None:
    """The open call that a result belongs to: by its id, else by name and order."""
    if part["id"] in session.open_calls:
        return session.open_calls.pop(part["id"])
    if part["id"] in session.seen_results or not part.get("name") or part["id"]:
        return None
    for key, made in session.open_calls.items():
        if made.call.name == part["name"]:
            return session.open_calls.pop(key)
    return None


def _call_in_history(exchange: Exchange, part: Part) -> Open | None:
    """A call that was made before we watched: its name is known, its time is not."""
    tape = exchange.tape
    for message in exchange.asked.messages:
        for known in message["parts"]:
            if known["type"] == "tool_call" and known["id"] == part["id"]:
                call = Call(known["id"], known["name"], known["arguments"], 0)
                return Open(call, "", "", tape.started_ns)
    return None


def _tool_span(exchange: Exchange, session: Session, made: Open, part: Part, policy: Policy) -> Span:
    tape, call = exchange.tape, made.call
    if call.arguments is None and (known := _call_in_history(exchange, part)):  # it was made before a restart
        call = known.call
    failed = part.get("is_error") is True
    attributes = _tool_attributes(call, "inferred_upper_bound" if made.span_id else "unknown", policy)
    if policy.input:
        attributes["gen_ai.tool.call.result"] = _written(part["response"])
    if failed:
        attributes["error.type"] = "tool_error"
    trace_id = made.trace_id or session.trace_id
    start = min(made.at_ns, tape.started_ns)
    parent = made.span_id or tape.context.parent_id or session.root_id
    return Span(
        trace_id,
        sha256(f"{trace_id}\0{tape.span_id}\0{call.id}\0{call.name}\0{start}".encode()).hexdigest()[:16],
        parent,
        f"execute_tool {call.name}",
        INTERNAL,
        start,
        tape.started_ns,
        attributes,
        failed,
        "the client reported an error" if failed else "",
    )


def _server_tool_spans(exchange: Exchange, session: Session, policy: Policy) -> list[Span]:
    """Tools that the provider ran within its answer."""
    spans = []
    tape = exchange.tape
    for number, call in enumerate(exchange.calls):
        if not call.on_server:
            continue
        timing = "observed" if call.ran_ns is not None else "within_answer"
        attributes = _tool_attributes(call, timing, policy) | {"gen_ai.tool.type": "extension"}
        began, ended = call.ran_ns or (min(call.ended_ns, tape.end_ns), tape.end_ns)
        failed = call.result is not None and call.result.get("is_error") is True
        if call.result is not None and policy.output:
            attributes["gen_ai.tool.call.result"] = _written(call.result["response"])
        if failed:
            attributes["error.type"] = "tool_error"
        spans.append(
            Span(
                session.trace_id,
                sha256(f"{tape.span_id}\0{number}\0{call.id}".encode()).hexdigest()[:16],
                tape.span_id,
                f"execute_tool {call.name}",
                INTERNAL,
                tape.started_ns + began,
                tape.started_ns + ended,
                attributes,
                failed,
            )
        )
    return spans


def _tool_attributes(call: Call, timing: str, policy: Policy) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.call.id": call.id,
        "gen_ai.tool.type": "function",
        "eddyline.source": "proxy",
        "eddyline.tool.timing": timing,
    }
    if policy.output and call.arguments is not None:
        found["gen_ai.tool.call.arguments"] = _written(call.arguments)
    return found


def _note_open_calls(exchange: Exchange, session: Session) -> None:
    tape = exchange.tape
    if exchange.outcome in Outcome.FAILED:
        return
    for number, call in enumerate(exchange.calls):
        if not call.on_server and call.id not in session.seen_results:
            at = tape.started_ns + min(call.ended_ns, tape.end_ns)
            made = Open(call, session.trace_id, tape.span_id, at)
            session.open_call(call.id or f"{tape.span_id}:{number}", made)


# --------------------------------------------------------------------------- the run's root


def _root_span(exchange: Exchange, resolved: Resolved, policy: Policy) -> Span | None:
    """The session as a span; None where somebody else has the root."""
    tape, session = exchange.tape, resolved.session
    if not session.root_id:
        return None
    end = tape.started_ns + tape.end_ns
    if end >= session.ended_ns:
        session.ended_ns = end
        session.failed = exchange.outcome in Outcome.FAILED
    session.name = tape.context.run_name or session.name or "session"
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": session.name,
        "eddyline.source": "proxy",
        "eddyline.session.id": session.id,
        "user.id": tape.context.user,
        "tags": tape.context.tags,
    }
    if not session.is_inferred and resolved.method in ("session", "client_header", "client_field"):
        attributes["gen_ai.conversation.id"] = session.id
    if policy.input and exchange.asked.messages:
        session.opening = session.opening or _json(exchange.asked.messages[-1:])
        attributes["gen_ai.input.messages"] = session.opening
    if policy.output and exchange.answered.messages:
        attributes["gen_ai.output.messages"] = _json(exchange.answered.messages[:1])
    if session.failed:
        attributes["error.type"] = exchange.error_type
    root = Span(
        session.trace_id,
        session.root_id,
        "",
        session.name,
        INTERNAL,
        min(session.started_ns, tape.started_ns),
        session.ended_ns,
        attributes,
        session.failed,
        exchange.error_message if session.failed else "",
        list(session.unanswered),
    )
    session.root, session.project = (root if session.open_calls else None), tape.context.project
    return root


# --------------------------------------------------------------------------- as OTLP


def _request(spans: Sequence[Span], project: str, version: str) -> bytes:
    request = messages.TracesRequest()
    resource_spans = request.resource_spans.add()
    resource = {"service.name": "eddyline-proxy", "service.version": version}
    if project:
        resource["service.namespace"] = project
    _put_all(resource_spans.resource.attributes, resource)
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = PROXY_SCOPE
    scope_spans.scope.version = version
    for span in spans:
        written = scope_spans.spans.add(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_id),
            name=span.name,
            kind=span.kind,
            start_time_unix_nano=span.start_ns,
            end_time_unix_nano=span.end_ns,
        )
        _put_all(written.attributes, span.attributes)
        if span.failed:
            written.status.code = ERROR
            written.status.message = span.message
        for event in span.events:
            noted = written.events.add(time_unix_nano=event.at_ns, name=event.name)
            _put_all(noted.attributes, event.attributes)
        for trace_id, span_id in span.links:
            written.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(span_id))
    return messages.serialized(request)


def _put_all(target: Any, attributes: Mapping[str, Any]) -> None:
    """Writes attributes; what is unknown or empty is left out, 0 and False are not."""
    for key, value in attributes.items():
        if type(value) is str:
            if value:
                target[key].string_value = value if value.isascii() else _clean(value)
        elif type(value) is list:
            if value:
                items = target[key].array_value.values
                for item in value:
                    _put(items.add(), item)
        elif value is not None:
            _put(target[key], value)


def _put(target: Any, value: Any) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = max(-(2**63), min(value, 2**63 - 1))
    elif isinstance(value, float):
        target.double_value = value
    else:
        target.string_value = _clean(str(value))


def _clean(text: str) -> str:
    """Protobuf takes no lone surrogates; JSON from a provider may hold them."""
    return text.encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        import json

        return json.dumps(value, default=str)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _digest(said: Sequence[Message]) -> str:
    return sha256(_json(said).encode()).hexdigest()[:32]
