"""Compiles conventions to plans, so that a span costs a few dict lookups however many conventions there are.

What a span needs depends only on its scope and on which of the *known* keys it carries: its shape. The plan for
a shape, made once, names the sources that can have a value at all. Spans of one library share few shapes, and
many of them carry just the same keys, so that a span's keys, as one tuple, are usually all that is looked up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mappers.conventions.base import Below, Convention, Flat, Json, KindRule, Quirk, Source
from mappers.conventions.compiled import (
    Compiled,
    Shape,
    compile_convention,
    compile_rule,
    may_apply,
    may_have_value,
    reader_of,
    sources_of,
)
from mappers.conventions.fields import FIELDS
from mappers.conventions.plan import FieldPlansByKind, Layout, Plan, Reader
from mappers.conventions.reading import families_of
from mappers.model import Scope, Span

MAX_SCOPES = 256
MAX_SHAPES = 512
MAX_LAYOUTS = 512
"""Scopes, and shapes and layouts of a scope, that are remembered: whoever sends ever new ones makes the registry
forget and start again, not grow."""
MAX_KEYS = 64
"""Spans with more keys than this are histories that grow; their layouts would not be seen again."""


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
            if may_apply(rule, shape, has_events, one.convention.id in self._known_by)
        ]
        rules.sort(key=lambda told: told[0].convention.priority if told[1].order is None else told[1].order)
        sources: dict[str, dict[Source, Compiled]] = {}
        for name in FIELDS:
            for one in matching:
                for source in one.convention.fields.get(name, ()):
                    if may_have_value(source, shape, has_events):
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
        return reader_of(one, source, self._on_fault)


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
                compiled = compile_convention(convention)
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


def _made_needless_by(sources: Iterable[Source]) -> str:
    """The field that all of the sources yield to; "" if there is none."""
    named = {source.unless if isinstance(source, Json) else "" for source in sources}
    return named.pop() if len(named) == 1 else ""
