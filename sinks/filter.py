"""Which runs: the one form that every way of asking (parameters, search text, JSON) is brought to, and that every
store understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mappers.model import RunStatus


class Type(StrEnum):
    """What a field holds, and so how it can be compared."""

    TEXT = "text"
    """One text; compared whole, with `*` for anything."""
    TEXTS = "texts"
    """Several texts, of which one must fit; compared as one text is."""
    NUMBER = "number"
    MONEY = "money"
    """US dollars."""
    DURATION = "duration"
    """Milliseconds."""
    WORDS = "words"
    """Text that is searched, in any letter case."""


@dataclass(frozen=True, slots=True)
class Field:
    """Something that runs can be chosen by."""

    type: Type
    purpose: str
    choices: Sequence[str] = ()
    """Its only values, if they are few."""


FIELDS: Mapping[str, Field] = {
    "id": Field(Type.TEXT, "id of the run, its trace id; `895b2786*` for how it begins"),
    "project": Field(Type.TEXT, "label that the run is grouped by"),
    "status": Field(Type.TEXT, "how the run stands", [status.value for status in RunStatus]),
    "name": Field(Type.TEXT, "name of the run, its root span's"),
    "session": Field(Type.TEXT, "id of the conversation"),
    "user": Field(Type.TEXT, "id of the user"),
    "environment": Field(Type.TEXT, "deployment environment"),
    "service": Field(Type.TEXTS, "a service that took part"),
    "agent": Field(Type.TEXTS, "an agent that took part"),
    "model": Field(Type.TEXTS, "a model that answered"),
    "tool": Field(Type.TEXTS, "a tool that was executed"),
    "tag": Field(Type.TEXTS, "a tag, of its spans or given by people"),
    "pinned": Field(Type.TEXT, "whether it is kept for ever", ["true", "false"]),
    "note": Field(Type.WORDS, "words of the note that people wrote"),
    "span": Field(Type.TEXTS, "name of one of its spans"),
    "convention": Field(Type.TEXTS, "a convention that its spans came in"),
    "provider": Field(Type.TEXTS, "a provider that was asked"),
    "source": Field(Type.TEXTS, "how its events came", ["otlp", "log", "proxy"]),
    "warning": Field(Type.TEXTS, "type of a warning that stands"),
    "severity": Field(Type.TEXTS, "severity of a warning that stands", ["info", "warning", "critical"]),
    "error": Field(Type.WORDS, "words of the run's error type or message"),
    "text": Field(
        Type.WORDS, "words of its name, error, or what its events read and wrote, as far as previews go"
    ),
    "cost": Field(Type.MONEY, "what it cost, US dollars"),
    "tokens": Field(Type.NUMBER, "tokens of all LLM calls, read and written"),
    "input_tokens": Field(Type.NUMBER, "tokens read, cache included"),
    "output_tokens": Field(Type.NUMBER, "tokens written, reasoning included"),
    "cached_tokens": Field(Type.NUMBER, "tokens read from a cache"),
    "duration": Field(Type.DURATION, "from its first start to its last end"),
    "spans": Field(Type.NUMBER, "spans"),
    "llm_calls": Field(Type.NUMBER, "LLM calls"),
    "llm_errors": Field(Type.NUMBER, "LLM calls that failed"),
    "tool_calls": Field(Type.NUMBER, "tool calls"),
    "tool_errors": Field(Type.NUMBER, "tool calls that failed"),
    "handoffs": Field(Type.NUMBER, "handoffs"),
    "retries": Field(Type.NUMBER, "retries"),
    "errors": Field(Type.NUMBER, "events that failed"),
    "warnings": Field(Type.NUMBER, "warnings that stand"),
}
"""By name."""

ATTRIBUTE_PREFIX = "attr."
"""`attr.KEY` is a field too, of type TEXTS: the attribute KEY of a span of the run or of its resource, as text."""

NUMERIC = frozenset({Type.NUMBER, Type.MONEY, Type.DURATION})
OPERATORS = ("=", "<", "<=", ">", ">=")


def field_of(name: str) -> Field | None:
    """The field of that name; None if there is none."""
    if name.startswith(ATTRIBUTE_PREFIX) and len(name) > len(ATTRIBUTE_PREFIX):
        return Field(Type.TEXTS, f"attribute {name[len(ATTRIBUTE_PREFIX) :]!r} of a span or its resource")
    return FIELDS.get(name)


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against one value.

    Numeric fields take every operator and a number, which an unknown value never fits. Other fields take `=`:
    texts fit whole, WORDS if they are contained; `*` in a pattern stands for anything, a bare `*` for "has any".
    """

    field: str
    operator: str
    value: str | float
    pattern: bool = False
    """`*` in the value is not a character but stands for anything."""


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold; without parts, always."""

    parts: Sequence[Condition] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """One of the parts holds."""

    parts: Sequence[Condition]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


Condition = Compare | Every | Either | Not


def fields_of(condition: Condition) -> Iterator[str]:
    """Names of the fields that the condition looks at; one may come several times."""
    match condition:
        case Compare(field=name):
            yield name
        case Not(part=part):
            yield from fields_of(part)
        case Every(parts=parts) | Either(parts=parts):
            for part in parts:
                yield from fields_of(part)


ALWAYS = Every()
"""Lets everything through."""
