"""Calls of the proxy as JSON documents."""

from __future__ import annotations

from typing import Any, NotRequired

import orjson
from typing_extensions import TypedDict

from collector.documents import models
from collector.documents.models import Paging, Time, described
from collector.documents.render import rfc3339
from collector.proxy.archive import MUTATED
from collector.proxy.framing import FRAMINGS, json_array
from sinks.clickhouse import exchanges
from sinks.clickhouse.exchanges import StoredExchange

SCHEMA = 1
"""Version of the document."""
BASE64 = "base64:"


class ExchangeSession(TypedDict):
    """The conversation that a call belongs to, and what told it."""

    id: str
    method: str
    confidence: float


class ExchangeUsage(TypedDict):
    """Tokens as the provider counted them."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    reasoning: int | None


class ExchangeBytes(TypedDict):
    """Lengths of the bodies as they passed."""

    request: int
    response: int


@described
class ExchangeSummary(TypedDict):
    """A call that the proxy relayed, without what was said in it."""

    id: str
    ts_start: Time
    ts_end: Time
    duration_ms: float
    ttft_ms: float | None
    """Until the model first said something."""
    project: str
    run_id: str
    span_id: str
    session: ExchangeSession
    client: str
    user_agent: str
    key_hash: str | None
    """Tells API keys apart; the key itself is not kept."""
    key_name: str | None
    """That the configuration gives the API key."""
    method: str
    path: str
    upstream: str
    server: str
    api: str | None
    model: str | None
    response_model: str | None
    status: int
    """-1 if there was no answer."""
    outcome: str
    """complete, provider_error, mid_stream_error, client_abort, upstream_abort or truncated_capture."""
    error: models.Error | None
    streamed: bool
    retries: int
    """How often the client had tried before."""
    usage: ExchangeUsage
    cost_usd: float | None
    """The cost of the call's event."""
    bytes: ExchangeBytes
    mutations: list[str]
    """What the proxy was told to change in it."""
    disconnected: bool
    """The client hung up before the end."""
    truncated_req: bool
    truncated_resp: bool


class ExchangePageMeta(TypedDict):
    """What was applied."""

    limit: int


class ExchangePage(TypedDict):
    data: list[ExchangeSummary]
    page: Paging
    meta: ExchangePageMeta


@described
class ExchangeRequest(TypedDict):
    """What was asked."""

    headers: dict[str, str]
    """Of those that may hold credentials only how long they were."""
    body: Any
    """Null if it was not kept."""
    body_b64: NotRequired[str]
    """Instead, if it is no text."""
    parse_error: NotRequired[str]
    """Why the body is no JSON."""


@described
class ExchangeEvent(TypedDict):
    """An event of a stream."""

    event: str
    data: Any
    raw: NotRequired[str]
    """The data, if it is no JSON."""
    t_delta_ms: float
    """Since the answer's head came."""


@described
class ExchangeResponse(TypedDict):
    """What was answered."""

    headers: dict[str, str]
    body: NotRequired[Any]
    body_b64: NotRequired[str]
    parse_error: NotRequired[str]
    events: NotRequired[list[ExchangeEvent] | None]
    """Of a stream; null if they were not kept."""
    chunks: NotRequired[list[Any]]
    """Of a stream, in exports: the pieces as they came, `[t_delta_ms, text]`."""
    assembled: NotRequired[bool]
    """The body is what the stream came to, because its pieces were not kept."""
    stream_done: NotRequired[bool]
    """The stream came to its end."""


class ExchangeRedaction(TypedDict):
    """Whether something was masked."""

    hits: bool


class ExchangeHttp(TypedDict):
    """How it was sent."""

    resend_count: int


@described
class Exchange(ExchangeSummary):
    """A call that the proxy relayed, as it passed."""

    schema: int
    trace_id: str
    content_encoding: str | None
    """What the answer was packed with; here it is unpacked."""
    redaction: ExchangeRedaction
    http: ExchangeHttp
    req: ExchangeRequest
    resp: ExchangeResponse


class ExchangeSumUsage(TypedDict):
    """Tokens, of calls whose provider counted them."""

    input: int | None
    output: int | None
    cache_read: int | None


class ExchangeTimes(TypedDict):
    """How long calls took, ms."""

    p50: float
    p95: float


@described
class ExchangeSum(TypedDict):
    """What the calls with one value add up to."""

    value: str
    """Of what they are split by."""
    calls: int
    failed: int
    usage: ExchangeSumUsage
    cost_usd: float | None
    """Of calls whose cost is known."""
    bytes: ExchangeBytes
    duration_ms: ExchangeTimes
    models: list[str]
    """Up to 20."""
    first_at: Time
    last_at: Time


class ExchangeSumsMeta(TypedDict):
    """What was applied."""

    by: str


class ExchangeSums(TypedDict):
    data: list[ExchangeSum]
    meta: ExchangeSumsMeta


