"""Where each thread of this process is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

DEEPEST = 100
"""Calls told of a thread."""


def stacks() -> list[dict[str, Any]]:
    """Of each thread its name and its calls, the innermost first, as `module:line function`: nothing of their values.
    Threads of libraries that are not Python's are not among them."""
    frames = sys._current_frames()
    return [
        {"name": thread.name, "calls": [*_calls(frames.get(thread.ident or 0))]}
        for thread in sorted(threading.enumerate(), key=lambda thread: thread.name)
    ]


def _calls(frame: FrameType | None) -> Iterator[str]:
    for _ in range(DEEPEST):
        if frame is None:
            return
        yield f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno} {frame.f_code.co_qualname}"
        frame = frame.f_back
