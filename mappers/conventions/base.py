"""What a convention is made of: how it shows, what kind its spans are, and where each field may stand.

A convention is data. Nothing here reads a span: `registry` compiles conventions to lookup tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.model import AttributeValue, Kind

# --------------------------------------------------------------------------- where a field may stand


@dataclass(frozen=True, slots=True)
class Json:
    """A member inside an attribute that holds a JSON document: `Json("input.value", "model")`.

    `unless` names a field that, once read, makes parsing the document not worth its cost.
    """

    key: str
    path: tuple[str | int, ...]
    unless: str = ""

    def __init__(self, key: str, *path: str | int, unless: str = "") -> None:
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "unless", unless)


@dataclass(frozen=True, slots=True)
class Flat:
    """A list flattened into keys: `Flat("llm.input_messages")` for `llm.input_messages.0.message.role`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Below:
    """The attributes below a prefix as one mapping: `Below("app.metadata")` for `app.metadata.plan`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class EventAttribute:
    """An attribute of the last span event of that name which has it, or a member inside the JSON document that the
    attribute holds: `EventAttribute("details", "messages", 0, "role")`."""

    event: str
    key: str
    path: tuple[str | int, ...]

    def __init__(self, event: str, key: str, *path: str | int) -> None:
        object.__setattr__(self, "event", event)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "path", path)


@dataclass(frozen=True, slots=True)
class EventMessages:
    """The span events of these names, each of which is one message, as a list: `gen_ai.user.message` has the role in
    its name, `gen_ai.choice` the assistant's message in an attribute."""

    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventOffset:
    """Milliseconds from the span's start to its first span event of that name."""

    event: str


@dataclass(frozen=True, slots=True)
class Seconds:
    """An attribute in seconds, given in milliseconds. `integers_are_ms`: a whole number already is."""

    key: str
    integers_are_ms: bool = False


@dataclass(frozen=True, slots=True)
class TimeOffset:
    """Milliseconds from the span's start to the time that an attribute tells in RFC 3339, plain or as a JSON text."""

    key: str


@dataclass(frozen=True, slots=True)
class NameMatch:
    """The first group of a regular expression that matches the span's name from its start."""

    regex: str


@dataclass(frozen=True, slots=True)
class Const:
    """Always this value."""

    value: AttributeValue


@dataclass(frozen=True, slots=True)
class Computed:
    """Says what no other form can: a function of the attributes' `get`, called if one of `keys` is there."""

    function: Callable[[Callable[[str], AttributeValue]], Any]
    keys: tuple[str, ...]


Source = (
    str
    | Json
    | Flat
    | Below
    | EventAttribute
    | EventMessages
    | EventOffset
    | Seconds
    | TimeOffset
    | NameMatch
    | Const
    | Computed
)
"""One place where a field may stand; a plain string is an attribute key."""

# --------------------------------------------------------------------------- what kind a span is


@dataclass(frozen=True, slots=True)
class KindByValue:
    """The value of an attribute says the kind; case and surrounding JSON quotes do not matter."""

    key: str
    values: Mapping[str, Kind]
    order: int | None = None
    """Place among the rules of all conventions, lowest first; None: the convention's own."""


@dataclass(frozen=True, slots=True)
class KindByKeys:
    """The span has all of these keys and, if any are given, one of those."""

    kind: Kind
    all_of: tuple[str, ...]
    one_of: tuple[str, ...] = ()
    order: int | None = None


@dataclass(frozen=True, slots=True)
class KindByName:
    """The span's name matches. Holds only in scopes that the convention knows."""

    kind: Kind
    regex: str
    order: int | None = None


@dataclass(frozen=True, slots=True)
class KindByEvent:
    """The span has a span event of one of these names. Holds only in scopes that the convention knows."""

    kind: Kind
    events: tuple[str, ...]
    order: int | None = None


@dataclass(frozen=True, slots=True)
class KindByPattern:
    """A regular expression is found in the value of an attribute."""

    kind: Kind
    key: str
    regex: str
    order: int | None = None


KindRule = KindByValue | KindByKeys | KindByName | KindByEvent | KindByPattern


@dataclass(frozen=True, slots=True)
class Quirk:
    """A correction of one library's spans. All conditions that are given must hold.

    `scope` is searched in `name@version` of the scope, `name` in the span's name.
    """

    scope: str = ""
    name: str = ""
    has: str = ""
    lacks: str = ""
    when: Kind | None = None
    """The kind that the rules gave."""
    kind: Kind | None = None
    """The kind that it is instead."""
    setup: bool = False
    """The span sets something up and does no work."""
    input_excludes_cache: bool = False
    """Cache reads and writes are to be added to the input tokens."""
    output_excludes_reasoning: bool = False
    """Reasoning tokens are to be added to the output tokens."""
    total_is_own_sum: bool = False
    """The library adds input and output up itself: its total tells nothing about what they include."""
    usage_is_estimate: bool = False
    """Token counts are the library's guess, not what the provider counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """One way of telling LLM and agent traffic in spans.

    Raises nothing by itself; `Registry` refuses a convention with an unknown field or a bad pattern.
    """

    id: str
    priority: int
    """Lowest is read first: vendors below 100, generic conventions from there on."""
    keys: Sequence[str] = ()
    """Attributes that show the convention."""
    scopes: Sequence[str] = ()
    """Patterns searched in `name@version` of the scope."""
    kinds: Sequence[KindRule] = ()
    fields: Mapping[str, Sequence[Source]] = field(default_factory=dict)
    """Places by field (`mappers.conventions.fields.FIELDS`), best first."""
    quirks: Sequence[Quirk] = ()
