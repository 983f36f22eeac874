"""Loops inside one call's message history.

Clients without a framework open a trace for each model call and execute their tools unseen. Then only the history
that the model is given tells what was called, with which answer, and how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from mappers.loops.detectors import LOOP
from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.fingerprint import tool_step
from mappers.loops.step import Step, StepKind
from mappers.messages import Part, read_messages
from mappers.messages.arguments import arguments_of, result_of
from mappers.messages.document import hash64, written
from mappers.model import Event

FEWEST = 3
"""Calls in a history below which it is not read."""
MAX_CALLS = 512
"""Latest calls of a history that are looked at."""
_HINTS = (b"tool_call", b"tool_use", b"toolUse", b"unctionCall", b"unction_call")


class Repeat(NamedTuple):
    """A loop in a history."""

    detector: str
    key: int | str
    tool: str
    times: int
    threshold: int
    facts: dict[str, str]


class History(NamedTuple):
    conversation: str
    """The same for all calls of one conversation."""
    repeats: Sequence[Repeat]


def may_repeat(content: bytes) -> bool:
    """Whether a history in its written form has enough calls to be worth reading."""
    return sum(content.count(hint) for hint in _HINTS) >= FEWEST


def look(content: Any, engine: Engine) -> str:
    """The loops in a history in any shape that `messages` reads, for `read`; "" if there are none."""
    calls: list[Part] = []
    results: dict[str, str] = {}
    unnamed: list[str] = []
    for message in read_messages(content):
        for part in message.parts:
            if part.type == "tool_call" and part.name:
                calls.append(part)
            elif part.type == "tool_result":
                if part.id:
                    results.setdefault(part.id, part.text)
                else:
                    unnamed.append(part.text)
    if len(calls) < FEWEST:
        return ""
    first = calls[0]
    steps = []
    for number, part in enumerate(calls[-MAX_CALLS:]):
        result = results.get(part.id) if part.id else unnamed[number] if number < len(unnamed) else None
        step = Step(str(number), StepKind.TOOL, tool=part.name, start_ns=2 * number, end_ns=2 * number + 1)
        tool_step(
            step,
            written(arguments_of(part.arguments)) if part.arguments else None,
            None if result is None else written(result_of(result)),
            None,
        )
        steps.append(step)
    return _written(first.id or f"{first.name} {first.arguments}", steps, engine)


def of_records(parts: Sequence[Event], engine: Engine) -> str:
    """The same of a history whose messages came as log records of their own (`Event.part` is `input`)."""
    results = [
        part.input for part in parts if part.part == "input" and not part.tool_requests and _is_result(part)
    ]
    asked = [request for part in parts if part.part == "input" for request in part.tool_requests]
    if len(asked) < FEWEST:
        return ""
    steps = []
    for number, request in enumerate(asked[-MAX_CALLS:], max(0, len(asked) - MAX_CALLS)):
        step = Step(str(number), StepKind.TOOL, tool=request.name, start_ns=2 * number, end_ns=2 * number + 1)
        tool_step(step, None, results[number] if number < len(results) else None, None)
        step.has_args = bool(request.args_hash)
        step.exact = step.shape = hash64(f"{request.name}\0{request.args_hash}".encode()) >> 4
        steps.append(step)
    return _written(asked[0].id or f"{asked[0].name} {asked[0].args_hash}", steps, engine)


def _is_result(part: Event) -> bool:
    return part.name == "gen_ai.tool.message"


def _written(conversation: str, steps: Sequence[Step], engine: Engine) -> str:
    evaluator = Evaluator(engine)
    evaluator.feed_all(steps)
    found = [
        Repeat(
            finding.detector.name,
            finding.key,
            finding.tool,
            finding.count,
            finding.threshold,
            dict(finding.facts),
        )
        for finding in evaluator.findings.values()
        if finding.detector.category == LOOP
    ]
    if not found:
        return ""
    began = f"{hash64(conversation.encode(errors='replace')):016x}"
    return orjson.dumps([began, [tuple(repeat) for repeat in found]]).decode()


def read(stored: str) -> History | None:
    """What `look` wrote; None if it did not write this."""
    try:
        conversation, repeats = orjson.loads(stored)
        return History(str(conversation), [Repeat(*repeat) for repeat in repeats])
    except (ValueError, TypeError):
        return None
