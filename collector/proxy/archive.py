"""Keeps calls as they passed, in the store: for the API's `/exchanges`, for replay, for export.

A thread takes what the recorder has read, masks many calls at a time and keeps them in a spool, which outlives the
process; another writes them. What can not be written waits there, up to a number of bytes; then the oldest is lost,
and counted. The spans of a call do not depend on it.
"""

from __future__ import annotations

import base64
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from collector.pipeline.marks import marked
from collector.pipeline.redaction import ProjectRules
from collector.proxy.capture import Policy
from collector.proxy.exchange import Exchange, Outcome
from collector.proxy.headers import kept
from collector.proxy.session import Resolved
from collector.proxy.spool import Spool
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
VECTORS = frozenset({"embeddings", "embed_content", "cohere_embed", "ollama_embed", "predict_embeddings"})
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
    spool: has the masked calls until the store has them; None keeps them in memory.
    """

    def __init__(self, write: Write, rules: ProjectRules, spool: Spool | None = None) -> None:
        self._write = write
        self._rules = rules
        self._spool = spool
        self._waiting: deque[_Kept] = deque()
        """What is not masked yet."""
        self._bytes = 0
        self._masked: deque[_Masked] = deque(
            _Masked(name, None, 0) for name in (spool.waiting() if spool is not None else ())
        )
        """What the store has not, the oldest first."""
        self._masked_bytes = 0
        """Of that in memory."""
        self._changed = threading.Condition()
        self._closing = False
        self._is_masked = False
        """Nothing more comes to be written."""
        self.stored = 0
        self.lost = 0
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._mask_all, "proxy-archive"), (self._write_all, "proxy-archive-write"))
        ]
        for thread in self._threads:
            thread.start()

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
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Writes what waits, for so many seconds at most; what the spool has is written at the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout)
        with self._changed:
            self.lost += len(self._waiting)
            self.lost += sum(len(one.rows or ()) for one in self._masked if one.name is None)
            self._waiting.clear()
            self._masked.clear()

    def document(self) -> dict[str, Any]:
        """For the status: `waiting` are calls, `behind` batches of them that the store has not taken."""
        return {
            "stored": self.stored,
            "waiting": len(self._waiting),
            "behind": len(self._masked),
            "lost": self.lost,
        }

    # ------------------------------------------------------------------- masking

    def _mask_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing and not self._waiting:
                    self._is_masked = True
                    self._changed.notify_all()
                    return
                self._changed.wait_for(lambda: self._closing, GATHER_S)
                batch = self._take()
            try:
                rows = _masked(batch, self._rules)
            except Exception:
                self.lost += len(batch)
                log.exception("%d calls of the proxy could not be masked", len(batch))
                continue
            self._owe(_Masked(self._spooled(rows), rows, sum(found.size for found in batch)))

    def _take(self) -> list[_Kept]:
        batch: list[_Kept] = []
        size = 0
        while self._waiting and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        self._bytes -= size
        return batch

    def _spooled(self, rows: list[StoredExchange]) -> str | None:
        if self._spool is None:
            return None
        try:
            body = orjson.dumps(rows)
        except orjson.JSONEncodeError:  # a text that is none: the store may take it
            return None
        name, too_old = self._spool.put({"calls": len(rows)}, body)
        with self._changed:
            self.lost += len(too_old)
        return name

    def _owe(self, masked: _Masked) -> None:
        with self._changed:
            self._masked.append(masked)
            self._masked_bytes += masked.size
            for one in list(self._masked):
                if self._masked_bytes <= MAX_BYTES:
                    break
                self._masked_bytes -= one.size
                if one.name is None:
                    self._masked.remove(one)
                    self.lost += len(one.rows or ())
                one.rows, one.size = None, 0
            self._changed.notify_all()

    # ------------------------------------------------------------------- writing

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._masked or self._is_masked)
                if not self._masked:
                    return
                masked = self._masked[0]
                rows = masked.rows
            if rows is None:
                rows = self._read(masked)
            if not self._stored(rows):
                with self._changed:
                    self._changed.wait_for(lambda: self._is_masked, PAUSE_S)
                    if self._is_masked:
                        return
                continue
            with self._changed:
                if self._masked and self._masked[0] is masked:
                    self._masked.popleft()
                    self._masked_bytes -= masked.size
            if masked.name is not None and self._spool is not None:
                self._spool.drop(masked.name)

    def _read(self, masked: _Masked) -> list[StoredExchange]:
        found = self._spool.read(masked.name) if self._spool is not None and masked.name else None
        return _rows_in(found[1]) if found is not None else []

    def _stored(self, rows: list[StoredExchange]) -> bool:
        """Whether the matter is settled; False if the store does not answer."""
        if not rows:
            return True
        try:
            self._write(rows)
        except RetryableError:
            return False
        except PermanentError as error:
            self.lost += len(rows)
            log.error("%d calls of the proxy can not be stored: %s", len(rows), error)
        except Exception:
            self.lost += len(rows)
            log.exception("%d calls of the proxy could not be stored", len(rows))
        else:
            self.stored += len(rows)
        return True


@dataclass(slots=True, eq=False)
class _Masked:
    """Calls as they may be stored."""

    name: str | None
    """In the spool."""
    rows: list[StoredExchange] | None
    """None: only the spool has them."""
    size: int
    """Bytes in memory."""


def _rows_in(body: bytes) -> list[StoredExchange]:
    """Calls as the spool has them; none if it has something else, as of another version."""
    try:
        return [StoredExchange(**row) for row in orjson.loads(body)]
    except (orjson.JSONDecodeError, TypeError):
        log.error("calls of the proxy that waited in the spool can not be read")
        return []


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
        key_hash=policy.key_hash(*exchange.key_sources),
        key_name=policy.key_name(*exchange.key_sources),
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
        retries=exchange.tries,
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
