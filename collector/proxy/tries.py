"""Calls that are made again after they failed, where the client does not say so itself.

Only some SDKs count their tries (`x-stainless-retry-count`). Of the others a call is a try again if it is the same
request, byte for byte, to the same place with the same key, begun soon after a failure that is worth another try. A
failure is followed by one try: what is asked twice at once, or again after an answer, is asked twice.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from collector.proxy.exchange import Exchange
from collector.proxy.tape import Ending

SOON_NS = 30_000_000_000
"""After a failure, or after the time that the provider asked to wait: SDKs wait up to 10 s of their own accord."""
MAX_ASKED_S = 600
MAX_FAILURES = 10_000
MAX_ALIKE = 64
"""Failures of the same request that wait for a try."""
WORTH_IT = frozenset({408, 409, 425, 429})
"""Statuses, beside those from 500 on."""


class Tries:
    """Remembers failures. Used from one thread, in the order in which calls end."""

    def __init__(self) -> None:
        self._failures: OrderedDict[bytes, list[_Failure]] = OrderedDict()
        """By request, the oldest first."""

    def note(self, exchange: Exchange) -> None:
        """Fills in how many tries were before this one, and remembers it if it failed."""
        failed = _is_worth_a_try(exchange)
        if not failed and not self._failures:
            return
        key = _request(exchange)
        if key is None:
            return
        started = exchange.tape.started_ns
        known = self._failures.pop(key, [])
        for before in known:
            if before.ended_ns <= started <= before.until_ns:
                known.remove(before)
                exchange.tries = exchange.tries or before.tries + 1
                break
        if failed:
            ended = started + exchange.tape.end_ns
            known.append(_Failure(ended, ended + _asked_to_wait_ns(exchange) + SOON_NS, exchange.tries))
        if known:
            self._failures[key] = known[-MAX_ALIKE:]
            if len(self._failures) > MAX_FAILURES:
                self._failures.popitem(last=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Failure:
    """Times by the wall clock."""

    ended_ns: int
    until_ns: int
    """Until then a try follows it."""
    tries: int
    """Before it."""


def _is_worth_a_try(exchange: Exchange) -> bool:
    tape = exchange.tape
    if tape.status:
        return tape.status in WORTH_IT or tape.status >= 500
    return tape.ending is Ending.UPSTREAM


def _request(exchange: Exchange) -> bytes | None:
    """What the same request has in common with this one; None if the copy of it is not whole."""
    tape = exchange.tape
    if tape.request_cut or not tape.request or exchange.format is None:
        return None
    key = blake2b(digest_size=16)
    for piece in (
        *(part.encode() for part in (tape.context.owner, tape.client, tape.upstream.name, tape.path)),
        tape.query_key.encode(),
        *(exchange.sent.get(name, "").encode() for name in _KEYS),
        b"".join(tape.request),
    ):
        key.update(len(piece).to_bytes(8, "big"))
        key.update(piece)
    return key.digest()


_KEYS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")


def _asked_to_wait_ns(exchange: Exchange) -> int:
    for name, unit in ((b"retry-after-ms", 1_000_000), (b"retry-after", 1_000_000_000)):
        try:
            return min(int(float(exchange.got.get(name, "")) * unit), MAX_ASKED_S * 1_000_000_000)
        except (ValueError, OverflowError):  # a date, or nothing
            continue
    return 0
