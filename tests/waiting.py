"""Waiting for what another thread or another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE_S = 60.0
"""How long what must happen may take: it costs nothing where it happens at once, and a busy machine stops processes
for seconds."""
AT_LEAST = 10


def until(
    ask: Callable[[], Answer],
    said: Callable[[], object] = str,
    *,
    every_s: float = 0.03,
    patience_s: float = PATIENCE_S,
) -> Answer:
    """Asks until the answer is true, and gives it; if it never is, the test fails with what `said` gives then.

    An answer that itself took all the time says nothing of what became of it since, so a few more are heard.
    """
    deadline = time.monotonic() + patience_s
    asked = 0
    while not (answer := ask()):
        asked += 1
        assert time.monotonic() < deadline or asked < AT_LEAST, said()
        time.sleep(every_s)
    return answer
