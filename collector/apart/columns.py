"""Events as columns of plain values, as `marshal` writes them, and back.

An event by itself costs 16 µs to pickle and 12 to unpickle. By columns it is 7 and 6 (`tests/bench`): a column is
gathered and put into its events by C alone, and one in which nobody has anything is not sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from decimal import Decimal
from itertools import repeat
from operator import attrgetter
from typing import Any

from mappers.model import Document, Event, Kind, Status, ToolRequest

Column = Sequence[Any]
Columns = dict[str, Column]
"""By field. None is left out that holds only defaults."""


_Form = tuple[Callable[[Column], Column], Callable[[Column], Iterable[Any]]]
"""There and back."""


class UnfitError(ValueError):
    """A value that has no plain form."""


def _members(members: type[Kind] | type[Status]) -> Callable[[Column], Iterable[Any]]:
    """Texts to members; a text that is none stays."""
    known: dict[str, Any] = {str(member): member for member in members}
    return lambda column: map(known.get, column, column)


def _texts(column: Column) -> Column:
    return list(map(str.__str__, column))  # fails for what is no text


def _tuples(of: type[ToolRequest] | type[Document]) -> _Form:
    """For sequences of named tuples."""

    def there(column: Column) -> Column:
        if any(value.__class__ is not of for values in column if values for value in values):
            raise UnfitError(f"not a {of.__name__}")
        return [values.__class__(map(tuple, values)) if values else values for values in column]

    def back(column: Column) -> Column:
        return [values.__class__(map(of._make, values)) if values else values for values in column]

    return there, back


def _dicts(column: Column) -> Column:
    return [value if value.__class__ is dict else dict(value) for value in column]


def _amounts_there(column: Column) -> Column:
    return [None if amount is None else str(amount) for amount in column]


def _amounts_back(column: Column) -> Column:
    return [None if amount is None else Decimal(amount) for amount in column]


def _as_it_is(column: Column) -> Column:
    return column


_FORMS: Mapping[str, _Form] = {
    "kind": (_texts, _members(Kind)),
    "status": (_texts, _members(Status)),
    "tool_requests": _tuples(ToolRequest),
    "documents": _tuples(Document),
    "metadata": (_dicts, _as_it_is),
    "parameters": (_dicts, _as_it_is),
    "cost_usd": (_amounts_there, _amounts_back),
}
"""Of fields whose values `marshal` does not know."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: Callable[[Event], Any]
    put: Callable[[Event, Any], None]
    default: Any
    """`MISSING` if every event has a value of its own."""
    made: Callable[[], Any] | None
    """Makes the default of each event."""
    there: Callable[[Column], Column]
    back: Callable[[Column], Iterable[Any]]


def _field(name: str, default: Any, factory: Any) -> _Field:
    made = None if factory is MISSING else factory
    there, back = _FORMS.get(name, (_as_it_is, _as_it_is))
    put = vars(Event)[name].__set__
    return _Field(name, attrgetter(name), put, made() if made else default, made, there, back)


_FIELDS = tuple(_field(field.name, field.default, field.default_factory) for field in fields(Event))


def written(events: Sequence[Event]) -> Columns:
    """The columns of events: nothing in them but what `marshal` knows, unless a plugin gave a field something odd.

    Raises:
        UnfitError, TypeError, AttributeError: one has no plain form.
    """
    columns: Columns = {}
    count = len(events)
    for field in _FIELDS:
        column = list(map(field.read, events))
        if field.default is MISSING or column.count(field.default) < count:
            columns[field.name] = field.there(column)
    return columns


def read(columns: Mapping[str, Column], count: int) -> list[Event]:
    """As many events, equal to those that the columns were written of.

    Raises:
        LookupError, TypeError, ValueError: they were not written by `written`.
    """
    events: list[Event] = list(map(object.__new__, repeat(Event, count)))
    if unknown := columns.keys() - _NAMES:
        raise LookupError(f"unknown columns: {sorted(unknown)}")
    for field in _FIELDS:
        column = columns.get(field.name)
        values: Iterable[Any]
        if column is not None:
            if len(column) != count:
                raise ValueError(f"{field.name}: {len(column)} values for {count} events")
            values = field.back(column)
        elif field.default is MISSING:
            if count:
                raise LookupError(f"no {field.name}")
            continue
        else:
            values = repeat(field.default, count) if field.made is None else [field.made() for _ in events]
        deque(map(field.put, events, values), maxlen=0)
    return events


_NAMES = {field.name for field in _FIELDS}
