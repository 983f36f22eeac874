"""What a call's own span left open and others know: log records with its content, and its twins.

A span never loses a value of its own but its library's guess at the usage, where a twin reports it. What was
filled in is remembered by name (`Event.filled`) and taken out again before the run is settled anew, so that the
result does not depend on what came first. A cost that was only computed is no such value: a reported one
replaces it, and what was filled in is priced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from mappers.messages.document import hash64
from mappers.model import Event, Kind, Status
from mappers.tree import MODEL_KINDS, Tree

_LISTS = ("finish_reasons", "tool_requests")
USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "web_searches",
    "usage_source",
)
_GUESSED = frozenset({"input_tokens", "output_tokens", "usage_source"})
_OWN = ("own_input_tokens", "own_output_tokens")
OUTCOME = ("status", "error_type", "error_message")
ANSWER = ("response_model", "response_id", *_LISTS, "streaming", "ttft_ms", "service_tier")
MONEY = ("cost_usd", "cost_source", "price_version")
FROM_TWINS = ("provider", "request_model", *ANSWER, *USAGE, "attempts")
FROM_RECORDS = (*FROM_TWINS, "operation", "agent", "session_id", "user_id", "history")
_CACHE = frozenset({"cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"})
_PRICED_BY = frozenset({"provider", "request_model", "response_model", "service_tier", *USAGE})
TAKEN_OUT = "content"
"""Part that is a span's own content, whatever its kind; other records may name a span that only was current."""
_INPUT = ("input", "input_bytes", "args_hash")
_OUTPUT = ("output", "output_bytes", "result_hash")
FROM_LOG_TWINS = (*FROM_RECORDS, *_INPUT, *_OUTPUT)
"""Of two records of one happening one may have the content."""
_NOTHING_KNOWN = frozenset({*_LISTS, "args_hash", "result_hash", "attempts"})
"""Fields that say by their default that nothing is known."""
_TALKING = MODEL_KINDS | {Kind.AGENT, Kind.WORKFLOW}
"""Kinds whose spans have messages; other spans that a record names only happened to be current."""

_EMPTY: dict[str, Any] = {
    field.name: field.default for field in fields(Event) if field.default is not MISSING
}


Price = Callable[[Event], None]
"""Sets the cost of a model call that reports none, if it can be told."""


def take_out(events: Iterable[Event], price: Price) -> None:
    """Leaves the events with what their own spans say."""
    for event in events:
        if event.filled:
            guessed = guesses_usage(event)
            for name in event.filled:
                if name not in _OWN:
                    setattr(event, name, _EMPTY[name])
            repriced = "cost_usd" in event.filled
            if event.own_input_tokens is not None:
                event.input_tokens, event.own_input_tokens = event.own_input_tokens, None
            if event.own_output_tokens is not None:
                event.output_tokens, event.own_output_tokens = event.own_output_tokens, None
            if guessed:
                event.usage_source = "estimated"
            event.filled = ()
            if repriced and event.kind in MODEL_KINDS:
                price(event)


def guesses_usage(event: Event) -> bool:
    """Whether the token counts of its own span are its library's guess."""
    if "usage_source" not in event.filled:
        return event.usage_source == "estimated"
    return event.own_input_tokens is not None or event.own_output_tokens is not None


def fill(event: Event, source: Event, names: Collection[str]) -> None:
    """Gives the event what it lacks of these fields and the source has; a guess at the usage yields to a report."""
    if event.usage_source == "estimated" and _reports(source) and _GUESSED.issubset(names):
        own = event.input_tokens, event.output_tokens
        _take(event, source, USAGE)
        event.own_input_tokens, event.own_output_tokens = own
        event.filled = (*event.filled, *_OWN)
    found = [name for name in names if _lacks(event, name) and not _lacks(source, name)]
    if event.offered_tools_hash and "offered_tools" in found:
        found.remove("offered_tools")  # who keeps events in mind lets go of the names, and keeps the hash
    if "session_id" in found:
        found.append("session_is_weak")
    if not _CACHE.isdisjoint(found) and event.input_tokens is not None:
        found = _with_cache(event, source, found)
    _take(event, source, found)


def _reports(source: Event) -> bool:
    return (
        source.usage_source == "reported"
        and source.input_tokens is not None
        and source.output_tokens is not None
    )


