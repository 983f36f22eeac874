"""From a tape to what was asked and answered: decoded, put together, judged and timed. Runs beside the traffic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import orjson

from collector.proxy.decoding import NotDecodableError, Pieces, decoded
from collector.proxy.formats import (
    Answered,
    Asked,
    Assembler,
    Document,
    Format,
    Part,
    format_by_shape,
    format_of,
)
from collector.proxy.formats.base import error_of, mapped, string
from collector.proxy.formats.bedrock import usage_in_headers
from collector.proxy.framing import FRAMINGS, Events, json_array
from collector.proxy.headers import by_name
from collector.proxy.tape import Ending, Tape

STALL_NS = 2_000_000_000
"""A pause between two pieces of what the model says that is worth a note."""
MAX_MESSAGE = 2000
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
_WHOLE = 64 << 10
_UNTYPED = frozenset({"", "text/plain", "application/octet-stream"})
_BEGINNINGS = (b"data:", b"event:")
"""Of a stream of events that a gateway has not called one."""
_FIRST_EVENTS = 3
"""Of a stream, so many tell what API it is of."""
_CUT = frozenset({"connect", "protocol"})
"""Words for what failed that say, once an answer had begun, no more than that it was cut."""


class Outcome:
    """How a call ended, judged by what was said before who hung up: SDKs close a stream as soon as they have seen
    its end."""

    COMPLETE = "complete"
    PROVIDER_ERROR = "provider_error"
    MID_STREAM_ERROR = "mid_stream_error"
    CLIENT_ABORT = "client_abort"
    UPSTREAM_ABORT = "upstream_abort"
    TRUNCATED = "truncated_capture"
    """It may have been whole; the copy is not."""

    FAILED = frozenset({PROVIDER_ERROR, MID_STREAM_ERROR, UPSTREAM_ABORT})


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that an answer made."""

    id: str
    name: str
    arguments: Any
    ended_ns: int
    """When the last of it came, since the call's begin."""
    on_server: bool = False
    """The provider ran it within the answer."""
    result: Part | None = None
    """What came of it, for those that the provider ran."""
    ran_ns: tuple[int, int] | None = None
    """From when until when the provider ran it, since the call's begin; None if nobody saw."""


@dataclass(slots=True)
class Exchange:
    """One call, understood as far as it can be."""

    tape: Tape
    format: Format | None
    sent: dict[bytes, str]
    """Request headers by name."""
    got: dict[bytes, str]
    """Response headers by name."""
    asked: Asked
    answered: Answered
    outcome: str
    error_type: str = ""
    error_message: str = ""
    streamed: bool = False
    first_event_ns: int | None = None
    first_content_ns: int | None = None
    gaps_ns: Sequence[int] = ()
    """Pauses between pieces of what the model said, in order."""
    stalls: Sequence[tuple[int, int]] = ()
    """(when it was over, how long)"""
    events: int = 0
    calls: list[Call] = field(default_factory=list)
    tries: int = 0
    """How many were before this one, as the client says or as `tries` finds."""
    faults: list[str] = field(default_factory=list)
    """What could not be read."""
    request_body: bytes = b""
    """Without its content coding, as far as it can be read."""
    document: Document = field(default_factory=dict)
    """The answer as one document, put together where it was streamed."""
    _pieces: list[tuple[int, bytes]] | None = None

    @property
    def key_sources(self) -> tuple[Mapping[bytes, str], str]:
        """Of the call's tape."""
        return self.tape.key_sources(self.sent)

    def response_pieces(self) -> list[tuple[int, bytes]]:
        """(when it came, bytes) of the answer without its content coding, as far as it can be read."""
        if self._pieces is None:
            self._pieces = _decoded_pieces(self.tape, self.got, self.faults)
        return self._pieces


def read_exchange(tape: Tape) -> Exchange:
    """Reads a finished tape. Never raises for what is on it: what can not be read is named in `faults`."""
    format_ = format_of(tape.path, tape.upstream.family)
    sent, got = by_name(tape.request_headers), by_name(tape.response_headers)
    exchange = Exchange(tape, format_, sent, got, Asked(""), Answered(), "")
    tries = sent.get(b"x-stainless-retry-count", "")
    exchange.tries = int(tries) if tries.isdecimal() and len(tries) < 10 else 0
    exchange.request_body = _request_body(exchange)
    if format_ is None:
        format_ = exchange.format = _format_by_shape(exchange)
    finished = False
    if format_ is not None:
        exchange.asked = _read_request(exchange, format_)
    if format_ is not None and tape.status:
        finished = _read_response(exchange, format_)
    elif tape.status >= 400:
        answered = exchange.answered
        answered.error_type, answered.error_message = error_of(_document(exchange))
    _judge(exchange, finished=finished)
    return exchange


