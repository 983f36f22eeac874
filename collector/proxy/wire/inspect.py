"""Looking into a wire capture: which records, what they add up to, how long each call took, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from collector.proxy.wire.records import Record

SLOW_S = 30.0
"""A call that takes longer is named among what is wrong."""
SILENCE_S = 5.0
"""So is a pause within a stream."""
PIECES = ("stream_chunk", "ws_frame")
"""What is said in these is counted, and the pauses between them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records; everything that is given must fit."""

    directions: Sequence[str] = ()
    session: str = ""
    request: str = ""
    backend: str = ""
    model: str = ""
    errors: bool = False

    def fits(self, record: Record) -> bool:
        metadata = record["metadata"]
        return (
            (not self.directions or record["direction"] in self.directions)
            and self.session in ("", record["session_id"])
            and self.request in ("", metadata.get("request_id"))
            and self.backend in ("", record["backend"])
            and self.model in ("", record["model"])
            and (not self.errors or bool(metadata.get("error")) or (metadata.get("http_status") or 0) >= 400)
        )


@dataclass(slots=True)
class WireCall:
    """The records of one call."""

    request_id: str
    began: float
    ended: float
    records: list[Record] = field(default_factory=list)
    status: int | None = None
    error: str = ""
    outcome: str = ""
    chunks: int = 0
    longest_pause_s: float = 0.0
    ttfb_ms: float | None = None
    tokens: int | None = None

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def has_answer(self) -> bool:
        return any(record["direction"] == "inbound_response" for record in self.records)

    @property
    def is_connection(self) -> bool:
        """These are a WebSocket's messages that belong to no call."""
        return all(record["direction"] == "ws_frame" for record in self.records)


def calls_of(records: Iterable[Record]) -> list[WireCall]:
    """The calls that records belong to, in the order in which they began."""
    calls: dict[str, WireCall] = {}
    for record in sorted(records, key=lambda record: float(record["timestamp_unix"])):
        at, metadata = float(record["timestamp_unix"]), record["metadata"]
        call = calls.get(metadata["request_id"])
        if call is None:
            call = calls[metadata["request_id"]] = WireCall(metadata["request_id"], at, at)
        if record["direction"] in PIECES:
            call.chunks += 1
            if call.chunks > 1:
                call.longest_pause_s = max(call.longest_pause_s, at - call.ended)
        call.began, call.ended = min(call.began, at), max(call.ended, at)
        call.records.append(record)
        call.status = metadata.get("http_status") or call.status
        call.error = metadata.get("error") or call.error
        call.outcome = metadata.get("outcome") or call.outcome
        call.ttfb_ms = metadata.get("ttfb_ms") or call.ttfb_ms
        if record["direction"] == "inbound_response":
            call.tokens = _tokens(record["payload"])
    return sorted(calls.values(), key=lambda call: call.began)


def _tokens(payload: Any) -> int | None:
    """All tokens of an answer, in the words of OpenAI or Anthropic; a capture in CBOR has its bytes."""
    if isinstance(payload, bytes):
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return None
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return None
    if isinstance(usage.get("total_tokens"), int):
        return int(usage["total_tokens"])
    counts = [usage[name] for name in ("input_tokens", "output_tokens") if isinstance(usage.get(name), int)]
    return sum(counts) if counts else None


def summary_lines(records: Sequence[Record]) -> Iterator[str]:
    """What the records add up to."""
    calls = calls_of(records)
    yield f"{len(records)} records of {len(calls)} calls"
    if not calls:
        return
    yield f"from {calls[0].first['timestamp_iso']}, over {max(call.ended for call in calls) - calls[0].began:.1f} s"
    failed = sum(bool(call.error) or (call.status or 0) >= 400 for call in calls)
    tokens = [call.tokens for call in calls if call.tokens is not None]
    times = sorted(call.ended - call.began for call in calls)
    yield f"{failed} failed; {sum(tokens)} tokens in the {len(tokens)} calls that say"
    yield f"took {times[len(times) // 2]:.2f} s in the middle, {times[-1]:.2f} s at most"
    for title, counted in (
        ("direction", Counter(record["direction"] for record in records)),
        ("backend", Counter(call.first["backend"] for call in calls)),
        ("model", Counter(call.first["model"] or "-" for call in calls)),
        ("status", Counter(str(call.status or "none") for call in calls)),
        ("session", Counter(call.first["session_id"] or "-" for call in calls)),
    ):
        yield f"by {title}:"
        for name, count in counted.most_common(20):
            yield f"  {count:>7}  {name}"


def timeline_lines(records: Sequence[Record]) -> Iterator[str]:
    """A line for each call: when, how long, what, how it ended."""
    calls = calls_of(records)
    for call in calls:
        metadata = call.first["metadata"]
        said = [
            f"+{call.began - calls[0].began:9.3f} s",
            f"{call.ended - call.began:8.3f} s",
            f"{call.status or '---'}",
            f"{metadata.get('method', '')} {metadata.get('path', '')}",
            call.first["backend"],
            call.first["model"] or "-",
            f"request {call.request_id}",
        ]
        if call.chunks:
            first = f", the first after {call.ttfb_ms:.0f} ms" if call.ttfb_ms is not None else ""
            said.append(f"{call.chunks} {'messages' if call.is_connection else 'chunks'}{first}")
        if call.tokens is not None:
            said.append(f"{call.tokens} tokens")
        if call.error:
            said.append(f"error {call.error}")
        yield "  ".join(said)


def issue_lines(records: Sequence[Record]) -> Iterator[str]:
    """What is wrong, a line each."""
    for call in calls_of(records):
        for issue in _issues(call):
            metadata = call.first["metadata"]
            yield (
                f"{call.first['timestamp_iso']}  request {call.request_id}  "
                f"{metadata.get('method', '')} {metadata.get('path', '')}  {call.first['backend']}: {issue}"
            )


def _issues(call: WireCall) -> Iterator[str]:
    if not call.is_connection:
        yield from _ill_ends(call)
    if any(record["metadata"].get("truncated") for record in call.records):
        yield "the copy is not whole (proxy.capture.max_body_bytes, max_queue_bytes)"
    if any(record["metadata"].get("redacted") for record in call.records):
        yield "a secret was masked in it"


def _ill_ends(call: WireCall) -> Iterator[str]:
    directions = {record["direction"] for record in call.records}
    if not call.has_answer:
        yield f"no answer ({call.error})" if call.error else "no answer"
    elif (call.status or 0) >= 400:
        yield f"the provider answered {call.status}" + (f" ({call.error})" if call.error else "")
    elif call.error:
        yield f"it ended with {call.error}" + (f" ({call.outcome})" if call.outcome else "")
    if "stream_start" in directions and "stream_end" not in directions:
        yield "the stream has no end"
    if call.ended - call.began > SLOW_S:
        yield f"it took {call.ended - call.began:.1f} s"
    if call.longest_pause_s > SILENCE_S:
        yield f"the stream was silent for {call.longest_pause_s:.1f} s"
