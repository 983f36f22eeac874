"""A call as the records of a wire capture: one for each message and direction, and one for each piece of a stream.

Secrets are looked for in a message as a whole, decoded, and in a streamed answer also once it is put together: cut
into pieces they look like nothing. A stream in which one is found loses the text of its pieces; their times and sizes
stay, and so does the answer, masked.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from collector.proxy.exchange import Exchange, Outcome, framing_of
from collector.proxy.headers import kept
from collector.proxy.tape import Tape
from mappers.redact import Mask

Record = dict[str, Any]

FAILED = (*Outcome.FAILED, Outcome.CLIENT_ABORT)


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be written of a call."""

    mask: Mask
    input: bool = True
    output: bool = True


@dataclass(frozen=True, slots=True)
class Names:
    """What a call belongs to."""

    session: str | None
    key: str | None
    """A name for the API key that does not tell it."""


def records_of(exchange: Exchange, names: Names, rules: Rules, *, exact: bool) -> Iterator[Record]:
    """The records of a finished call, in order of time.

    Args:
        exact: payloads are the bytes as they passed, still encoded, wherever nothing has to be masked in them.
    """
    call = _Call(exchange, names, rules, exact)
    yield from call.requests()
    yield from call.responses()


class Content:
    """The payload of a record."""

    __slots__ = ("is_masked", "payload", "withheld")

    def __init__(
        self,
        payload: Any,
        is_masked: bool = False,
        allowed: bool = True,
        *,
        withheld: bool = False,
    ) -> None:
        self.payload = payload
        self.is_masked = is_masked
        self.withheld = withheld or not allowed


class Recorded:
    """Something that passed, as records.

    Args:
        exact: payloads are the bytes as they passed, wherever nothing has to be masked in them.
        agent: the client's user agent.
        model: that was asked for, if it is known.
    """

    def __init__(
        self, tape: Tape, names: Names, rules: Rules, exact: bool, agent: str, model: str | None
    ) -> None:
        self._tape = tape
        self._names = names
        self._rules = rules
        self._exact = exact
        self._agent = agent
        self._model = model
        self._client = f"{tape.client}({agent})" if agent else tape.client

    def _content(self, raw: bytes, body: bytes, allowed: bool) -> Content:
        """A whole body. `raw` as it passed, `body` without its content coding."""
        if not raw or not allowed:
            return Content(None, withheld=bool(raw) and not allowed)
        try:
            text = body.decode()
            masked = self._rules.mask(text)
            plain = masked.encode()
        except UnicodeDecodeError:
            text = body.decode("latin-1")
            masked = self._rules.mask(text)
            plain = masked.encode("latin-1", "replace")
        if self._exact:
            return Content(raw if masked == text else plain, masked != text)
        return Content(_shown(plain), masked != text)

    def _headers(self, headers: Sequence[tuple[bytes, bytes]]) -> list[list[str]]:
        """Names and values, in order; of those that may hold credentials only how long they are."""
        return [[name, self._rules.mask(value)] for name, value in kept(headers)]

    def _record(
        self,
        direction: str,
        at_ns: int,
        content: Content,
        length: int,
        more: Record,
        *,
        to_backend: bool = False,
    ) -> Record:
        tape = self._tape
        moment_ns = tape.started_ns + at_ns
        backend = tape.upstream.name
        ends = (self._client, backend) if to_backend else (backend, self._client)
        metadata: Record = {
            "client_host": tape.client,
            "user_agent": self._agent,
            "request_id": tape.span_id,
            "project": tape.context.project,
            "method": tape.method,
            "path": tape.path,
            **more,
        }
        if content.is_masked:
            metadata["redacted"] = True
        if content.withheld:
            metadata["withheld"] = True
        return {
            "timestamp_iso": datetime.fromtimestamp(moment_ns / 1e9, UTC).isoformat(timespec="microseconds"),
            "timestamp_unix": moment_ns / 1e9,
            "mono_ns": at_ns,
            "direction": direction,
            "source": ends[0],
            "destination": ends[1],
            "session_id": self._names.session,
            "backend": backend,
            "model": self._model,
            "key_name": self._names.key,
            "content_type": _form(content.payload),
            "content_length": length,
            "payload": content.payload,
            "metadata": metadata,
        }