def _format_by_shape(exchange: Exchange) -> Format | None:
    """The API of a path that says nothing, as gateways have them, by what was asked and answered there."""
    tape = exchange.tape
    if tape.method != "POST" or tape.request_cut or not exchange.request_body.lstrip().startswith(b"{"):
        return None
    try:
        body = orjson.loads(exchange.request_body)
        framing = framing_of(exchange)
        events: Iterable[Any]
        if framing is None:
            events = [orjson.loads(b"".join(piece for _, piece in exchange.response_pieces()) or b"null")]
        else:
            events = (_parsed(data) for _, _, data in framing(exchange.response_pieces()))
        answers = [event for event in islice(events, _FIRST_EVENTS) if isinstance(event, dict)]
    except ValueError:  # no JSON, or no events
        return None
    return format_by_shape(mapped(body), answers, failed=tape.status >= 400, family=tape.upstream.family)


# --------------------------------------------------------------------------- the request


def _request_body(exchange: Exchange) -> bytes:
    """The body without its content coding; as it is, if it can not be decoded."""
    raw = b"".join(exchange.tape.request)
    coding = exchange.sent.get(b"content-encoding")
    if not coding:
        return raw
    try:
        return b"".join(piece for _, piece in decoded([(0, raw)], coding))
    except NotDecodableError:
        exchange.faults.append("request")
        return raw


def _read_request(exchange: Exchange, format_: Format) -> Asked:
    tape, raw = exchange.tape, exchange.request_body
    body: Document = {}
    media_type = exchange.sent.get(b"content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        body = _form(raw, exchange.sent[b"content-type"])
    elif raw and not tape.request_cut and not exchange.faults:
        try:
            parsed = orjson.loads(raw)
            body = parsed if isinstance(parsed, dict) else {}
        except orjson.JSONDecodeError:
            exchange.faults.append("request")
    if not body and raw and (match := _MODEL.search(raw[:_WHOLE]) or _MODEL.search(raw[-_WHOLE:])):
        body = {"model": match[1].decode("utf-8", "replace")}
    try:
        asked = format_.asked(body, tape.path)
        asked.session = string(mapped(body.get("metadata")).get("session_id"))
        asked.cache_key = string(body.get("prompt_cache_key"))
        return asked
    except Exception:  # a shape that nobody foresaw costs its own meaning only
        exchange.faults.append("request")
        return Asked("chat", string(body.get("model")))


def _form(raw: bytes, content_type: str) -> Document:
    """Short text fields of a form, and of files their size."""
    match = re.search(r'boundary="?([^";]{1,200})"?', content_type)
    if not match:
        return {}
    found: Document = {}
    for part in raw.split(b"--" + match[1].encode("latin-1")):
        head, separator, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]{1,100})"', head)
        if separator and name:
            value = value.removesuffix(b"\r\n")
            key = name[1].decode("utf-8", "replace")
            is_file = b"filename=" in head
            found[key] = (
                {"bytes": len(value)} if is_file or len(value) > 4096 else value.decode("utf-8", "replace")
            )
    return found


# --------------------------------------------------------------------------- the response


def _document(exchange: Exchange) -> Document:
    """A response that is one JSON document; empty if it is none."""
    tape, faults = exchange.tape, exchange.faults
    raw = b"".join(piece for _, piece in exchange.response_pieces())
    if not raw:
        return {}
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        if exchange.format is not None and exchange.format.api == "transcription" and tape.status < 400:
            return {"text": raw.decode("utf-8", "replace")}  # `response_format` text, srt or vtt
        if tape.status >= 400:
            return {"error": raw[:MAX_MESSAGE].decode("utf-8", "replace")}
        if not tape.response_cut:
            faults.append("response")
        return {}
    if isinstance(parsed, list) and parsed and isinstance(parsed[0], dict):  # Gemini's errors come in a list
        parsed = parsed[0]
    return parsed if isinstance(parsed, dict) else {}


def _decoded_pieces(tape: Tape, got: dict[bytes, str], faults: list[str]) -> list[tuple[int, bytes]]:
    coding = got.get(b"content-encoding", "")
    found: list[tuple[int, bytes]] = []
    try:
        for piece in decoded(zip(tape.arrivals, tape.response, strict=True), coding):
            found.append(piece)
    except NotDecodableError:
        faults.append("response")
    return found


def framing_of(exchange: Exchange) -> Callable[[Pieces], Events] | None:
    """How the answer is cut into events; None if it is not a stream of them."""
    media_type = exchange.got.get(b"content-type", "").partition(";")[0].strip().lower()
    framing = FRAMINGS.get(media_type)
    if framing is None and ":stream" in exchange.tape.path and exchange.tape.status < 400:
        pieces = exchange.response_pieces()
        if pieces and pieces[0][1].lstrip()[:1] == b"[":
            return json_array
    if framing is None and media_type in _UNTYPED:
        pieces = exchange.response_pieces()
        if pieces and pieces[0][1].startswith(_BEGINNINGS):
            return FRAMINGS["text/event-stream"]
    return framing


