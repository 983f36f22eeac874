"""Compiles conventions to plans, so that a span costs a few dict lookups however many conventions there are.

What a span needs depends only on its scope and on which of the *known* keys it carries: its shape. The plan for
a shape, made once, names the sources that can have a value at all. Spans of one library share few shapes, and
many of them carry just the same keys, so that a span's keys, as one tuple, are usually all that is looked up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from mappers.conventions.reading import Family, Reading, families_of
from mappers.model import AttributeValue, Kind, Scope, Span

MAX_SCOPES = 256
MAX_SHAPES = 512
MAX_LAYOUTS = 512
"""Scopes, and shapes and layouts of a scope, that are remembered: whoever sends ever new ones makes the registry
forget and start again, not grow."""
MAX_KEYS = 64
"""Spans with more keys than this are histories that grow; their layouts would not be seen again."""

Shape = frozenset[str]
"""Known keys, and the prefixes (with their dot) of known flattened lists and mappings."""
Read = Callable[[Reading], Any]
Value = Callable[[AttributeValue], Any]


Reader = tuple[str, Read | None]
"""(key, None) for an attribute or ("", function)"""
FieldReaders = tuple[str, str, Value, Sequence[Reader]]
"""A field, the field that makes all of its sources needless ("" if none does), how its value is read, and its sources
in the order in which they are asked."""
_Rule = Callable[[Span], Kind | None]
"""A kind rule: what the span is, None if the rule does not say."""


@dataclass(frozen=True, slots=True)
class FieldPlans:
    """How the fields of one kind are read. Most have a value in the attribute that is asked first: the short
    way."""

    direct: Sequence[tuple[str, str, Value, Sequence[Reader]]]
    """(field, attribute key, how its value is read, further sources)"""
    sought: Sequence[FieldReaders]

    def read(self, span: Span, families: Mapping[str, Family]) -> dict[str, Any]:
        """The fields that the span has, by name."""
        get = span.attributes.get
        values: dict[str, Any] = {}
        reading = None
        for name, key, value_of, further in self.direct:
            value = value_of(get(key))
            if value is None and further:
                reading = reading or Reading(span, values, families)
                value = reading.first(further, value_of)
            if value is not None:
                values[name] = value
        if self.sought:
            reading = reading or Reading(span, values, families)
            for name, unless, value_of, sources in self.sought:
                if unless in values:
                    continue
                for key, read in sources:
                    value = value_of(get(key) if read is None else read(reading))
                    if value is not None:
                        values[name] = value
                        break
        return values


class FieldPlansByKind(dict[Kind, FieldPlans]):
    """The fields of spans of one scope and shape, by kind. Made when a kind is first asked for: most shapes have but
    one.

    Args:
        fields: in the order in which they are read.
    """

    def __init__(self, fields: Sequence[FieldReaders]) -> None:
        super().__init__()
        self._fields = fields

    def __missing__(self, kind: Kind) -> FieldPlans:
        fields = [field for field in self._fields if kind in FIELDS[field[0]].kinds]
        plans = self[kind] = FieldPlans(
            direct=[
                (name, sources[0][0], value_of, sources[1:])
                for name, _, value_of, sources in fields
                if sources[0][0]
            ],
            sought=[field for field in fields if not field[3][0][0]],
        )
        return plans


@dataclass(frozen=True, slots=True)
class Traits:
    """What a span is, before its fields are read."""

    kind: Kind
    was_tool: bool
    """The rules said TOOL, whatever a quirk made of it."""
    setup: bool = False
    input_excludes_cache: bool = False
    output_excludes_reasoning: bool = False
    total_is_own_sum: bool = False
    usage_is_estimate: bool = False


_CORRECTIONS = (
    "setup",
    "input_excludes_cache",
    "output_excludes_reasoning",
    "total_is_own_sum",
    "usage_is_estimate",
)
"""What quirks and traits have in common."""


@dataclass(slots=True)
class Compiled:
    """A convention with its patterns compiled and its keys gathered."""

    convention: Convention
    scopes: list[re.Pattern[str]]
    quirks: list[tuple[Quirk, re.Pattern[str], re.Pattern[str] | None]]
    """(quirk, scope pattern, name pattern)"""
    names: dict[str, re.Pattern[str]]
    keys: Shape


@dataclass(frozen=True, slots=True)
class Known:
    """What any convention looks for among a span's keys."""

    keys: frozenset[str]
    lists: frozenset[str]
    """Prefixes of flattened lists, with their dot."""
    mappings: frozenset[str]
    """Prefixes of keys that are read as one mapping, with their dot."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a plan is made of: everything of the conventions that can matter for spans of one scope and shape."""

    matching: Sequence[Compiled]
    """In the order in which they are read."""
    rules: Sequence[tuple[Compiled, KindRule]]
    """In the order in which they are asked."""
    quirks: Sequence[tuple[Compiled, Quirk, re.Pattern[str] | None]]
    """(convention, quirk, name pattern)"""
    sources: Mapping[str, Mapping[Source, Compiled]]
    """By field, in the order in which they are asked."""