class _Call(Recorded):
    def __init__(self, exchange: Exchange, names: Names, rules: Rules, exact: bool) -> None:
        agent = exchange.sent.get(b"user-agent", "")
        model = exchange.asked.model or exchange.answered.model or None
        super().__init__(exchange.tape, names, rules, exact, agent, model)
        self._exchange = exchange

    # ------------------------------------------------------------------- requests

    def requests(self) -> Iterator[Record]:
        tape = self._tape
        more: Record = {"headers": self._headers(tape.request_headers)}
        if tape.request_cut:
            more["truncated"] = True
        if self._exchange.tries or b"x-stainless-retry-count" in self._exchange.sent:
            more["retry_count"] = self._exchange.tries
        sent = self._content(b"".join(tape.request), self._exchange.request_body, self._rules.input)
        came = sent
        if tape.request_before:
            before = b"".join(tape.request_before)
            came = self._content(before, before, self._rules.input)
        for direction, content in (("inbound_request", came), ("outbound_request", sent)):
            yield self._record(direction, 0, content, tape.request_bytes, more, to_backend=True)

    # ------------------------------------------------------------------- responses

    def responses(self) -> Iterator[Record]:
        tape, exchange = self._tape, self._exchange
        error = exchange.error_type if exchange.outcome in FAILED else tape.error
        if not tape.status:
            yield self._record("outbound_response", tape.end_ns, Content(None), 0, {"error": error})
            return
        more: Record = {"http_status": tape.status, "headers": self._headers(tape.response_headers)}
        if framing_of(exchange) is not None:
            more |= {"assembled": True}
            content = self._assembled()
            yield from self._stream(content, error)
        else:
            pieces = exchange.response_pieces()
            body = b"".join(piece for _, piece in pieces)
            content = self._content(b"".join(tape.response), body, self._rules.output)
        if tape.response_cut:
            more["truncated"] = True
        if error:
            more["error"] = error
        for direction in ("inbound_response", "outbound_response"):
            yield self._record(direction, tape.end_ns, content, tape.response_bytes, more)

    def _assembled(self) -> Content:
        document = self._exchange.document
        if not document or not self._rules.output:
            return Content(None)
        text = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode()
        masked = self._rules.mask(text)
        return Content(_shown(masked.encode("utf-8", "replace")), masked != text)

    def _stream(self, assembled: Content, error: str) -> Iterator[Record]:
        tape = self._tape
        pieces = self._exchange.response_pieces()
        whole = b"".join(piece for _, piece in pieces).decode("utf-8", "replace")
        has_secret = assembled.is_masked or self._rules.mask(whole) != whole
        shown = self._rules.output and not has_secret
        yield self._record("stream_start", tape.head_ns, Content(None), 0, {"http_status": tape.status})
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        raw: Sequence[tuple[int, bytes]] = pieces
        if self._tape.over_websocket:
            raw = ()  # each is a message, and a record as such
        elif self._exact:
            raw = list(zip(tape.arrivals, tape.response, strict=True))
        for number, (at, piece) in enumerate(raw, 1):
            payload: Any = None
            if shown:
                payload = piece if self._exact else decoder.decode(piece, final=number == len(raw))
            more: Record = {"chunk_number": number, "chunk_bytes": len(piece)}
            yield self._record(
                "stream_chunk", at, Content(payload, has_secret, self._rules.output), len(piece), more
            )
        first = self._exchange.first_event_ns
        more = {
            "total_bytes": tape.response_bytes,
            "total_chunks": tape.pieces,
            "ttfb_ms": None if first is None else first / 1e6,
            "outcome": self._exchange.outcome,
        }
        if error:
            more["error"] = error
        yield self._record("stream_end", tape.end_ns, Content(None), tape.response_bytes, more)


def printable(record: Record) -> Record:
    """A record as it would have been written without its exact bytes; these may be in a content coding."""
    payload = record["payload"]
    if not isinstance(payload, bytes):
        return record
    if record["direction"] == "stream_chunk":
        shown: Any = payload.decode("utf-8", "replace")
    else:
        shown = _shown(payload)
    return {**record, "payload": shown, "content_type": _form(shown)}


def _shown(body: bytes) -> Record:
    """A JSON object as it is. Anything else is put into one, so that a filter may ask any payload for a member."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return {"encoding": "text", "data": body.decode()}
        except UnicodeDecodeError:
            return {"encoding": "base64", "data": base64.b64encode(body).decode()}
    return document if isinstance(document, dict) else {"encoding": "json", "data": document}


def _form(payload: Any) -> str | None:
    match payload:
        case None:
            return None
        case str() | {"encoding": "text", "data": str()}:
            return "text"
        case bytes() | {"encoding": "base64", "data": str()}:
            return "bytes"
    return "json"
