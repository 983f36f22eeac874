"""Calls of models as proxies write them down, made into spans as our own proxy makes them of what it relays.

Two forms: one document a call (`/api/v1/exchanges/export` and api-log), and the records of a wire capture
(`logging.capture_file` and LLM Interactive Proxy), several a call. Calls are read in the order in which they began, so
that those of one conversation are found to be so.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import orjson

from collector.importing.documents import Document, NotImportableError
from collector.proxy.capture import Policy
from collector.proxy.context import Context
from collector.proxy.exchange import read_exchange
from collector.proxy.routes import PROVIDERS, Upstream
from collector.proxy.sessions import Resolver
from collector.proxy.spans import spans_of
from collector.proxy.tape import Budget, Ending, Tape
from collector.times import nanoseconds

MOST_BYTES = 32 << 20
"""Of one direction of a call."""
HELD_BYTES = 128 << 20
"""Of calls that wait to be put in order."""
SECOND_NS = 10**9
_TRACE = re.compile(r"[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")
_KEEPS_ALL = Policy(input=True, output=True, tokens=True, cost=True, salt=b"")
_DIRECTIONS = frozenset(
    {
        *("inbound_request", "outbound_request", "inbound_response", "outbound_response"),
        *("stream_start", "stream_chunk", "stream_end"),
    }
)
_PATHS = (("anthropic", "/v1/messages"), ("gemini", "/v1beta/models/{model}:generateContent"))
"""Where a record does not tell the path: by what is in the provider's name."""


def is_call(document: Document) -> bool:
    """A call as one document."""
    return {"ts_start", "path", "req", "resp"} <= document.keys()


def is_record(document: Document) -> bool:
    """A record of a wire capture."""
    return document.get("direction") in _DIRECTIONS and "payload" in document