@dataclass(slots=True)
class Plan:
    """What to do with the spans of one scope and shape."""

    convention: str
    """Id of the first convention that recognises them; "" if none does."""
    fields: FieldPlansByKind
    _rules: Sequence[_Rule]
    _quirks: Sequence[tuple[Quirk, re.Pattern[str] | None]]
    _unnamed: dict[Kind, Traits] = field(default_factory=dict)
    """Traits by kind where the span's name has no say."""

    def traits(self, span: Span) -> Traits:
        """What a span is: the first rule that answers, then the quirks."""
        name = span.name
        kind = self._kind(span)
        traits = self._unnamed.get(kind)
        if traits is None:
            traits = self._corrected(kind, name)
            if not any(pattern and quirk.when in (None, kind) for quirk, pattern in self._quirks):
                self._unnamed[kind] = traits
        return traits

    def _kind(self, span: Span) -> Kind:
        for rule in self._rules:
            kind = rule(span)
            if kind is not None:
                return kind
        return Kind.OTHER

    def _corrected(self, told: Kind, name: str) -> Traits:
        kind = told
        corrections = dict.fromkeys(_CORRECTIONS, False)
        for quirk, pattern in self._quirks:
            if quirk.when in (None, kind) and (pattern is None or pattern.search(name)):
                kind = quirk.kind or kind
                for correction in _CORRECTIONS:
                    corrections[correction] |= getattr(quirk, correction)
        return Traits(kind, told is Kind.TOOL, **corrections)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the keys of a span alone tell of it."""

    plan: Plan
    families: Mapping[str, Family]
    """The flattened lists among them, by prefix."""


class ScopePlans:
    """The plans of one scope, made when a shape is first seen."""

    def __init__(
        self, compiled: Sequence[Compiled], known: Known, label: str, on_fault: Callable[[str], None]
    ) -> None:
        self._compiled = compiled
        self._known = known
        self._label = label
        self._on_fault = on_fault
        self._known_by = frozenset(
            one.convention.id for one in compiled if any(pattern.search(label) for pattern in one.scopes)
        )
        self._plans: dict[tuple[Shape, bool], Plan] = {}
        self._layouts: dict[tuple[bool, tuple[str, ...]], Layout] = {}

    def layout(self, span: Span) -> Layout:
        """What the span's keys tell."""
        keys = tuple(span.attributes)
        identity = bool(span.events), keys
        layout = self._layouts.get(identity)
        if layout is None:
            families = families_of(keys)
            layout = Layout(self._plan(self._shape(keys, families), identity[0]), families)
            if len(keys) <= MAX_KEYS:
                if len(self._layouts) >= MAX_LAYOUTS:
                    self._layouts.clear()
                self._layouts[identity] = layout
        return layout

    def _shape(self, keys: Sequence[str], families: Iterable[str]) -> Shape:
        known = self._known
        found = known.keys.intersection(keys)
        prefixes = [f"{prefix}." for prefix in families if f"{prefix}." in known.lists]
        # What many keys begin with takes longer to find out than it saves.
        prefixes += [
            prefix
            for prefix in known.mappings
            if len(keys) > MAX_KEYS or any(key.startswith(prefix) for key in keys)
        ]
        return found.union(prefixes)

    def _plan(self, shape: Shape, has_events: bool) -> Plan:
        """The plan for spans that carry just these of the known keys."""
        plan = self._plans.get((shape, has_events))
        if plan is None:
            if len(self._plans) >= MAX_SHAPES:
                self._plans.clear()
            plan = self._plans[shape, has_events] = self._make(shape, has_events)
        return plan

    def parts(self, span: Span) -> Parts:
        """What the plan for a span is made of."""
        keys = tuple(span.attributes)
        return self._parts(self._shape(keys, families_of(keys)), bool(span.events))

    def _parts(self, shape: Shape, has_events: bool) -> Parts:
        matching = [
            one
            for one in self._compiled
            if one.convention.id in self._known_by or not shape.isdisjoint(one.convention.keys)
        ]
        rules = [
            (one, rule)
            for one in matching
            for rule in one.convention.kinds
            if _may_apply(rule, shape, has_events, one.convention.id in self._known_by)
        ]
        rules.sort(key=lambda told: told[0].convention.priority if told[1].order is None else told[1].order)
        sources: dict[str, dict[Source, Compiled]] = {}
        for name in FIELDS:
            for one in matching:
                for source in one.convention.fields.get(name, ()):
                    if _may_have_value(source, shape, has_events):
                        sources.setdefault(name, {}).setdefault(source, one)
        return Parts(
            matching=matching,
            rules=rules,
            quirks=[
                (one, quirk, name)
                for one in matching
                for quirk, scope, name in one.quirks
                if scope.search(self._label)
                and (not quirk.has or quirk.has in shape)
                and (not quirk.lacks or quirk.lacks not in shape)
            ],
            sources=sources,
        )

    def _make(self, shape: Shape, has_events: bool) -> Plan:
        parts = self._parts(shape, has_events)
        return Plan(
            convention=parts.matching[0].convention.id if parts.matching else "",
            fields=self._field_plans(parts),
            _rules=[compile_rule(rule, one) for one, rule in parts.rules],
            _quirks=[(quirk, name) for _, quirk, name in parts.quirks],
        )

    def _field_plans(self, parts: Parts) -> FieldPlansByKind:
        return FieldPlansByKind(
            [
                (
                    name,
                    _made_needless_by(sources),
                    FIELDS[name].read,
                    [self.reader(one, source) for source, one in sources.items()],
                )
                for name, sources in parts.sources.items()
            ]
        )

    def knows_scope(self, convention: str) -> bool:
        """Whether the convention is recognised by the scope alone."""
        return convention in self._known_by

    def reader(self, one: Compiled, source: Source) -> Reader:
        """How a source of a convention is read."""
        return (source, None) if isinstance(source, str) else ("", self._read(one, source))

    def _read(self, one: Compiled, source: Source) -> Read:
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
                return self._guarded(one.convention.id, function)
        raise TypeError(f"not a source: {source!r}")

    def _guarded(self, convention: str, function: Callable[[Callable[[str], AttributeValue]], Any]) -> Read:
        """Code of a convention may fail; its field is then read from the next source."""

        def read(reading: Reading) -> Any:
            try:
                return function(reading.get)
            except Exception:
                self._on_fault(convention)
                return None

        return read


