"""Recent model calls by what twins in other traces share with them: the response id, process and time, or time and
what was said and counted."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from mappers.foreign import akin, is_candidate
from mappers.likeness import own_id, traits
from mappers.model import PROXY_SCOPE, TOOL, Event
from mappers.tree import MODEL_KINDS

SPAN_NS = 1 << 30
"""Calls are kept by the seconds (1.07 s) in which they ran."""
MOST_SPANS = 32
"""A call that takes longer is found by its first half minute: twins begin together."""
ENDS_APART = 1
"""How many of these seconds later a call may end for one instrumentation than for another."""
MINUTE = 6
"""Power of two: how many of these seconds (68.7 s) are one minute here."""
TOOLS_APART = 10
"""How many minutes before the proxy hears of a tool's result its execution may have ended."""
CROWD = 64
"""Where more calls than this share a place, neither time nor a repeated id tells which two are one."""

CallKey = tuple[str, str, str]
"""(tenant, run id, span id)"""
Place = tuple[Hashable, ...]
"""What calls share."""


class _Group:
    """What is held of one process, (tenant, project, instance), or of a project's calls or tools."""

    __slots__ = ("calls", "scopes", "seeking", "waiting")

    def __init__(self) -> None:
        self.calls = 0
        self.scopes: dict[str, int] = {}
        """How many of its calls each instrumentation told; looked at for projects alone."""
        self.seeking = 0
        """Spans that give no id by which others find them: only these look for others by time. Mostly there are
        none."""
        self.waiting: dict[CallKey, _Entry] = {}
        """Spans that are not kept by time, or by likeness, as long as nobody looks for them there."""

    @property
    def may_be_alike(self) -> bool:
        """Whether two of these may be one by what they share: then two instrumentations told them, and one gives no
        id."""
        return self.seeking > 0 and len(self.scopes) > 1

    def leave(self, key: CallKey, entry: _Entry) -> None:
        """Forgets a call of it."""
        self.calls -= 1
        self.seeking -= entry.seeks
        self.waiting.pop(key, None)


@dataclass(slots=True)
class _Entry:
    """A call as it was when it came: later its run fills in what others know."""

    event: Event
    tenant: str
    project: str
    instance: str
    session_id: str
    response_id: str
    is_record: bool
    first: int
    """The second in which it began, and the last one by which it is found."""
    last: int
    ended: int
    """In which second."""
    begun: int = 0
    """Hash of what was asked, of a span without a response id."""
    end: int = 0
    """The same of a span without length."""
    process: _Group | None = None
    """None if its process is not known, or it is no model call."""
    project_calls: _Group | None = None
    """Its group in its project: of calls, or of tools; None for what is not found by likeness."""
    kept: list[Place] = field(default_factory=list)
    """Where it is kept."""

    @property
    def seeks(self) -> bool:
        """A call without a response id, or any tool: two that are one may both have the id of the call."""
        return not self.is_record and (self.event.kind == TOOL or not self.response_id)

    @property
    def traits(self) -> Iterable[Hashable]:
        """What it shares with others that may be its twins."""
        return (("result", self.event.result_hash),) if self.event.kind == TOOL else traits(self.event)


