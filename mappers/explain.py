"""Why a span was read as it was, told from the very rules and sources that read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.conventions.base import (
    Below,
    Computed,
    Const,
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
from mappers.conventions.compiled import Compiled, compile_rule, keys_of
from mappers.conventions.fields import FIELDS
from mappers.conventions.reading import FlatFamily, Reading
from mappers.conventions.registry import Parts, Registry, ScopePlans
from mappers.messages.document import written
from mappers.model import Kind, Span
from mappers.timeline import entry_types

SHOWN = 120
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Found:
    """A place that has a value for a field."""

    convention: str
    source: str
    value: str


@dataclass(frozen=True, slots=True)
class FieldReading:
    """A field, where its value was taken from, and which other places had one."""

    field: str
    taken: Found
    others: Sequence[Found]


@dataclass(slots=True)
class Explanation:
    """How one span was understood."""

    conventions: list[tuple[str, str]] = field(default_factory=list)
    """(id, what showed it), in the order in which they were read."""
    told_kind: str = Kind.OTHER
    """The kind that the rules gave."""
    kind_rule: str = ""
    """The rule that gave it; "" if none had an answer."""
    kind: str = Kind.OTHER
    """The kind that it is, after the quirks."""
    quirks: list[str] = field(default_factory=list)
    """Corrections that were applied."""
    fields: list[FieldReading] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Attributes that no rule, field or quirk names."""
    entries: Sequence[str] = ()
    """Types of the entries that a span of this kind has in the timeline."""
    no_entry: str = ""
    """Why it has none; "" if it has."""

    def corrected(self, kind: str, why: str) -> None:
        """It is of another kind than rules and quirks say."""
        self.kind, self.entries, self.no_entry = kind, entry_types(kind), ""
        self.quirks.append(f"{why}: is {kind}")


def explain(registry: Registry, span: Span) -> Explanation:
    """Reads a span as `Normalizer` does, and says how."""
    plans = registry.scope_plans(span.scope)
    parts, layout = plans.parts(span), plans.layout(span)
    told = Explanation()
    told.conventions = [(one.convention.id, _shown_by(plans, one, span)) for one in parts.matching]
    for one, rule in parts.rules:
        kind = compile_rule(rule, one)(span)
        if kind is not None:
            told.told_kind, told.kind_rule = kind, f"{one.convention.id}: {_rule(rule, span)}"
            break
    told.kind = layout.plan.traits(span).kind
    told.quirks = list(_quirks(parts, Kind(told.told_kind), span.name))
    told.fields = list(_fields(plans, parts, Kind(told.kind), span))
    told.unread = _unread(parts, span)
    told.entries = entry_types(told.kind, running=not span.end_ns)
    if not told.entries:
        told.no_entry = (
            f"spans of kind {told.kind} have no entry"
            if parts.matching
            else "no convention knows its scope or a key of it"
        )
    return told


def _shown_by(plans: ScopePlans, one: Compiled, span: Span) -> str:
    keys = [key for key in one.convention.keys if key in span.attributes]
    shown = [f"its scope {span.scope.name}"] if plans.knows_scope(one.convention.id) else []
    return ", ".join([*shown, *keys])


def _quirks(parts: Parts, kind: Kind, name: str) -> Iterable[str]:
    """As `Plan` applies them: each to the kind that the one before left."""
    for one, quirk, pattern in parts.quirks:
        if quirk.when in (None, kind) and (pattern is None or pattern.search(name)):
            kind = quirk.kind or kind
            yield f"{one.convention.id}: {_quirk(quirk)}"


def _fields(plans: ScopePlans, parts: Parts, kind: Kind, span: Span) -> Iterable[FieldReading]:
    values: dict[str, Any] = {}
    families = plans.layout(span).families
    for name, sources in parts.sources.items():
        described = FIELDS[name]
        if kind not in described.kinds:
            continue
        found = []
        for source, one in sources.items():
            # Each source is read as if it were the only one, so that none is hidden by the one before.
            key, read = plans.reader(one, source)
            reading = Reading(span, values, families)
            value = described.read(span.attributes.get(key) if read is None else read(reading))
            if value is not None:
                values.setdefault(name, value)
                found.append(Found(one.convention.id, _source(source), _short(value)))
        if found:
            yield FieldReading(name, found[0], found[1:])


def _unread(parts: Parts, span: Span) -> list[str]:
    keys: set[str] = set()
    prefixes: set[str] = set()
    for one in parts.matching:
        keys.update(one.convention.keys)
    for _, rule in parts.rules:
        if isinstance(rule, (KindByValue, KindByPattern)):
            keys.add(rule.key)
        elif isinstance(rule, KindByKeys):
            keys.update(rule.all_of, rule.one_of)
    for sources in parts.sources.values():
        for source in sources:
            keys.update(keys_of(source))
            if isinstance(source, (Flat, Below)):
                prefixes.add(source.prefix + ".")
    for _, quirk, _ in parts.quirks:
        keys.update((quirk.has, quirk.lacks))
    return [key for key in span.attributes if key not in keys and not key.startswith(tuple(prefixes))]


# --------------------------------------------------------------------------- in words


def _within(key: str, path: tuple[str | int, ...]) -> str:
    return f"{key} (JSON) {'.'.join(map(str, path))}".strip()


def _source(source: Source) -> str:
    match source:
        case Json(key, path):
            return _within(key, path)
        case Flat(prefix) | Below(prefix):
            return f"{prefix}.*"
        case EventAttribute(event, key, path):
            return f"{_within(key, path) if path else key} of the span event {event}"
        case EventMessages(events):
            return f"the span events {', '.join(events)}"
        case EventOffset(event):
            return f"time of the span event {event}"
        case Seconds(key):
            return f"{key} (seconds)"
        case TimeOffset(key):
            return f"{key} (a time)"
        case NameMatch(regex):
            return f"the span's name, by {regex}"
        case Const(value):
            return f"always {value}"
        case Computed():
            return f"computed from {', '.join(source.keys)}"
        case _:
            return source


def _rule(rule: KindRule, span: Span) -> str:
    match rule:
        case KindByValue(key):
            return f"{key} = {_short(span.attributes.get(key))}"
        case KindByPattern(_, key, regex):
            return f"{key} matches {regex}"
        case KindByKeys(_, all_of, one_of):
            present = [key for key in one_of if key in span.attributes]
            return f"has {', '.join([*all_of, *present])}"
        case KindByName(_, regex):
            return f"its name matches {regex}"
        case KindByEvent(_, events):
            return f"has a span event of {', '.join(events)}"


def _quirk(quirk: Quirk) -> str:
    conditions = [
        f"scope matches {quirk.scope}" if quirk.scope else "",
        f"name matches {quirk.name}" if quirk.name else "",
        f"has {quirk.has}" if quirk.has else "",
        f"lacks {quirk.lacks}" if quirk.lacks else "",
        f"was {quirk.when}" if quirk.when else "",
    ]
    effects = [
        f"is {quirk.kind}" if quirk.kind else "",
        "sets something up" if quirk.setup else "",
        "its input leaves cached tokens out" if quirk.input_excludes_cache else "",
        "its output leaves reasoning out" if quirk.output_excludes_reasoning else "",
        "its total is a sum of its own" if quirk.total_is_own_sum else "",
        "its usage is an estimate" if quirk.usage_is_estimate else "",
    ]
    return f"{', '.join(filter(None, conditions))}: {', '.join(filter(None, effects))}"


def _short(value: Any) -> str:
    text = written(value.value() if isinstance(value, FlatFamily) else value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