def _with_cache(event: Event, source: Event, names: Sequence[str]) -> list[str]:
    """What to take of a source that knows of a cache, by an event that only knows what was read. One that left the
    cache out takes the whole of the input too; where the two disagree otherwise, nothing of the cache is taken."""
    if event.input_tokens == source.input_tokens:
        return list(names)
    cached = (source.cache_read_tokens or 0) + (source.cache_write_tokens or 0)
    whole = None if "input_tokens" in source.filled else source.input_tokens
    if whole is None or event.input_tokens != whole - cached:
        return [name for name in names if name not in _CACHE]
    if "input_tokens" not in event.filled:
        event.own_input_tokens = event.input_tokens
        event.filled = (*event.filled, "input_tokens", "own_input_tokens")
    event.input_tokens = whole
    return list(names)


def fill_outcome(event: Event, source: Event) -> None:
    """A tool whose execution failed by its call id failed, where the span around it does not say so. Of one that is
    only the same by its name it is not known: the outer one may have tried again."""
    same = event.tool_call_id and event.tool_call_id == source.tool_call_id
    if same and source.status == Status.ERROR and event.status == Status.OK and not event.error_type:
        _take(event, source, OUTCOME)


def fill_cost(event: Event, sources: Iterable[Event], price: Price) -> None:
    """Gives a call the cost that others report of it, else one of what was filled in, else one that was computed of
    what others know. One that its own span reports stays."""
    if event.cost_source == "reported":
        return
    priced = [source for source in sources if source.cost_usd is not None and "cost_usd" not in source.filled]
    reported = next((source for source in priced if source.cost_source == "reported"), None)
    if reported is not None:
        _take(event, reported, MONEY)
        return
    if not _PRICED_BY.isdisjoint(event.filled):
        own = event.cost_usd, event.cost_source, event.price_version
        price(event)
        if (event.cost_usd, event.cost_source, event.price_version) != own:
            event.filled = (*event.filled, *MONEY)
    if event.cost_usd is None and priced:
        _take(event, priced[0], MONEY)


def _take(event: Event, source: Event, names: Sequence[str]) -> None:
    for name in names:
        setattr(event, name, getattr(source, name))
    if names:
        event.filled = (*event.filled, *names)


def fill_from_records(tree: Tree) -> None:
    """Calls get the content, usage and outcome that log records tell of them."""
    if tree.parts:
        for event in tree.events:
            parts = tree.parts.get(event.span_id)
            if parts and event.kind not in _TALKING and event.source != "log":
                parts = [part for part in parts if part.part == TAKEN_OUT]
            if parts:
                _fill_from_parts(event, parts)


def _fill_from_parts(event: Event, parts: Sequence[Event]) -> None:
    """Messages stand for what was read and what was answered, together; details are records that tell all."""
    details = [part for part in parts if part.part in ("details", TAKEN_OUT)]
    if event.kind in MODEL_KINDS or event.source == "log":
        for part in details:
            fill(event, part, FROM_RECORDS)
    if event.input_bytes is None:
        _fill_content(event, details, [part for part in parts if part.part == "input"], _INPUT, last=True)
    if event.output_bytes is None:
        choices = [part for part in parts if part.part == "output"]
        for name in _LISTS if event.kind in MODEL_KINDS else ():
            told = tuple(dict.fromkeys(item for choice in choices for item in getattr(choice, name)))
            if told and not getattr(event, name):
                setattr(event, name, told)
                event.filled = (*event.filled, name)
        _fill_content(event, details, choices, _OUTPUT, last=False)


def _fill_content(
    event: Event, details: Sequence[Event], messages: Sequence[Event], names: Sequence[str], *, last: bool
) -> None:
    preview, size, digest = names
    whole = next((part for part in details if getattr(part, size) is not None), None)
    if whole is not None:
        fill(event, whole, names)
        return
    known = [message for message in messages if getattr(message, size) is not None]
    if not known:
        return
    shown = known[-1] if last else known[0]
    hashes = [getattr(message, digest) for message in known]
    told: dict[str, Any] = {
        preview: getattr(shown, preview),
        size: sum(getattr(message, size) for message in known),
        digest: hashes[0]
        if len(hashes) == 1
        else hash64(b"".join(value.to_bytes(8, "big") for value in hashes)),
    }
    for name, value in told.items():
        setattr(event, name, value)
    event.filled = (*event.filled, *names)


def _lacks(event: Event, name: str) -> bool:
    value = getattr(event, name)
    return value is None or value == "" or (name in _NOTHING_KNOWN and value in ((), [], _EMPTY[name]))