def summary_document(one: StoredExchange, cost_usd: float | None) -> dict[str, Any]:
    """What is known of a call, without what was said in it."""
    return {
        "id": one.exchange_id,
        "ts_start": rfc3339(one.start_ns),
        "ts_end": rfc3339(one.start_ns + one.duration_ns),
        "duration_ms": one.duration_ns / 1e6,
        "ttft_ms": None if one.ttft_ns is None else one.ttft_ns / 1e6,
        "project": one.project,
        "run_id": one.trace_id,
        "span_id": one.span_id,
        "session": {"id": one.session_id, "method": one.session_method, "confidence": one.session_confidence},
        "client": one.client,
        "user_agent": one.user_agent,
        "key_hash": one.key_hash or None,
        "key_name": one.key_name or None,
        "method": one.method,
        "path": one.path,
        "upstream": one.upstream,
        "server": one.server,
        "api": one.api or None,
        "model": one.model or None,
        "response_model": one.response_model or None,
        "status": one.status,
        "outcome": one.outcome,
        "error": {"type": one.error_type, "message": one.error_message} if one.error_type else None,
        "streamed": one.streamed,
        "retries": one.retries,
        "usage": {
            "input": one.input_tokens,
            "output": one.output_tokens,
            "cache_read": one.cache_read_tokens,
            "cache_write": one.cache_write_tokens,
            "reasoning": one.reasoning_tokens,
        },
        "cost_usd": cost_usd,
        "bytes": {"request": one.request_bytes, "response": one.response_bytes},
        "mutations": [flag.removeprefix(MUTATED) for flag in one.flags if flag.startswith(MUTATED)],
        "disconnected": "disconnected" in one.flags,
        "truncated_req": "truncated_request" in one.flags,
        "truncated_resp": "truncated_response" in one.flags,
    }


def exchange_document(one: StoredExchange, *, chunks: bool) -> dict[str, Any]:
    """A call with everything.

    Args:
        chunks: with `resp.chunks`, the pieces of a stream as they came, `[t_delta_ms, text]`.
    """
    response: dict[str, Any] = {"headers": _headers(one.response_headers)}
    if one.streamed and "assembled" not in one.flags:
        response["events"] = _events(one)
        if chunks:
            response["chunks"] = _chunks(one)
    else:
        response |= _body(one.response_body)
    if one.streamed:
        response["assembled"] = "assembled" in one.flags
        response["stream_done"] = "unfinished" not in one.flags
    return {
        "schema": SCHEMA,
        **summary_document(one, None),
        "trace_id": one.trace_id,
        "content_encoding": one.content_encoding or None,
        "redaction": {"hits": "redacted" in one.flags},
        "http": {"resend_count": one.retries},
        "req": {"headers": _headers(one.request_headers), **_body(one.request_body)},
        "resp": response,
    }


def _headers(text: str) -> dict[str, str]:
    """By name; of a name that came several times the values, joined."""
    found: dict[str, str] = {}
    for name, value in orjson.loads(text):
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _body(text: str | None) -> dict[str, Any]:
    """A body that is JSON as such, another one as its text, one of bytes as base64."""
    if text is None:
        return {"body": None}
    if text.startswith(BASE64):
        return {"body": None, "body_b64": text[len(BASE64) :], "parse_error": "not text"}
    try:
        return {"body": orjson.loads(text)}
    except orjson.JSONDecodeError as error:
        return {"body": text, "parse_error": str(error)}


def _chunks(one: StoredExchange) -> list[list[Any]]:
    body = (one.response_body or "").encode()
    found: list[list[Any]] = []
    start = 0
    held = b""
    for end, at_ns in zip(one.chunk_ends, one.chunk_times, strict=True):
        held += body[start:end]
        start = end
        try:
            text = held.decode()
        except UnicodeDecodeError:  # the rest of the character is in the next piece
            continue
        found.append([_since_head_ms(one, at_ns), text])
        held = b""
    if held:
        found.append([found[-1][0] if found else 0.0, held.decode("utf-8", "replace")])
    return found


def _events(one: StoredExchange) -> list[dict[str, Any]] | None:
    """The events of a stream, in the form that they were sent in; None if they are not kept."""
    if one.response_body is None:
        return None
    body = one.response_body.encode()
    pieces = []
    start = 0
    for end, at_ns in zip(one.chunk_ends, one.chunk_times, strict=True):
        pieces.append((at_ns, body[start:end]))
        start = end
    media_type = _headers(one.response_headers).get("content-type", "").partition(";")[0].strip().lower()
    found = []
    for at_ns, name, data in FRAMINGS.get(media_type, json_array)(pieces):
        event: dict[str, Any] = {"event": name or "message"}
        try:
            event["data"] = orjson.loads(data)
        except orjson.JSONDecodeError:
            event |= {"data": None, "raw": data.decode("utf-8", "replace")}
        found.append(event | {"t_delta_ms": _since_head_ms(one, at_ns)})
    return found


def _since_head_ms(one: StoredExchange, at_ns: int) -> float:
    return max(0, at_ns - one.head_ns) / 1e6


def sum_document(one: exchanges.ExchangeSum) -> dict[str, Any]:
    return {
        "value": one.value,
        "calls": one.calls,
        "failed": one.failed,
        "usage": {
            "input": one.input_tokens,
            "output": one.output_tokens,
            "cache_read": one.cache_read_tokens,
        },
        "cost_usd": one.cost_usd,
        "bytes": {"request": one.request_bytes, "response": one.response_bytes},
        "duration_ms": {"p50": one.p50_ms, "p95": one.p95_ms},
        "models": list(one.models),
        "first_at": rfc3339(one.first_ns),
        "last_at": rfc3339(one.last_ns),
    }
