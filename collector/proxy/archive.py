"""Keeps calls as they passed, in the store: for the API's `/exchanges`, for replay, for export.

A thread of its own takes what the recorder has read, masks many calls at a time and writes them. What can not be
written waits, up to a number of bytes; then the oldest is lost, and counted. The spans of a call do not depend on it.
"""

from __future__ import annotations

import base64
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import orjson

from collector.proxy.capture import Policy
from collector.proxy.exchange import Exchange, Outcome
from collector.proxy.headers import kept
from collector.proxy.sessions import Resolved
from collector.redaction import ProjectRules, marked
from mappers.redact import Mask
from sinks.base import PermanentError, RetryableError
from sinks.clickhouse.exchanges import StoredExchange

log = logging.getLogger(__name__)

GATHER_S = 0.3
"""How long calls wait for others, to be written together."""
PAUSE_S = 1.0
"""Between tries, while the store does not answer."""
MAX_BYTES = 64 << 20
"""Of calls that wait."""
BATCH_BYTES = 16 << 20
VECTORS = frozenset({"embeddings", "embed_content", "cohere_embed", "ollama_embed"})
"""APIs whose answers are numbers that nobody reads."""
MEDIA = ("audio/", "image/", "video/")

MUTATED = "plugin:"
"""Before the id of a plugin that changed the call, among its flags."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{4096,}={0,2}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Write = Callable[[Sequence[StoredExchange]], None]


class Archive:
    """Args:
    write: puts calls into the store; raises RetryableError, PermanentError.
    rules: what is masked and left out, by project; as for everything that is stored.
    """

    def __init__(self, write: Write, rules: ProjectRules) -> None:
        self._write = write
        self._rules = rules
        self._waiting: deque[_Kept] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self.stored = 0
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="proxy-archive", daemon=True)
        self._thread.start()

    def keep(self, exchange: Exchange, resolved: Resolved, policy: Policy) -> None:
        """Takes a call. Never waits."""
        rules = self._rules.of(exchange.tape.context.project or "default")
        found = _Kept(
            exchange,
            resolved,
            policy,
            input_=policy.input and "input" not in rules.hidden,
            output=policy.output and "output" not in rules.hidden,
        )
        with self._changed:
            self._waiting.append(found)
            self._bytes += found.size
            while self._bytes > MAX_BYTES:
                self._bytes -= self._waiting.popleft().size
                self.lost += 1
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """Writes what waits, for so many seconds at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        with self._changed:
            self.lost += len(self._waiting)
            self._waiting.clear()

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {"stored": self.stored, "waiting": len(self._waiting), "lost": self.lost}

    # ------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing and not self._waiting:
                    return
                self._changed.wait_for(lambda: self._closing, GATHER_S)
                batch = self._take()
            try:
                self._write(_masked(batch, self._rules))
            except RetryableError:
                if self._closing:
                    self.lost += len(batch)
                    return
                self._give_back(batch)
            except PermanentError as error:
                self.lost += len(batch)
                log.error("%d calls of the proxy can not be stored: %s", len(batch), error)
            except Exception:
                self.lost += len(batch)
                log.exception("%d calls of the proxy could not be stored", len(batch))
            else:
                self.stored += len(batch)

    def _take(self) -> list[_Kept]:
        batch: list[_Kept] = []
        size = 0
        while self._waiting and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        self._bytes -= size
        return batch

    def _give_back(self, batch: list[_Kept]) -> None:
        with self._changed:
            self._waiting.extendleft(reversed(batch))
            self._bytes += sum(found.size for found in batch)
            self._changed.wait_for(lambda: self._closing, PAUSE_S)


class _Kept:
    """A call as it waits: what is known of it, and its bodies as bytes."""

    __slots__ = ("assembled", "request", "response", "row", "size")

    def __init__(
        self, exchange: Exchange, resolved: Resolved, policy: Policy, *, input_: bool, output: bool
    ) -> None:
        tape, answered = exchange.tape, exchange.answered
        self.row = _row(exchange, resolved, policy)
        self.request = exchange.request_body if input_ else b""
        self.response = self.assembled = b""
        api = exchange.format.api if exchange.format else ""
        media_type = exchange.got.get(b"content-type", "")
        if output and tape.status and api not in VECTORS and not media_type.startswith(MEDIA):
            pieces = exchange.response_pieces()
            self.response = b"".join(piece for _, piece in pieces)
            if exchange.streamed:
                self.assembled = orjson.dumps(exchange.document, option=orjson.OPT_NON_STR_KEYS)
                end = 0
                for at, piece in pieces:
                    end += len(piece)
                    self.row.chunk_ends.append(end)
                    self.row.chunk_times.append(at)
        self.size = 2048 + len(self.request) + len(self.response) + len(self.assembled)
        if answered.error_message and not output:
            self.row.error_message = ""


