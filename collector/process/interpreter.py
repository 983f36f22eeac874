"""The process itself. Threads share the interpreter: doors must answer in milliseconds while batches are worked on."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

SWITCH_S = 0.0002
"""A thread that has work gets the interpreter after so many seconds at the latest. A request costs its door several
waits for it, each as long as this while a batch is being read; with Python's usual 5 ms a busy collector acknowledges
a third as many spans."""


def take_short_turns() -> None:
    """Threads get the interpreter soon, whoever has it."""
    sys.setswitchinterval(SWITCH_S)


def dump_nothing() -> None:
    """A core dump would hold keys, and what was said."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def event_loop() -> Callable[..., Any]:
    """What runs a coroutine: uvloop where there is one, which halves the cost of a request."""
    if sys.platform == "win32":
        return asyncio.run
    import uvloop

    return uvloop.run


LOOK_AT_LOOP_S = 0.5


async def watch_loop(tell: Callable[[float], None]) -> None:
    """Tells how many seconds late the event loop comes to what is due, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_AT_LOOP_S
        await asyncio.sleep(LOOK_AT_LOOP_S)
        tell(max(0.0, loop.time() - due))


def cpu_seconds() -> float:
    """What this process has used of the processor, for itself and in the system."""
    times = os.times()
    return times.user + times.system


def calm_garbage_collection() -> None:
    """Events of recent runs are many, live long and form no cycles. Looking through all of them, as Python does
    by default every few thousand requests, holds up acknowledgements by 50 ms and more. So young objects are left
    alone until most of a batch has gone again by itself, and old ones until there are many more of them. What was
    made at the start stays for good and is never looked through."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(400_000, 1, 200)
