"""Runs that share a session: which of them are looked at together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from collector.loops.member import Member, RunKey
from collector.loops.store import LoopStore
from collector.loops.threads import Job, ThreadKey
from mappers.loops.warnings import Bearer, session_thread
from mappers.model import LLM, Event, Run

SessionKey = tuple[str, str, str]
"""(tenant, project, session id)"""
AtHand = Callable[[RunKey], Sequence[Event]]
"""Events of a run that is in memory, settled; none if it is not."""

SPAN_NS = 24 * 3600 * 10**9
"""Between the beginnings of the first run that is looked at and of the latest, at most."""
LATEST = 20
"""Runs of a session that are looked at together, at least, unless they have many spans."""
ENOUGH_SPANS = 2_000
"""Spans that are enough, too, however few runs they belong to."""
MOST = 212
"""Runs that are looked at together, at most."""
MOST_SPANS = 16_000
MAX_SESSIONS = 2_000
MAX_RUNS = 40_000
"""Runs of sessions that are remembered, whether they rest or not."""
MAX_PLACES = 50_000
"""Runs of which is known in which session they were seen."""
MAX_EVENTS = 50_000
"""Events of sessions that are kept; what was touched longest ago rests."""
MAX_TEXT_BYTES = 32 << 20
"""Of their texts."""


ORDER = attrgetter("order")


@dataclass(slots=True)
class _Session:
    members: list[Member] = field(default_factory=list)
    """In their order."""
    cut: bool = False
    """There are runs before these."""
    runs: int = 0
    events: int = 0
    text_bytes: int = 0
    """All three as they were last counted."""

    def take(self, members: Iterable[Member]) -> None:
        new = {member.run.run_id: member for member in members}
        known = [member for member in self.members if member.order[1] not in new]
        ordered = [*known, *new.values()]
        ordered.sort(key=ORDER)
        self.members = window(ordered)
        self.cut = self.cut or len(self.members) < len(ordered)

    def lose(self, member: Member) -> None:
        self.members = [other for other in self.members if other.key != member.key]


def session_of(run: Run) -> SessionKey | None:
    """The session that it takes part in."""
    if not run.session_id or run.setup_only or run.duplicate_of:
        return None
    return run.tenant, run.project, run.session_id


def window(ordered: Sequence[Member]) -> list[Member]:
    """The runs of a session that are looked at together: the latest, from a run on that its id marks as a beginning.

    So the beginning follows from the runs alone, whenever they came, and stays where it is for many that come after:
    the session goes on from what was evaluated, and seldom has to be evaluated anew.
    """
    since_ns = ordered[-1].run.start_ns - SPAN_NS if ordered else 0
    spans = 0
    best: tuple[float, int] | None = None
    for place in range(len(ordered) - 1, -1, -1):
        member = ordered[place]
        if member.run.start_ns < since_ns:
            return list(ordered[place + 1 :])
        spans += member.run.counts.spans
        runs = len(ordered) - place
        if runs >= LATEST or spans >= ENOUGH_SPANS:
            if member.begins:
                return list(ordered[place:])
            best = min(best or (1.0, place), (member.draw, place))
            if runs >= MOST or spans >= MOST_SPANS:
                return list(ordered[best[1] :])
    return list(ordered)


class Sessions:
    """Sessions that were touched lately; others are read back."""

    def __init__(self, store: LoopStore) -> None:
        self._store = store
        self._sessions: OrderedDict[SessionKey, _Session] = OrderedDict()
        self._of_run: OrderedDict[RunKey, SessionKey] = OrderedDict()
        """Where runs were taken up."""
        self._runs = 0
        self._events = 0
        self._text_bytes = 0

    def jobs(self, touched: Sequence[Member]) -> list[Job]:
        """Sessions of more than one run that these runs belong to, and those that one of them has left."""
        named: dict[SessionKey, list[Member]] = {}
        for member in touched:
            if key := session_of(member.run):
                named.setdefault(key, []).append(member)
        self._read({key for key, members in named.items() if self._is_unknown(key, members)}, named)
        left = set()
        for member in touched:
            key = session_of(member.run)
            before = self._of_run.pop(member.key, None)
            if before is not None and before != key and before in self._sessions:
                self._sessions[before].lose(member)
                left.add(before)
            if key is not None:
                self._of_run[member.key] = key
        jobs = []
        for key in dict.fromkeys([*named, *left]):
            session = self._sessions.setdefault(key, _Session())
            self._sessions.move_to_end(key)
            session.take(named.get(key, ()))
            if len(session.members) > 1 or (key in left and session.members):
                thread = _thread_of(key)
                bearer = Bearer(session.members[-1].run, thread[1])
                jobs.append(Job(thread, bearer, session.members, across=True))
        return jobs

    def wake(self, members: Iterable[Member], at_hand: AtHand) -> None:
        """Takes up again what takes part of runs that rest."""
        away: dict[str, dict[str, Member]] = {}
        for member in members:
            if not member.rests:
                continue
            if events := at_hand(member.key):
                member.wake(events)
            else:
                away.setdefault(member.run.tenant, {})[member.run.run_id] = member
        for tenant, sought in away.items():
            stored = self._store.events_of(tenant, list(sought))
            for run_id, member in sought.items():
                member.wake(stored.get(run_id, ()))

    def settle(self, touched: Iterable[Member], rests: Callable[[ThreadKey], None]) -> None:
        """Lets go of what the next evaluation of the sessions of these runs does not need, and of what is too much.

        Args:
            rests: is told of sessions before their texts are let go of.
        """
        for member in touched:
            for happening in member.found:
                if happening.event.kind == LLM:
                    happening.answered = ""  # not compared over runs
        for key in {session_of(member.run) for member in touched}:
            if key is not None and key in self._sessions:
                self._weigh(self._sessions[key])
        while len(self._of_run) > MAX_PLACES:
            self._of_run.popitem(last=False)
        while len(self._sessions) > MAX_SESSIONS or self._runs > MAX_RUNS:
            _, session = self._sessions.popitem(last=False)
            session.members = []
            self._weigh(session)
        for key, session in self._sessions.items():
            if self._events <= MAX_EVENTS and self._text_bytes <= MAX_TEXT_BYTES:
                break
            if session.events:
                rests(_thread_of(key))
                for member in session.members:
                    member.rest()
                self._weigh(session)

    def _weigh(self, session: _Session) -> None:
        runs = len(session.members)
        events = text_bytes = 0
        for member in session.members:
            if not member.rests:
                events += len(member.found)
                text_bytes += member.text_bytes
        self._runs += runs - session.runs
        self._events += events - session.events
        self._text_bytes += text_bytes - session.text_bytes
        session.runs, session.events, session.text_bytes = runs, events, text_bytes

    def _is_unknown(self, key: SessionKey, members: Sequence[Member]) -> bool:
        """Whether runs of the session that have to be known are not in memory."""
        session = self._sessions.get(key)
        if session is None:
            return True
        return session.cut and min(member.order for member in members) < session.members[0].order

    def _read(self, keys: Collection[SessionKey], named: dict[SessionKey, list[Member]]) -> None:
        """Takes up the stored runs of sessions; those in memory hold."""
        by_tenant: dict[str, list[SessionKey]] = {}
        for key in keys:
            by_tenant.setdefault(key[0], []).append(key)
        for tenant, sessions in by_tenant.items():
            began = min(member.run.start_ns for key in sessions for member in named[key])
            stored = self._store.session_runs(
                tenant, [key[2] for key in sessions], max(0, began - SPAN_NS), MOST
            )
            place = {
                run_id: key
                for key in sessions
                for run_id in _not_too_many(stored.get(key[1:], ()))
                if run_id not in self._known(key)
            }
            found: dict[SessionKey, list[Member]] = {}
            if place:
                # As they were settled: what other traces know of them, and what calls cost, is not in the events.
                runs = self._store.runs_by_id(tenant, list(place))
                for run_id, events in self._store.events_of(tenant, list(runs)).items():
                    run = runs[run_id]
                    if session_of(run) == place[run_id]:
                        found.setdefault(place[run_id], []).append(Member(run, events))
                        self._of_run[tenant, run_id] = place[run_id]
            for key in sessions:
                self._sessions.setdefault(key, _Session()).take(found.get(key, ()))

    def _known(self, key: SessionKey) -> set[str]:
        session = self._sessions.get(key)
        return {member.run.run_id for member in session.members} if session is not None else set()


def _thread_of(key: SessionKey) -> ThreadKey:
    return key[0], session_thread(key[1], key[2])


def _not_too_many(runs: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Ids of the runs that a window can hold. `runs`: id and number of spans, the latest first."""
    spans = 0
    for run_id, more in runs:
        yield run_id
        spans += more
        if spans >= MOST_SPANS:
            return
