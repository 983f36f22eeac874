"""Answers that are fetched later: OpenAI's responses and Gemini's interactions with `background: true` say at once that
they are under way.

The call's span is sent again, with what came of it, when a GET brings the end, or a POST that cancels it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import replace

from collector.proxy.exchange import Exchange, read_exchange
from collector.proxy.session import Resolved
from collector.proxy.tape import Tape

MAX_WAITING = 200
"""Calls whose end is waited for; of more the oldest stay as they are."""
_PATH = re.compile(r"(?P<api>.*/(?:responses|interactions))/(?P<id>[^/]+)(?P<cancel>/cancel)?/?")
_UNDER_WAY = frozenset({"queued", "in_progress"})


def may_bring_an_end(method: str, path: str) -> bool:
    """Whether a request may be about such a call. Asked before anybody knows: a client may ask for the end before
    the beginning was read."""
    match = _PATH.fullmatch(path)
    return match is not None and method == ("POST" if match["cancel"] else "GET")


class Background:
    """Remembers calls whose answer is still to be fetched. Used from one thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, tuple[Exchange, Resolved]] = OrderedDict()

    def awaits(self, tape: Tape) -> bool:
        """Whether a request may have brought the end of such a call."""
        match = _PATH.fullmatch(tape.path) if self._waiting else None
        return match is not None and match["id"] in self._waiting and may_bring_an_end(tape.method, tape.path)

    def note(self, exchange: Exchange, resolved: Resolved) -> None:
        """Remembers the call if its answer is still to be fetched."""
        response_id = exchange.answered.id
        if response_id and _is_in_background(exchange) and _is_under_way(exchange):
            self._waiting[response_id] = (replace(exchange, request_body=b"", _pieces=[]), resolved)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)

    def ended(self, tape: Tape) -> tuple[Exchange, Resolved] | None:
        """The call whose end a request brought, as it is then; None if it goes on."""
        match = _PATH.fullmatch(tape.path)
        if match is None or match["id"] not in self._waiting or tape.status != 200:
            return None
        polled = read_exchange(replace(tape, path=match["api"]))
        if not polled.document or _is_under_way(polled):
            return None
        first, resolved = self._waiting.pop(match["id"])
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


def _is_in_background(exchange: Exchange) -> bool:
    """Interactions do not say so again in their answer; one that has ended without its end is in the background."""
    return exchange.document.get("background") is True or (
        exchange.format is not None and exchange.format.api == "interactions"
    )
