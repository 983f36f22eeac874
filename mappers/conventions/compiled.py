"""A convention as the registry works with it: checked, its patterns compiled, its sources and rules as functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mappers.conventions.base import (
    Below,
    Computed,
    Const,
    Convention,
    EventAttribute,
    EventMessages,
    EventOffset,
    Flat,
    Json,
    KindByEvent,
    KindByKeys,
    KindByName,
    KindByPattern,
    KindByValue,
    KindRule,
    NameMatch,
    Quirk,
    Seconds,
    Source,
    TimeOffset,
)
from mappers.conventions.fields import FIELDS
from mappers.conventions.plan import Read, Reader, Rule
from mappers.conventions.reading import Reading
from mappers.model import AttributeValue, Kind, Span

Shape = frozenset[str]
"""Known keys, and the prefixes (with their dot) of known flattened lists and mappings."""


@dataclass(slots=True)
class Compiled:
    """A convention with its patterns compiled and its keys gathered."""

    convention: Convention
    scopes: list[re.Pattern[str]]
    quirks: list[tuple[Quirk, re.Pattern[str], re.Pattern[str] | None]]
    """(quirk, scope pattern, name pattern)"""
    names: dict[str, re.Pattern[str]]
    keys: Shape


def compile_convention(convention: Convention) -> Compiled:
    """Raises: TypeError, ValueError, re.error, for a faulty one."""
    if not isinstance(convention, Convention):
        raise TypeError(f"not a convention: {convention!r}")
    unknown = convention.fields.keys() - FIELDS.keys()
    if unknown:
        raise ValueError(f"unknown fields: {sorted(unknown)}")
    sources = sources_of(convention)
    _expect(sources, Source)
    _expect(convention.kinds, KindRule)
    _expect(convention.quirks, Quirk)
    _expect((convention.id, *convention.keys), str)
    _expect((convention.priority,), int)
    # Shapes and plans hold them in sets; what can not be hashed must fail here, not at the first span.
    hash(tuple(sources))
    keys = set(convention.keys)
    for source in sources:
        keys.update(keys_of(source))
    for rule in convention.kinds:
        if isinstance(rule, KindByValue):
            _expect(rule.values.values(), Kind)
            keys.add(rule.key)
        elif isinstance(rule, KindByPattern):
            keys.add(rule.key)
        elif isinstance(rule, KindByKeys):
            keys.update(rule.all_of, rule.one_of)
    for quirk in convention.quirks:
        keys.update(key for key in (quirk.has, quirk.lacks) if key)
    patterns = {source.regex for source in sources if isinstance(source, NameMatch)}
    patterns |= {rule.regex for rule in convention.kinds if isinstance(rule, (KindByName, KindByPattern))}
    return Compiled(
        convention=convention,
        scopes=[re.compile(pattern) for pattern in convention.scopes],
        quirks=[
            (quirk, re.compile(quirk.scope), re.compile(quirk.name) if quirk.name else None)
            for quirk in convention.quirks
        ],
        names={pattern: re.compile(pattern) for pattern in patterns},
        keys=frozenset(keys),
    )


def _expect(values: Iterable[object], kind: Any) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"unexpected in a convention: {value!r}")


def sources_of(convention: Convention) -> list[Source]:
    """All places where its fields may stand."""
    return [source for ordered in convention.fields.values() for source in ordered]


def keys_of(source: Source) -> tuple[str, ...]:
    """The attributes without which a source has no value."""
    if isinstance(source, str):
        return (source,)
    if isinstance(source, (Json, Seconds, TimeOffset)):
        return (source.key,)
    return source.keys if isinstance(source, Computed) else ()


def may_have_value(source: Source, shape: Shape, has_events: bool) -> bool:
    if isinstance(source, (EventAttribute, EventMessages, EventOffset)):
        return has_events
    if isinstance(source, (Flat, Below)):
        return f"{source.prefix}." in shape
    keys = keys_of(source)
    return not keys or not shape.isdisjoint(keys)


def may_apply(rule: KindRule, shape: Shape, has_events: bool, knows_scope: bool) -> bool:
    if isinstance(rule, (KindByValue, KindByPattern)):
        return rule.key in shape
    if isinstance(rule, KindByKeys):
        return shape.issuperset(rule.all_of) and (not rule.one_of or not shape.isdisjoint(rule.one_of))
    return knows_scope and (has_events or isinstance(rule, KindByName))


def reader_of(one: Compiled, source: Source, on_fault: Callable[[str], None]) -> Reader:
    """How a source of a convention is read; `on_fault` is told its id when its code fails."""
    return (source, None) if isinstance(source, str) else ("", _read(one, source, on_fault))


def _read(one: Compiled, source: Source, on_fault: Callable[[str], None]) -> Read:
    match source:
        case Json(key, path, unless):
            # The innermost name is the rarest: `usage` is in most answers, what is sought below it in few.
            name = next((step for step in reversed(path) if isinstance(step, str)), None)
            quoted = (f'{name}"', f"{name}'") if name is not None else ()
            return lambda reading: reading.member(key, path, unless, quoted)
        case Below(prefix):
            return lambda reading: dict(reading.below(prefix + "."))
        case Flat(prefix):
            return lambda reading: reading.family(prefix)
        case EventAttribute(event, key, path):
            return lambda reading: reading.event_attribute(event, key, path)
        case EventMessages(events):
            return lambda reading: reading.event_messages(events)
        case EventOffset(event):
            return lambda reading: reading.event_offset_ms(event)
        case Seconds(key, integers_are_ms):
            return lambda reading: reading.milliseconds(key, integers_are_ms)
        case TimeOffset(key):
            return lambda reading: reading.time_offset_ms(key)
        case NameMatch(regex):
            pattern = one.names[regex]
            return lambda reading: reading.name_match(pattern)
        case Const(value):
            return lambda _: value
        case Computed(function):
            return _guarded(one.convention.id, function, on_fault)
    raise TypeError(f"not a source: {source!r}")


def _guarded(
    convention: str,
    function: Callable[[Callable[[str], AttributeValue]], Any],
    on_fault: Callable[[str], None],
) -> Read:
    """Code of a convention may fail; its field is then read from the next source."""

    def read(reading: Reading) -> Any:
        try:
            return function(reading.get)
        except Exception:
            on_fault(convention)
            return None

    return read


def compile_rule(rule: KindRule, one: Compiled) -> Rule:
    """A function that gives the kind of a span, if the rule has an answer for it."""
    match rule:
        case KindByValue(key, values):
            by_value = {**values} | {value.lower(): kind for value, kind in values.items()}

            def by_attribute(span: Span) -> Kind | None:
                value = span.attributes.get(key)
                if not isinstance(value, str):
                    return None
                return by_value.get(value) or by_value.get(value.strip('"').lower())

            return by_attribute
        case KindByName(kind, regex):
            match_name = one.names[regex].match
            return lambda span: kind if match_name(span.name) else None
        case KindByPattern(kind, key, regex):
            search = one.names[regex].search

            def by_pattern(span: Span) -> Kind | None:
                value = span.attributes.get(key)
                return kind if isinstance(value, str) and search(value) else None

            return by_pattern
        case KindByEvent(kind, events):
            names = frozenset(events)
            return lambda span: kind if any(event.name in names for event in span.events) else None
        case _:
            kind = rule.kind
            return lambda _: kind