class Registry:
    """All conventions, compiled. A faulty one is left out and counted, the others go on.

    Args:
        conventions: whatever was found, built in or plugged in; the order does not matter.
    """

    def __init__(self, conventions: Iterable[Convention]) -> None:
        self.faults: Counter[str] = Counter()
        """Refused conventions and failed computations by convention id."""
        self._compiled: list[Compiled] = []
        known: set[str] = set()
        for convention in conventions:
            try:
                compiled = _compile(convention)
            except Exception:  # A plugin may hand over anything at all.
                self.faults[str(getattr(convention, "id", convention))] += 1
                continue
            self._compiled.append(compiled)
            known |= compiled.keys
        self._compiled.sort(key=lambda compiled: (compiled.convention.priority, compiled.convention.id))
        self.known = frozenset(known)
        """Every attribute key that any convention reads."""
        sources = [source for one in self._compiled for source in sources_of(one.convention)]
        self._known = Known(
            keys=self.known,
            lists=frozenset(f"{source.prefix}." for source in sources if isinstance(source, Flat)),
            mappings=frozenset(f"{source.prefix}." for source in sources if isinstance(source, Below)),
        )
        self._scopes: dict[tuple[str, str], ScopePlans] = {}

    def scope_plans(self, scope: Scope) -> ScopePlans:
        """The plans for a scope's spans. Ask once per scope, not per span."""
        identity = (scope.name, scope.version)
        plans = self._scopes.get(identity)
        if plans is None:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            label = f"{scope.name}@{scope.version}"
            plans = self._scopes[identity] = ScopePlans(self._compiled, self._known, label, self._count_fault)
        return plans

    def _count_fault(self, convention: str) -> None:
        self.faults[convention] += 1


def _compile(convention: Convention) -> Compiled:
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


def _made_needless_by(sources: Iterable[Source]) -> str:
    """The field that all of the sources yield to; "" if there is none."""
    named = {source.unless if isinstance(source, Json) else "" for source in sources}
    return named.pop() if len(named) == 1 else ""


def _may_have_value(source: Source, shape: Shape, has_events: bool) -> bool:
    if isinstance(source, (EventAttribute, EventMessages, EventOffset)):
        return has_events
    if isinstance(source, (Flat, Below)):
        return f"{source.prefix}." in shape
    keys = keys_of(source)
    return not keys or not shape.isdisjoint(keys)


def _may_apply(rule: KindRule, shape: Shape, has_events: bool, knows_scope: bool) -> bool:
    if isinstance(rule, (KindByValue, KindByPattern)):
        return rule.key in shape
    if isinstance(rule, KindByKeys):
        return shape.issuperset(rule.all_of) and (not rule.one_of or not shape.isdisjoint(rule.one_of))
    return knows_scope and (has_events or isinstance(rule, KindByName))


def compile_rule(rule: KindRule, one: Compiled) -> _Rule:
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