class CallIndex:
    """Holds the calls of the runs that are in memory. Looking one up takes time for those that share its places,
    a bounded number. Places at which nobody would look are not made: a call that gives its id has one."""

    def __init__(self) -> None:
        self._places: dict[Place, dict[CallKey, Event]] = {}
        self._entries: dict[CallKey, _Entry] = {}
        self._processes: dict[tuple[str, str, str], _Group] = {}
        self._projects: dict[tuple[str, str, bool], _Group] = {}
        self._records = 0
        """Log records among the events. Mostly there are none, and no span has to look for one."""
        self._in_sessions: dict[CallKey, _Entry] = {}
        """Spans that are not kept by session as long as there is no record that would look for them there."""

    def add(self, event: Event) -> bool:
        """Takes in an event, or its newest state. Returns whether it may have twins at all."""
        key = event.tenant, event.run_id, event.span_id
        if key in self._entries:
            self._drop(key)
        if not is_candidate(event):
            return False
        entry = self._entries[key] = _entry(event)
        self._keep_by_process(key, entry)
        self._keep_by_project(key, entry)
        if entry.response_id:
            self._keep(key, entry, (entry.tenant, entry.project, "id", entry.response_id))
        if entry.session_id:
            if entry.is_record or self._records:
                self._keep(key, entry, _in_session(entry, entry.is_record, entry.ended))
            else:
                self._in_sessions[key] = entry
        if entry.is_record:
            self._records += 1
            waiting, self._in_sessions = self._in_sessions, {}
            for other, span in waiting.items():
                self._keep(other, span, _in_session(span, False, span.ended))
        return True

    def _keep_by_process(self, key: CallKey, entry: _Entry) -> None:
        event = entry.event
        if not entry.instance or event.kind not in MODEL_KINDS:
            return
        name = entry.tenant, entry.project, entry.instance
        process = entry.process = self._processes.setdefault(name, _Group())
        process.calls += 1
        if entry.is_record:
            if entry.response_id:
                self._keep(key, entry, (*name, "record", entry.last))
            return
        if entry.response_id:
            if process.seeking:
                self._keep_by_time(key, entry)
            else:
                process.waiting[key] = entry
        else:
            process.seeking += 1
            self._keep_by_time(key, entry)
            waiting, process.waiting = process.waiting, {}
            for other, named in waiting.items():
                self._keep_by_time(other, named)
        if event.args_hash:
            if event.start_ns == event.end_ns:
                entry.end = event.args_hash
                self._keep(key, entry, (*name, "end", event.args_hash))
            elif not entry.response_id:
                entry.begun = event.args_hash
                self._keep(key, entry, (*name, "begun", event.args_hash))

    def _keep_by_project(self, key: CallKey, entry: _Entry) -> None:
        event = entry.event
        if entry.is_record or (
            not event.result_hash if event.kind == TOOL else event.start_ns == event.end_ns
        ):
            return
        name = entry.tenant, entry.project, event.kind == TOOL
        group = entry.project_calls = self._projects.setdefault(name, _Group())
        group.calls += 1
        group.seeking += entry.seeks
        group.scopes[event.scope] = group.scopes.get(event.scope, 0) + 1
        group.waiting[key] = entry
        if group.may_be_alike:
            waiting, group.waiting = group.waiting, {}
            for other, call in waiting.items():
                self._keep_by_likeness(other, call)

    def _keep_by_likeness(self, key: CallKey, entry: _Entry) -> None:
        name = entry.tenant, entry.project
        for trait in entry.traits:
            if entry.event.kind != TOOL:
                self._keep(key, entry, (*name, "alike", trait, entry.ended >> 1))
            elif entry.event.scope == PROXY_SCOPE:
                self._keep(key, entry, (*name, "heard of", trait, entry.ended >> MINUTE))
            else:
                self._keep(key, entry, (*name, "alike", trait, entry.ended >> 1))
                self._keep(key, entry, (*name, "executed", trait, entry.ended >> MINUTE))

    def _keep_by_time(self, key: CallKey, entry: _Entry) -> None:
        named = entry.response_id != ""
        for second in range(entry.first, entry.last + 1):
            self._keep(key, entry, (entry.tenant, entry.project, entry.instance, named, second))

    def _keep(self, key: CallKey, entry: _Entry, place: Place) -> None:
        entry.kept.append(place)
        beside = self._places.get(place)
        if beside is None:
            self._places[place] = {key: entry.event}
        else:
            beside[key] = entry.event

    def discard(self, events: Iterable[Event]) -> int:
        """Forgets events; returns the latest end among them in ns, 0 if none was kept."""
        latest = 0
        for event in events:
            key = event.tenant, event.run_id, event.span_id
            if key in self._entries:
                self._drop(key)
                latest = max(latest, event.end_ns)
        return latest

    def group(self, event: Event) -> list[Event]:
        """The events that may be tellings of one call together with this one, itself included."""
        found = {(event.tenant, event.run_id, event.span_id): event}
        left = [event]
        while left and len(found) <= CROWD:
            one = left.pop()
            for beside in self._beside(one):
                for key, other in akin(one, beside.items()):
                    if key not in found:
                        found[key] = other
                        left.append(other)
        return list(found.values()) if len(found) <= CROWD else [event]

    def _beside(self, event: Event) -> Iterator[dict[CallKey, Event]]:
        """What shares its places, but for those that it has for itself, as most have."""
        key = event.tenant, event.run_id, event.span_id
        entry = self._entries.get(key)
        if entry is None:
            return
        for place in self._sought(entry):
            others = self._places.get(place)
            if others is not None and len(others) <= CROWD and (len(others) > 1 or key not in others):
                yield others

    def _sought(self, entry: _Entry) -> Iterator[Place]:
        """Where its twins would be."""
        if entry.response_id:
            yield entry.tenant, entry.project, "id", entry.response_id
        if entry.project_calls is not None and entry.project_calls.may_be_alike:
            yield from self._sought_by_likeness(entry, entry.project_calls)
        process = entry.process
        name = entry.tenant, entry.project, entry.instance
        # The delay between a span and its record is at most two of these seconds.
        around = range(entry.ended - 2, entry.ended + 3) if entry.is_record or self._records else range(0)
        if entry.session_id:
            for second in around:
                yield _in_session(entry, not entry.is_record, second)
        if process is None:
            return
        if entry.is_record:
            if entry.response_id and process.seeking:
                for second in range(entry.last - 2, entry.last + 1):
                    yield *name, False, second
            return
        if process.seeking:
            for second in range(entry.first, entry.last + 1):
                yield *name, False, second
                if not entry.response_id:
                    yield *name, True, second
        if not entry.response_id:
            for second in around:
                yield *name, "record", second
        if entry.end:
            yield *name, "begun", entry.end
        if entry.begun:
            yield *name, "end", entry.begun

    def _sought_by_likeness(self, entry: _Entry, group: _Group) -> Iterator[Place]:
        name = entry.tenant, entry.project
        heard_of = entry.event.kind == TOOL and entry.event.scope == PROXY_SCOPE
        minute = entry.ended >> MINUTE
        for trait in entry.traits:
            if heard_of:
                for earlier in range(minute - TOOLS_APART, minute + 1):
                    yield *name, "executed", trait, earlier
                continue
            for moment in range((entry.ended - ENDS_APART) >> 1, ((entry.ended + ENDS_APART) >> 1) + 1):
                yield *name, "alike", trait, moment
            if entry.event.kind == TOOL and PROXY_SCOPE in group.scopes:
                for later in range(minute, minute + TOOLS_APART + 1):
                    yield *name, "heard of", trait, later

    def _drop(self, key: CallKey) -> None:
        entry = self._entries.pop(key)
        self._records -= entry.is_record
        self._in_sessions.pop(key, None)
        process = entry.process
        if process is not None:
            process.leave(key, entry)
            if not process.calls:
                del self._processes[entry.tenant, entry.project, entry.instance]
        group = entry.project_calls
        if group is not None:
            group.leave(key, entry)
            group.scopes[entry.event.scope] -= 1
            if not group.scopes[entry.event.scope]:
                del group.scopes[entry.event.scope]
            if not group.calls:
                del self._projects[entry.tenant, entry.project, entry.event.kind == TOOL]
        for place in entry.kept:
            others = self._places[place]
            others.pop(key, None)
            if not others:
                del self._places[place]


def _entry(event: Event) -> _Entry:
    first, ended = event.start_ns // SPAN_NS, event.end_ns // SPAN_NS
    return _Entry(
        event,
        event.tenant,
        event.project,
        event.instance,
        event.session_id,
        own_id(event),
        event.source == "log",
        first,
        min(ended, first + MOST_SPANS),
        ended,
    )


def _in_session(entry: _Entry, is_record: bool, second: int) -> Place:
    return entry.tenant, entry.project, "session", entry.session_id, is_record, second
