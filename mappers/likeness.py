"""Whether two events may tell of one call, by what their own spans say of it.

Where instrumentations lose the context and give no response id, nothing joins what they told of one call but its
time and what it was: the same answer, the same token counts, the same question, or a failure in the same words.
Which of several calls that are alike is meant does not matter as long as each is joined to one.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator

from mappers.filling import guesses_usage
from mappers.model import EMBEDDING, ERROR, OK, Event, ToolRequest

CLOCK_NS = 2_000_000
"""How far two clocks of one process may be apart: JavaScript's spans begin at whole milliseconds and end by another
clock."""

SEGMENT = re.compile(r"[-./:]")
"""What parts the name of a tool from the names of what it belongs to before it."""

Alike = int
"""What two events share: 0 the answer and the counts, 1 the answer, 2 the counts, 3 the question, 4 the failure."""


def own_id(event: Event) -> str:
    """The response id that its span gives, not what was filled in from others."""
    return "" if "response_id" in event.filled else event.response_id


def own_count(event: Event, name: str) -> int | None:
    """What its own span counted; None where it did not, or only guessed."""
    if guesses_usage(event):
        return None
    if name == "input_tokens" and event.own_input_tokens is not None:
        return event.own_input_tokens
    value: int | None = None if name in event.filled else getattr(event, name)
    return value


def differ(one: Event, other: Event, name: str) -> bool:
    """Whether both counted this, and not the same."""
    first, second = own_count(one, name), own_count(other, name)
    return first is not None and second is not None and first != second


def contradict(one: Event, other: Event) -> bool:
    """Something that both know differs: then two calls only happened at the same time."""
    if (one.status == ERROR) != (other.status == ERROR):
        succeeded = other if one.status == ERROR else one
        # Who breaks a stream off may tell that as a failure, with what was said until then.
        if _has_answer(succeeded) and not _same_answer(one, other):
            return True
    first, second = _model(one), _model(other)
    if first and second and first not in second and second not in first:
        return True
    # One of them may leave the cache out of what it says was read.
    return (
        differ(one, other, "input_tokens")
        and _uncached(one) != own_count(other, "input_tokens")
        and _uncached(other) != own_count(one, "input_tokens")
    )


def answered_otherwise(one: Event, other: Event) -> bool:
    """Whether both tell a whole answer, and these are two."""
    return (
        one.status == OK == other.status
        and _answer(one) != 0 != _answer(other)
        and not _same_answer(one, other)
        and (_counts(one) is None or _counts(one) != _counts(other))
    )


def alike(one: Event, other: Event) -> Alike | None:
    """What the two share that other calls of their time need not; None: nothing."""
    same_counts = _counts(one) is not None and _counts(one) == _counts(other)
    if _same_answer(one, other):
        return 0 if same_counts else 1
    if same_counts:
        return 2
    if _question(one) and _question(one) == _question(other) and not answered_otherwise(one, other):
        return 3
    if one.status == ERROR == other.status and _same_failure(one, other):
        return 4
    return None


def traits(event: Event) -> Iterator[Hashable]:
    """What an event that is `alike` shares with the other: at least one of these."""
    if answer := _answer(event):
        yield "answer", answer
    if asked := _asked(event):
        yield "asked", asked
    if counts := _counts(event):
        yield "counts", counts
    if question := _question(event):
        yield "question", question
    if event.status == ERROR:
        yield "failed"


def same_tool(one: str, other: str) -> bool:
    """Whether two names are of one tool: `get_weather` is `get_weather` and `Weather-get_weather`."""
    short, long = sorted((one, other), key=len)
    return bool(short) and (
        short == long or (long.endswith(short) and SEGMENT.match(long[-len(short) - 1]) is not None)
    )


def same_execution(one: Event, other: Event) -> Alike | None:
    """What two tools of one name and time share that two executions need not: 0 the id of the call, 1 the result, 2
    the arguments, 3 the failure; None: nothing, or they differ. Arguments are written in too many ways to tell two
    apart."""
    if one.kind != other.kind or not same_tool(one.tool, other.tool) or not together(one, other):
        return None
    if one.tool_call_id and other.tool_call_id:
        return 0 if one.tool_call_id == other.tool_call_id else None
    if (one.status == ERROR) != (other.status == ERROR):
        return None
    if one.result_hash and other.result_hash:
        return 1 if one.result_hash == other.result_hash else None
    if one.args_hash and one.args_hash == other.args_hash:
        return 2
    return 3 if one.status == ERROR and _same_failure(one, other) else None


def traits_of_tool(event: Event) -> Iterator[Hashable]:
    """What an event that is the `same_execution` shares with the other: at least one of these."""
    if event.tool_call_id:
        yield "id", event.tool_call_id
    if event.result_hash:
        yield "result", event.result_hash
    if event.args_hash:
        yield "arguments", event.args_hash
    if event.status == ERROR:
        yield "failed"


def together(one: Event, other: Event) -> bool:
    """Whether they ran at one time: the shorter one for the most part while the longer one did. What tells of the
    outer one may hear of its beginning late."""
    shared = min(one.end_ns, other.end_ns) - max(one.start_ns, other.start_ns)
    shorter = min(one.end_ns - one.start_ns, other.end_ns - other.start_ns)
    return shared >= 0 and 2 * (shared + CLOCK_NS) >= shorter


def apart(one: Event, other: Event) -> int:
    """How far they are apart in time, in ns."""
    return abs(one.start_ns - other.start_ns) + abs(one.end_ns - other.end_ns)


def _has_answer(event: Event) -> bool:
    """Whether its span tells an answer: some say nothing of a failure, not even that it was one."""
    return bool(own_id(event)) or any(
        getattr(event, name) and name not in event.filled for name in ("output_tokens", "output_bytes")
    )


def _same_answer(one: Event, other: Event) -> bool:
    if one.kind == EMBEDDING:
        return False
    if _answer(one) and _answer(one) == _answer(other):
        return True
    return bool(_asked(one)) and _asked(one) == _asked(other)


def _answer(event: Event) -> int:
    return event.result_hash if "result_hash" not in event.filled else 0


def _question(event: Event) -> int:
    return event.args_hash if "args_hash" not in event.filled else 0


def _asked(event: Event) -> tuple[tuple[str, int], ...]:
    """The tools that the answer asks for; instrumentations write their arguments each in its own way."""
    requests: Iterable[ToolRequest] = () if "tool_requests" in event.filled else event.tool_requests
    return tuple((request.name, request.args_hash) for request in requests)


def _counts(event: Event) -> tuple[int, int | None] | None:
    """What was read and written. Of embeddings nothing is written."""
    read, written = own_count(event, "input_tokens"), own_count(event, "output_tokens")
    if read is None or (written is None and event.kind != EMBEDDING):
        return None
    return read, written if event.kind != EMBEDDING else None


def _same_failure(one: Event, other: Event) -> bool:
    if one.input and one.input == other.input:
        return True
    first, second = one.error_message, other.error_message
    if first and second:
        return first in second or second in first
    return bool(one.error_type) and one.error_type == other.error_type


def _uncached(event: Event) -> int | None:
    read = own_count(event, "input_tokens")
    cached = (own_count(event, "cache_read_tokens") or 0) + (own_count(event, "cache_write_tokens") or 0)
    return read - cached if read is not None else None


def _model(event: Event) -> str:
    return event.request_model if "request_model" not in event.filled else ""