def _read_response(exchange: Exchange, format_: Format) -> bool:
    """Fills in what the answer says; whether its end was seen."""
    tape, faults = exchange.tape, exchange.faults
    framing = framing_of(exchange)
    assembler = format_.assembler() if framing is not None else None
    content_ns: list[int] = []
    if framing is None or assembler is None:
        if not exchange.got.get(b"content-type", "").startswith(("audio/", "image/")):
            exchange.document = _document(exchange)
    else:
        exchange.streamed = True
        try:
            for at, name, data in framing(exchange.response_pieces()):
                if exchange.first_event_ns is None:
                    exchange.first_event_ns = at
                exchange.events += 1
                if assembler.feed(name, _parsed(data), at):
                    content_ns.append(at)
        except Exception:  # an event without an end, or of a shape that nobody foresaw
            faults.append("response")
        exchange.document = assembler.document
    try:
        exchange.answered = format_.answered(exchange.document)
    except Exception:
        faults.append("response")
    if not exchange.answered.usage.known:
        exchange.answered.usage = usage_in_headers(exchange.got)
    _note_times(exchange, content_ns)
    _note_calls(exchange, assembler)
    if assembler is None:
        return tape.ending is Ending.WHOLE
    # Servers that leave the closing event out are whole when they close after a finish reason.
    return assembler.finished or (tape.ending is Ending.WHOLE and bool(exchange.answered.finish_reasons))


def _parsed(data: bytes) -> Any:
    """JSON as what it is, anything else as its text."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode("utf-8", "replace").strip()


def _note_times(exchange: Exchange, content_ns: list[int]) -> None:
    if not exchange.streamed:
        return
    if content_ns:
        exchange.first_content_ns = content_ns[0]
    exchange.gaps_ns = [after - before for before, after in pairwise(content_ns)]
    exchange.stalls = [
        (at, gap) for at, gap in zip(content_ns[1:], exchange.gaps_ns, strict=True) if gap > STALL_NS
    ]


def _note_calls(exchange: Exchange, assembler: Assembler | None) -> None:
    results = {
        part["id"]: part
        for message in exchange.answered.messages
        for part in message["parts"]
        if part["type"] == "server_tool_call_response"
    }
    for message in exchange.answered.messages:
        for part in message["parts"]:
            if part["type"] in ("tool_call", "server_tool_call"):
                on_server = part["type"] == "server_tool_call"
                at = assembler.call_ended_ns(part["id"]) if assembler is not None else None
                ran = assembler.ran_ns(part["id"]) if assembler is not None and on_server else None
                exchange.calls.append(
                    Call(
                        part["id"],
                        part["name"],
                        part["arguments"],
                        at if at is not None else exchange.tape.end_ns,
                        on_server,
                        results.get(part["id"]) if on_server else None,
                        ran,
                    )
                )


# --------------------------------------------------------------------------- the outcome


def _judge(exchange: Exchange, *, finished: bool) -> None:
    tape, answered = exchange.tape, exchange.answered
    exchange.error_type, exchange.error_message = answered.error_type, answered.error_message[:MAX_MESSAGE]
    if tape.status >= 400:
        exchange.outcome = Outcome.PROVIDER_ERROR
        if exchange.error_type in ("", "error"):
            named = exchange.got.get(b"x-amzn-errortype", "").partition(":")[0]
            exchange.error_type = named or str(tape.status)
    elif answered.error_type:
        exchange.outcome = Outcome.MID_STREAM_ERROR if exchange.streamed else Outcome.PROVIDER_ERROR
    elif finished or (exchange.format is None and tape.ending is Ending.WHOLE):
        exchange.outcome = Outcome.COMPLETE
    elif tape.status and tape.response_cut:
        exchange.outcome = Outcome.TRUNCATED
    elif tape.ending is Ending.CLIENT:
        exchange.outcome, exchange.error_type = Outcome.CLIENT_ABORT, "client_disconnect"
    else:
        exchange.outcome = Outcome.UPSTREAM_ABORT
        exchange.error_type = tape.error or ("stream_ended_early" if tape.status else "no_answer")
        if tape.status and tape.error in _CUT:
            exchange.error_type = "upstream_reset"
    if exchange.outcome in (Outcome.CLIENT_ABORT, Outcome.UPSTREAM_ABORT, Outcome.MID_STREAM_ERROR):
        answered.finish_reasons = ["error"]