class Calls:
    """Gathers calls; used from one thread.

    Args:
        tenant, project: whose all of it is; "": the project that a call names.
    """

    def __init__(self, tenant: str, project: str) -> None:
        self._tenant, self._project = tenant, project
        self._resolver = Resolver()
        self._budget = Budget(1 << 40)
        self._tapes: list[Tape] = []
        self._held = 0
        self._open: OrderedDict[str, list[Document]] = OrderedDict()
        """Records by call."""
        self._version = version("eddyline")

    def take(self, document: Document) -> Iterator[bytes]:
        """Takes a call; gives requests with spans, as OTLP in protobuf.

        Raises: NotImportableError.
        """
        yield from self._hold(self._tape_of_call(document), len(orjson.dumps(document)))

    def take_record(self, record: Document) -> Iterator[bytes]:
        """Takes a record; gives requests with the spans of calls that ended.

        Raises: NotImportableError.
        """
        metadata = _object(record.get("metadata"))
        call_id = str(metadata.get("request_id") or record.get("session_id") or "")
        begins = record["direction"] == "outbound_request"
        held = self._open.get(call_id, [])
        if begins and any(one["direction"] == "outbound_request" for one in held):
            yield from self._ended(call_id)
        self._open.setdefault(call_id, []).append(record)
        self._open.move_to_end(call_id)
        if record["direction"] == "outbound_response" or len(self._open) > 10_000:
            yield from self._ended(next(iter(self._open)) if len(self._open) > 10_000 else call_id)

    def rest(self) -> Iterator[bytes]:
        """What waited for more."""
        for call_id in list(self._open):
            try:
                yield from self._ended(call_id)
            except NotImportableError:
                continue  # its records told no call
        yield from self._flushed()

    # ------------------------------------------------------------------- in order

    def _ended(self, call_id: str) -> Iterator[bytes]:
        records = self._open.pop(call_id)
        tape = self._tape_of_records(call_id, records)
        if tape is not None:
            yield from self._hold(tape, tape.request_bytes + tape.response_bytes)

    def _hold(self, tape: Tape, size: int) -> Iterator[bytes]:
        self._tapes.append(tape)
        self._held += size
        if self._held > HELD_BYTES:
            yield from self._flushed()

    def _flushed(self) -> Iterator[bytes]:
        tapes, self._tapes, self._held = sorted(self._tapes, key=lambda tape: tape.started_ns), [], 0
        for tape in tapes:
            exchange = read_exchange(tape)
            yield spans_of(exchange, self._resolver.resolve(exchange), _KEEPS_ALL, self._version)

    # ------------------------------------------------------------------- one call

    def _tape_of_call(self, document: Document) -> Tape:
        try:
            request, response = document["req"], document["resp"]
            start_ns = nanoseconds(document["ts_start"])
            tape = self._tape(
                str(document.get("id") or document["ts_start"]),
                str(document["path"]).partition("?")[0],
                str(document.get("upstream") or ""),
                start_ns,
                document,
            )
            tape.method = str(document.get("method") or "POST")
            tape.request_headers = _headers(request.get("headers"))
            tape.client = str(document.get("client") or "")
            tape.sent(_body(request) or b"")
            tape.request_cut = tape.request_cut or bool(document.get("truncated_req"))
            status = int(document.get("status") or 0)
            tape.status = max(0, status)
            tape.response_headers = _headers(response.get("headers"))
            pieces = _pieces(response)
            for at_ms, piece in pieces:
                tape.received(piece)
                tape.arrivals[-1:] = [max(0, round(at_ms * 10**6))]
            tape.head_ns = tape.arrivals[0] if tape.arrivals else 0
            tape.response_cut = tape.response_cut or bool(document.get("truncated_resp"))
            end = document.get("ts_end")
            end_ns = nanoseconds(end) - start_ns if isinstance(end, str) else 0
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise NotImportableError(f"is no call of a proxy: {error!r}") from None
        ending = Ending.WHOLE
        if document.get("disconnected"):
            ending = Ending.CLIENT
        elif not tape.status:
            ending = Ending.OURS
        elif response.get("stream_done") is False:
            ending = Ending.UPSTREAM
        tape.ending = ending
        tape.end_ns = max(end_ns, tape.arrivals[-1] if tape.arrivals else 0)
        return tape

    def _tape_of_records(self, call_id: str, records: Sequence[Document]) -> Tape | None:
        """Raises: NotImportableError. None: nothing was asked in these records."""
        by_direction: dict[str, list[Document]] = {}
        for record in records:
            by_direction.setdefault(record["direction"], []).append(record)
        asked = by_direction.get("outbound_request") or by_direction.get("inbound_request")
        if not asked:
            return None
        try:
            request = asked[-1]
            start_ns = round(float(request["timestamp_unix"]) * SECOND_NS)
            metadata = request.get("metadata") or {}
            payload = _payload(request)
            model = str(request.get("model") or "")
            path = str(metadata.get("path") or _path_of(str(request.get("backend") or ""), payload, model))
            identity = f"{call_id} {request['timestamp_unix']}"
            tape = self._tape(identity, path, str(request.get("backend") or ""), start_ns, metadata)
            if _SPAN.fullmatch(call_id):
                tape.span_id = call_id
            session = str(request.get("session_id") or "")
            if _TRACE.fullmatch(session):  # where our proxy was told the trace
                tape.context.trace_id = session
            else:
                tape.context.session = session
            tape.client = str(metadata.get("client_host") or "")
            tape.method = str(metadata.get("method") or "POST")
            tape.request_headers = _headers(metadata.get("headers"))
            tape.sent(payload or b"")
            answered = (
                by_direction.get("inbound_response") or by_direction.get("outbound_response") or [{}]
            )[-1]
            told = answered.get("metadata") or {}
            started = (by_direction.get("stream_start") or [{}])[0]
            chunks = [one for one in by_direction.get("stream_chunk", []) if one.get("payload") is not None]
            status = told.get("http_status") or (started.get("metadata") or {}).get("http_status")
            tape.status = int(status or (200 if chunks or answered.get("payload") is not None else 0))
            tape.response_headers = _headers(told.get("headers"))
            if chunks:
                if not tape.response_headers:
                    tape.response_headers = [(b"content-type", b"text/event-stream")]
                for chunk in chunks:
                    tape.received(_payload(chunk) or b"")
                    tape.arrivals[-1:] = [
                        max(0, round(float(chunk["timestamp_unix"]) * SECOND_NS) - start_ns)
                    ]
            elif (body := _payload(answered)) is not None:
                # An answer that was streamed, and is kept put together only.
                tape.response_headers = [(b"content-type", b"application/json")]
                tape.received(body)
                tape.arrivals[-1:] = [max(0, round(float(answered["timestamp_unix"]) * SECOND_NS) - start_ns)]
            tape.head_ns = tape.arrivals[0] if tape.arrivals else 0
            last = max(float(record["timestamp_unix"]) for record in records)
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise NotImportableError(f"is no record of a wire capture: {error!r}") from None
        tape.ending = Ending.WHOLE if tape.status else Ending.OURS
        tape.error = str(told.get("error") or "") if not tape.status else ""
        tape.end_ns = max(0, round(last * SECOND_NS) - start_ns)
        return tape

    def _tape(self, identity: str, path: str, upstream: str, start_ns: int, told: Document) -> Tape:
        session = _object(told.get("session"))
        run_id, span_id = str(told.get("run_id") or ""), str(told.get("span_id") or "")
        context = Context(
            project=self._project or str(told.get("project") or ""),
            tenant=self._tenant,
            trace_id=run_id if _TRACE.fullmatch(run_id) else "",
            session=str(session.get("id") or told.get("session_id") or ""),
        )
        if not _SPAN.fullmatch(span_id):
            span_id = sha256(identity.encode(errors="replace")).hexdigest()[:16]
        return Tape(
            _upstream(upstream),
            "POST",
            path,
            context,
            span_id,
            self._budget,
            MOST_BYTES,
            started_ns=start_ns,
        )