def _row(exchange: Exchange, resolved: Resolved, policy: Policy) -> StoredExchange:
    tape, session, asked, answered = exchange.tape, resolved.session, exchange.asked, exchange.answered
    usage = answered.usage
    retries = exchange.sent.get(b"x-stainless-retry-count", "")
    tokens = policy.tokens
    flags = {
        "truncated_request": tape.request_cut,
        "truncated_response": tape.response_cut,
        "disconnected": exchange.outcome == Outcome.CLIENT_ABORT,
        "unfinished": exchange.outcome != Outcome.COMPLETE,
    }
    return StoredExchange(
        exchange_id=exchange_id(tape.started_ns, tape.span_id),
        tenant=tape.context.tenant,
        project=tape.context.project or "default",
        trace_id=session.trace_id,
        span_id=tape.span_id,
        session_id=session.id,
        session_method=resolved.method,
        session_confidence=resolved.confidence,
        start_ns=tape.started_ns,
        duration_ns=tape.end_ns,
        head_ns=tape.head_ns,
        ttft_ns=exchange.first_content_ns,
        client=tape.client,
        user_agent=exchange.sent.get(b"user-agent", ""),
        key_hash=policy.key_hash(exchange.sent),
        method=tape.method,
        path=tape.path,
        upstream=tape.upstream.name,
        server=f"{tape.server[0]}:{tape.server[1]}" if tape.server[1] else tape.server[0],
        api=exchange.format.api if exchange.format else "",
        model=asked.model,
        response_model=answered.model,
        status=tape.status or -1,
        outcome=exchange.outcome,
        error_type=exchange.error_type,
        error_message=exchange.error_message,
        streamed=exchange.streamed,
        retries=int(retries) if retries.isdigit() and len(retries) < 10 else 0,
        input_tokens=usage.input if tokens else None,
        output_tokens=usage.output if tokens else None,
        cache_read_tokens=usage.cache_read if tokens else None,
        cache_write_tokens=usage.cache_write if tokens else None,
        reasoning_tokens=usage.reasoning if tokens else None,
        request_bytes=tape.request_bytes,
        response_bytes=tape.response_bytes,
        content_encoding=exchange.got.get(b"content-encoding", ""),
        flags=[
            *(name for name, is_set in flags.items() if is_set),
            *(MUTATED + plugin for plugin in tape.mutations),
        ],
        request_headers=orjson.dumps([*kept(tape.request_headers)]).decode(),
        response_headers=orjson.dumps([*kept(tape.response_headers)]).decode(),
    )


# --------------------------------------------------------------------------- what must not be kept


def _masked(batch: Sequence[_Kept], rules: ProjectRules) -> list[StoredExchange]:
    """The rows, with their bodies as they may be stored."""
    texts = [
        b"\n".join((found.request, found.response, found.assembled, _described(found.row))) for found in batch
    ]
    rows = []
    for found, has_mark in zip(batch, marked(texts), strict=True):
        of_project = rules.of(found.row.project)
        rows.append(_stored(found, of_project.mask if has_mark or of_project.personal else None))
    return rows


_TEXTS = ("path", "user_agent", "session_id", "error_message", "request_headers", "response_headers")


def _described(row: StoredExchange) -> bytes:
    return "\n".join(getattr(row, name) for name in _TEXTS).encode(errors="replace")


def _stored(found: _Kept, mask: Mask | None) -> StoredExchange:
    row = found.row
    row.request_body, hidden = _text(found.request, mask)
    row.response_body, is_masked = _text(found.response, mask)
    if found.assembled:
        assembled, in_whole = _text(found.assembled, mask)
        if is_masked or in_whole or not _is_text(found.response):
            # Cut into pieces a secret looks like nothing: the answer as a whole is kept instead of them.
            row.response_body, is_masked = assembled, is_masked or in_whole
            row.chunk_ends, row.chunk_times = [], []
            row.flags.append("assembled")
    if mask is not None:
        for name in _TEXTS:
            setattr(row, name, mask(getattr(row, name)))
    if hidden or is_masked:
        row.flags.append("redacted")
    return row


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return not _BASE64.search(body.decode())


def _text(body: bytes, mask: Mask | None) -> tuple[str | None, bool]:
    """(the body as it is stored, whether something was masked)."""
    if not body:
        return None, False
    try:
        text = body.decode()
    except UnicodeDecodeError:
        found = body.decode("latin-1")
        masked = mask(found) if mask is not None else found
        return "base64:" + base64.b64encode(masked.encode("latin-1", "replace")).decode(), masked != found
    if len(text) > 4096:
        text = _BASE64.sub(_named, text)
    masked = mask(text) if mask is not None else text
    return masked, masked != text


def _named(match: re.Match[str]) -> str:
    """Media by their size and hash."""
    data = match[0]
    return f"[media bytes={len(data) * 3 // 4} sha256={sha256(data.encode()).hexdigest()}]"


# --------------------------------------------------------------------------- ids


def exchange_id(started_ns: int, span_id: str) -> str:
    """An ULID: 48 bits of time in ms, then 80 bits, of which 64 are the span's id."""
    filler = sha256(span_id.encode()).digest()[:2]
    number = (started_ns // 1_000_000) << 80 | int(span_id, 16) << 16 | int.from_bytes(filler)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def started_ms(exchange_id: str) -> int | None:
    """The time in an id, in ms; None if it is no id of ours."""
    if len(exchange_id) != 26 or not set(exchange_id) <= set(_CROCKFORD) or exchange_id[0] > "7":
        return None
    number = 0
    for character in exchange_id[:10]:
        number = number << 5 | _CROCKFORD.index(character)
    return number
