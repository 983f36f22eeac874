"""What tells how a coding agent logs: which records are calls, and where each field stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mappers.conventions.base import Computed, Convention, KindByValue, Quirk, Source
from mappers.model import AttributeValue, Kind

Get = Callable[[str], AttributeValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLogs:
    """The log records of one agent. A record's *happening* is its event name without the prefix, and for those
    named in `told_by` the value of an attribute too: `sse_event:response.completed`."""

    id: str
    """Name of its runs, and convention of their events."""
    prefixes: Sequence[str]
    """Beginnings of its event names."""
    scopes: str = ""
    """Pattern of scopes in which event names come without the prefix."""
    session: Sequence[str] = ("session.id",)
    """Attributes that may hold the session id; records without one belong to no run."""
    kinds: Mapping[str, Kind]
    """What a happening is; others are no events. OTHER ones (prompts, the end) only show how the session goes."""
    failures: frozenset[str] = frozenset()
    """Happenings that are failed calls."""
    ends: frozenset[str] = frozenset()
    """Happenings that end the session."""
    answers: frozenset[str] = frozenset()
    """Happenings that are what a call answered, and no calls: `twice` says of which, else they tell nothing."""
    told_by: Mapping[str, str | Callable[[Get], str]] = field(default_factory=dict)
    """What tells more closely, by happening: an attribute, or a function of the attributes."""
    unnamed: Callable[[Get], str] | None = None
    """The happening of a record without an event name."""
    twice: Sequence[str] = ()
    """Attributes of which the first that is there tells two records of one happening, else each is its own."""
    secondary: str = ""
    """Pattern of scopes whose records may tell a happening once more (`twice`), with its content."""
    duration_ms: str = "duration_ms"
    """Attribute with how long it took until the record was made."""
    fields: Mapping[str, Sequence[Source]]
    quirks: Sequence[Quirk] = ()

    @property
    def mark(self) -> str:
        """Key of the attribute under which the happening is handed to the convention."""
        return f"eddyline.{self.id}"

    def convention(self) -> Convention:
        """How the attributes of its records are read."""
        return Convention(
            id=self.id,
            priority=1,
            keys=(self.mark,),
            kinds=(KindByValue(self.mark, self.kinds),),
            fields=self.fields,
            quirks=self.quirks,
        )


def outcome(*, success: str = "success", status: str = "status_code") -> Computed:
    """`error` if the record says that it did not succeed, or has an HTTP status of an error."""

    def read(get: Get) -> str | None:
        said = get(success)
        if said is False or (isinstance(said, str) and said.lower() == "false"):
            return "error"
        code = str(get(status) or "")
        return "error" if code.isdigit() and int(code) >= 400 else None

    return Computed(read, (success, status))
