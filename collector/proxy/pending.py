"""Tool calls that wait for their results, and how long they already do."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from collector.proxy.session import Open, Session

MAX_CALLS = 100_000
"""Calls that are watched; the oldest is watched no longer."""


class Pending:
    """Args:
    ttl_ns: from then on a call counts as unanswered.
    """

    def __init__(self, ttl_ns: int) -> None:
        self._ttl_ns = ttl_ns
        self._calls: deque[tuple[Session, str, Open]] = deque(maxlen=MAX_CALLS)
        """(session, key in its open calls, the call), in the order in which they were made"""

    def note(self, session: Session, made: Iterable[tuple[str, Open]]) -> None:
        self._calls.extend((session, key, one) for key, one in made)

    def take_up(self, sessions: Iterable[Session]) -> None:
        """Goes on waiting for what was open before a restart."""
        calls = []
        for session in sessions:
            calls += [(session, key, one) for key, one in session.made if key in session.open_calls]
            session.made = []
        self._calls.extend(sorted(calls, key=lambda call: call[2].at_ns))

    def overdue(self, now_ns: int) -> Iterator[tuple[Session, Open]]:
        """Calls whose time is up and whose result has not come; each once."""
        while self._calls and self._calls[0][2].at_ns + self._ttl_ns <= now_ns:
            session, key, made = self._calls.popleft()
            if session.open_calls.get(key) is made:
                yield session, made
