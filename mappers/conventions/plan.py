"""What is done with the spans of one scope and shape: which kind they are, and how their fields are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.conventions.base import Quirk
from mappers.conventions.fields import FIELDS
from mappers.conventions.reading import Family, Reading
from mappers.model import AttributeValue, Kind, Span

Read = Callable[[Reading], Any]
Value = Callable[[AttributeValue], Any]
Reader = tuple[str, Read | None]
"""(key, None) for an attribute or ("", function)"""
FieldReaders = tuple[str, str, Value, Sequence[Reader]]
"""A field, the field that makes all of its sources needless ("" if none does), how its value is read, and its sources
in the order in which they are asked."""
Rule = Callable[[Span], Kind | None]
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
class Plan:
    """What to do with the spans of one scope and shape."""

    convention: str
    """Id of the first convention that recognises them; "" if none does."""
    fields: FieldPlansByKind
    _rules: Sequence[Rule]
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
