"""One span while it is read: parses each document and walks the keys at most once, and only when asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from mappers.messages import first_text, last_text
from mappers.messages.document import member, parse, unquoted, written
from mappers.messages.flattened import place_of, unflatten
from mappers.model import AttributeValue, Span, SpanEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_MEMBER = re.compile(r'\s*\{\s*"(\w+)"\s*:\s*"([^"\\\x00-\x1f]*)"\s*[,}]')
"""Of an object in JSON: its name and value, if that is a text without escapes."""


@dataclass(slots=True)
class Family:
    """What the keys of a flattened list tell of it."""

    highest: int = -1
    """Highest index."""
    telling: bool = False
    """Whether there is more than who spoke and why it ended: that is what is left where content was taken out."""
    calling: set[int] = field(default_factory=set)
    """Indexes below which there is a call of a tool."""
    calls: list[tuple[int, list[tuple[str, str, str]]]] | None = None
    """(index, keys of (id, name, arguments) of each call below it) for each dialect; None: nobody has asked yet."""


class Reading:
    """What the sources of conventions are read through.

    Args:
        span: the span.
        values: the fields read so far, by name.
        families: the flattened lists among its keys by their prefix, as `families_of` finds them.
    """

    __slots__ = ("_documents", "_families", "_lacking", "get", "span", "values")

    def __init__(self, span: Span, values: dict[str, Any], families: Mapping[str, Family]) -> None:
        self.span = span
        self.get = span.attributes.get
        self.values = values
        self._documents: dict[str, Any] | None = None
        self._lacking: tuple[str, tuple[str, ...]] | None = None
        self._families = families

    def first(
        self,
        sources: Sequence[tuple[str, Callable[[Reading], Any] | None]],
        value_of: Callable[[AttributeValue], Any],
    ) -> Any:
        """The value of the first source that has one."""
        for key, read in sources:
            value = value_of(self.get(key) if read is None else read(self))
            if value is not None:
                return value
        return None

    def member(
        self, key: str, path: tuple[str | int, ...], unless: str, quoted: tuple[str, ...]
    ) -> AttributeValue:
        """What stands at `path` in an attribute's document; None if the field `unless` is known already.

        Args:
            quoted: what the document has if it has a name of the path at all; () if there is no name in it.
        """
        if unless and unless in self.values:
            return None
        documents = self._documents
        if documents is None:
            documents = self._documents = {}
        document = documents.get(key)
        if document is None:
            document = documents[key] = self.get(key)
        if document.__class__ is str:
            # A look for the quoted name is cheaper than finding out by parsing that it is not there. Sources that
            # stand beside each other seek the same name at several depths.
            if quoted:
                if self._lacking == (key, quoted):
                    return None
                # What begins as JSON has no names in single quotes.
                if quoted[0] not in document and (document[:2] == '{"' or quoted[1] not in document):
                    self._lacking = key, quoted
                    return None
            # Answers begin with their id. So do those that were cut off, and can not be parsed.
            begins = _FIRST_MEMBER.match(document)
            if begins is not None and path == (begins[1],):
                return begins[2]
            document = documents[key] = parse(document)
        if len(path) == 1 and document.__class__ is dict:
            return document.get(path[0])
        return member(document, path)

    def family(self, prefix: str) -> FlatFamily | None:
        """The flattened family below `prefix`; None if the span has no such key, or none that says anything."""
        family = self._families.get(prefix)
        return (
            None
            if family is None or not family.telling
            else FlatFamily(self.span.attributes, prefix + ".", family)
        )

    def below(self, prefix: str) -> list[tuple[str, AttributeValue]]:
        """(rest of the key, value) of the attributes whose keys start with `prefix`."""
        return _below(self.span.attributes, prefix)

    def event_attribute(self, event: str, key: str, path: tuple[str | int, ...]) -> AttributeValue:
        """The attribute of the last span event of that name that has it, or what stands at `path` in its document."""
        for found in reversed(self.span.events):
            if found.name == event and (value := found.attributes.get(key)) is not None:
                return member(parse(value) if isinstance(value, str) else value, path) if path else value
        return None

    def event_messages(self, names: tuple[str, ...]) -> list[dict[str, Any]] | None:
        """A message for each span event of these names, in order; None if there is none."""
        found = [_event_message(event) for event in self.span.events if event.name in names]
        return found or None

    def event_offset_ms(self, event: str) -> float | None:
        """Milliseconds from the span's start to the first span event of that name."""
        for found in self.span.events:
            if found.name == event:
                return (found.time_ns - self.span.start_ns) / 1e6
        return None

    def milliseconds(self, key: str, integers_are_ms: bool) -> float | None:
        """An attribute in seconds, in milliseconds."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if integers_are_ms and isinstance(value, int) else value * 1000.0

    def time_offset_ms(self, key: str) -> float | None:
        """Milliseconds from the span's start to a time that an attribute tells."""
        told = self.get(key)
        if not isinstance(told, str):
            return None
        try:
            time = datetime.fromisoformat(told.strip('"'))
            time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
            since_ms = ((time - _EPOCH) // _MICROSECOND * 1_000 - self.span.start_ns) / 1e6
        except (ValueError, OverflowError):
            return None
        # A time in whole milliseconds may lie before the span's start in nanoseconds.
        return 0.0 if -1.0 < since_ms < 0.0 else since_ms

    def name_match(self, pattern: re.Pattern[str]) -> str | None:
        """First group of the pattern in the span's name."""
        match = pattern.match(self.span.name)
        return match[1] if match else None


def families_of(keys: Iterable[str]) -> dict[str, Family]:
    """The flattened lists among the keys, by what stands before the index."""
    families: dict[str, Family] = {}
    for key in keys:
        place = place_of(key)
        if place:
            prefix, index = place
            family = families.get(prefix)
            if family is None:
                family = families[prefix] = Family()
            if index > family.highest:
                family.highest = index
            if not key.endswith(_MARGINAL):
                family.telling = True
            if _tells_call(key):
                family.calling.add(index)
    return families


@lru_cache(maxsize=65_536)  # keys repeat from span to span
def _tells_call(key: str) -> bool:
    return any(mark in key for mark in _CALLS)


_CALL_PLACES = (
    (".message.tool_calls.", ".tool_call.", "id", "function.name", "function.arguments"),
    (".tool_calls.", ".", "id", "name", "arguments"),
)
"""Where the two dialects keep calls: before and after a call's number, then its id, name and arguments."""
_MARGINAL = (".role", ".finish_reason")
_CALLS = ("tool_call", "tool_use", "function_call")
"""Steps of keys below which a message has calls of tools."""
_CONTENT = (".message.content", ".content")
"""Below an item's index: where the two flattened dialects keep a message that is just a text."""


def _places_of_calls(
    prefix: str, indexes: Iterable[int], keys: Container[str]
) -> list[tuple[int, list[tuple[str, str, str]]]]:
    """As in `Family.calls`, of the calls that have a name."""
    found = []
    for index in indexes:
        for before, after, identity, name, arguments in _CALL_PLACES:
            places: list[tuple[str, str, str]] = []
            while (place := f"{prefix}{index}{before}{len(places)}{after}") + name in keys:
                places.append((place + identity, place + name, place + arguments))
            if places:
                found.append((index, places))
    return found


def _below(attributes: Mapping[str, AttributeValue], prefix: str) -> list[tuple[str, AttributeValue]]:
    start, get = len(prefix), attributes.get
    return [(key[start:], get(key)) for key in attributes if key.startswith(prefix)]


class FlatFamily:
    """A flattened list that is there; decoded as a whole only if somebody asks. It is a value of the `Reading` that it
    comes from and does not hold that: the two would stay until the next garbage collection, with all of a request."""

    __slots__ = ("_attributes", "_family", "_prefix")

    def __init__(self, attributes: Mapping[str, AttributeValue], prefix: str, family: Family) -> None:
        self._attributes = attributes
        self._prefix = prefix
        self._family = family

    @property
    def has_calls(self) -> bool:
        """Whether some of it is a call of a tool."""
        return bool(self._family.calling)

    def value(self) -> Any:
        """All of it, folded back."""
        return unflatten(_below(self._attributes, self._prefix))

    def calls(self) -> list[tuple[str, str, str]]:
        """(id, name, arguments) of the calls in it; [] if they are not where the dialects keep them."""
        family = self._family
        if family.calls is None:
            family.calls = _places_of_calls(self._prefix, sorted(family.calling), self._attributes)
        get = self._attributes.get
        found = []
        told = -1
        for index, places in family.calls:
            if index == told:
                continue  # nobody writes a message in both dialects
            for identity, name, arguments in places:
                named = get(name)
                if not isinstance(named, str):
                    break
                found.append((written(get(identity)), named, unquoted(written(get(arguments)))))
                told = index
        return found

    def last_text(self) -> str:
        """Text of the message at the end, which alone is decoded: a history grows with the run."""
        item = f"{self._prefix}{self._family.highest}"
        return (
            self._plain(item)
            or last_text(unflatten(_below(self._attributes, item + ".")))
            or last_text(self.value())
        )

    def first_text(self) -> str:
        """Text of the first message that has one."""
        return self._plain(self._prefix + "0") or first_text(self.value())

    def _plain(self, item: str) -> str:
        get = self._attributes.get
        for ending in _CONTENT:
            text = get(item + ending)
            if isinstance(text, str) and text and text[0] not in "[{" and text != '""':
                return text
        return ""


EVENT_CONTENT = "gen_ai.event.content"


def _event_message(event: SpanEvent) -> dict[str, Any]:
    told = {key: parse(value) if isinstance(value, str) else value for key, value in event.attributes.items()}
    if isinstance(whole := told.get(EVENT_CONTENT), dict):  # as Azure's libraries write it
        told = whole
    message = told.get("message")
    if isinstance(message, dict):
        return message
    role = event.name.split(".")[1]
    if role == "choice":
        return {"role": "assistant", "content": message, "tool_calls": told.get("tool_calls")}
    return {"role": role, **told}
