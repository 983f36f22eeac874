"""Answers that are fetched later: OpenAI's responses with `background: true` say at once that they are queued.

The call's span is sent again, with what came of it, when a GET brings the end.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from collector.proxy.exchange import Exchange, read_exchange
from collector.proxy.sessions import Resolved
from collector.proxy.tape import Tape

MAX_WAITING = 200
"""Calls whose end is waited for; of more the oldest stay as they are."""
ROOT = "/responses/"
_UNDER_WAY = frozenset({"queued", "in_progress"})


class Background:
    """Remembers calls whose answer is still to be fetched. Asked from the event loop, else used from one thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, tuple[Exchange, Resolved]] = OrderedDict()

    def awaits(self, method: str, path: str) -> bool:
        """Whether a request may bring the end of such a call."""
        return method == "GET" and _response_id(path) in self._waiting

    def note(self, exchange: Exchange, resolved: Resolved) -> None:
        """Remembers the call if its answer is still to be fetched."""
        response_id = exchange.answered.id
        if response_id and exchange.document.get("background") is True and _is_under_way(exchange):
            self._waiting[response_id] = (replace(exchange, request_body=b"", _pieces=[]), resolved)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)

    def ended(self, tape: Tape) -> tuple[Exchange, Resolved] | None:
        """The call whose end a request brought, as it is then; None if it goes on."""
        polled = read_exchange(replace(tape, path=tape.path.rpartition(ROOT)[0] + ROOT[:-1]))
        if tape.status != 200 or not polled.document or _is_under_way(polled):
            return None
        found = self._waiting.pop(_response_id(tape.path), None)
        if found is None:
            return None
        first, resolved = found
        later_ns = tape.started_ns - first.tape.started_ns
        first.tape.end_ns = later_ns + tape.end_ns
        # When the provider ran its tools nobody saw: a stream that is fetched later tells it all at once.
        calls = [replace(call, ended_ns=later_ns + call.ended_ns, ran_ns=None) for call in polled.calls]
        whole = replace(
            first,
            answered=polled.answered,
            outcome=polled.outcome,
            error_type=polled.error_type,
            error_message=polled.error_message,
            calls=calls,
        )
        return whole, resolved


def _is_under_way(exchange: Exchange) -> bool:
    return exchange.document.get("status") in _UNDER_WAY


def _response_id(path: str) -> str:
    return path.rpartition(ROOT)[2]