def _object(told: Any) -> Document:
    return told if isinstance(told, dict) else {}


def _upstream(told: str) -> Upstream:
    """The provider by its name or address."""
    lower = told.lower()
    for provider in PROVIDERS:
        if provider.name == lower or provider.url == lower or provider.url.partition("://")[2] in lower:
            return provider
    for provider in PROVIDERS:
        if provider.name in lower:
            return provider
    return Upstream(told or "unknown", told if "://" in told else "", "openai")


def _path_of(backend: str, payload: bytes | None, model: str) -> str:
    for name, path in _PATHS:
        if name in backend.lower():
            return path.format(model=model)
    asked = orjson.loads(payload or b"{}")
    return "/v1/responses" if isinstance(asked, dict) and "input" in asked else "/v1/chat/completions"


def _headers(told: Any) -> list[tuple[bytes, bytes]]:
    pairs = told.items() if isinstance(told, dict) else (told or ())
    return [
        (
            str(name).lower().encode(),
            (", ".join(map(str, value)) if isinstance(value, list) else str(value)).encode(),
        )
        for name, value in pairs
        if str(name).lower() != "content-encoding"  # bodies are kept unpacked
    ]


def _body(told: Document) -> bytes | None:
    if isinstance(told.get("body_b64"), str):
        return base64.b64decode(told["body_b64"])
    body = told.get("body")
    if body is None:
        return None
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


def _pieces(response: Document) -> list[tuple[float, bytes]]:
    """(ms, bytes) of the answer."""
    if response.get("chunks"):
        return [(float(at_ms), str(text).encode()) for at_ms, text in response["chunks"]]
    if response.get("events"):
        return [(float(event.get("t_delta_ms") or 0), _as_sse(event)) for event in response["events"]]
    body = _body(response)
    return [(0.0, body)] if body is not None else []


def _as_sse(event: Document) -> bytes:
    data = event.get("data")
    text = (
        event.get("raw") if data is None else data if isinstance(data, str) else orjson.dumps(data).decode()
    )
    name = event.get("event")
    head = f"event: {name}\n" if name and name != "message" else ""
    lines = "\n".join(f"data: {line}" for line in str(text or "").split("\n"))
    return f"{head}{lines}\n\n".encode()


def _payload(record: Document) -> bytes | None:
    """What passed: a JSON object as it is, anything else as it was put into one."""
    payload = record.get("payload")
    if payload is None:
        return None
    if isinstance(payload, dict) and payload.keys() == {"encoding", "data"}:
        data = payload["data"]
        if payload["encoding"] == "base64":
            return base64.b64decode(data)
        return str(data).encode() if payload["encoding"] == "text" else orjson.dumps(data)
    return payload.encode() if isinstance(payload, str) else orjson.dumps(payload)
