"""Runs that share a session: which of them are looked at together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from collector.loops.store import LoopStore
from collector.loops.threads import Job, Member
from mappers.assemble import assemble
from mappers.loops.warnings import Bearer, session_thread
from mappers.model import Kind

SessionKey = tuple[str, str, str]
"""(tenant, project, session id)"""

GAP_NS = 24 * 3600 * 10**9
"""Runs of a session that began this long before are no longer looked for."""
LATEST = 20
"""Runs of a session that are looked at together, at least."""
EARLIER = 44
"""Runs before these at one of which the window begins."""
MAX_SESSIONS = 2_000
MAX_EVENTS = 50_000
"""Events of sessions that are kept for when the session goes on."""
MAX_CHARACTERS = 32 * 1024 * 1024
"""Of their texts."""


@dataclass(slots=True)
class _Session:
    members: list[Member] = field(default_factory=list)
    """In their order."""
    cut: bool = False
    """There are runs before these."""
    events: int = 0
    characters: int = 0

    def take(self, members: Iterable[Member]) -> None:
        known = {member.run.run_id: member for member in self.members}
        known |= {member.run.run_id: member for member in members}
        ordered = sorted(known.values(), key=lambda member: member.order)
        self.members = window(ordered)
        self.cut = self.cut or len(self.members) < len(ordered)


def window(ordered: Sequence[Member]) -> list[Member]:
    """The runs of a session that are looked at together: the latest, from one on whose id is the smallest by its hash
    among some. So the window's beginning follows from the runs alone, and stays for many runs that come after."""
    last = len(ordered) - LATEST
    if last <= 0:
        return list(ordered)
    first = max(0, last - EARLIER)
    return list(
        ordered[min(range(first, last + 1), key=lambda place: crc32(ordered[place].run.run_id.encode())) :]
    )


class Sessions:
    """Sessions that were touched lately; others are read back."""

    def __init__(self, store: LoopStore) -> None:
        self._store = store
        self._sessions: OrderedDict[SessionKey, _Session] = OrderedDict()
        self._events = 0
        self._characters = 0

    def jobs(self, touched: Sequence[Member]) -> list[Job]:
        """Sessions of more than one run that these runs belong to."""
        named: dict[SessionKey, list[Member]] = {}
        for member in touched:
            run = member.run
            if run.session_id and not run.setup_only and not run.duplicate_of:
                named.setdefault((run.tenant, run.project, run.session_id), []).append(member)
        self._read({key for key, members in named.items() if self._is_unknown(key, members)}, named)
        jobs = []
        for key, members in named.items():
            session = self._sessions.setdefault(key, _Session())
            self._sessions.move_to_end(key)
            session.take(members)
            if len(session.members) > 1:
                thread = session_thread(key[1], key[2])
                bearer = Bearer(session.members[-1].run, thread)
                jobs.append(Job((key[0], thread), bearer, session.members, across=True))
        return jobs

    def settle(self, touched: Iterable[Member]) -> None:
        """Lets go of what the next evaluation of the sessions of these runs does not need, and of what is too much."""
        for member in touched:
            for happening in member.found:
                if happening.event.kind == Kind.LLM:
                    happening.answered = ""  # not compared over runs
        for key in {(member.run.tenant, member.run.project, member.run.session_id) for member in touched}:
            if key in self._sessions:
                self._weigh(self._sessions[key])
        while self._sessions and (
            len(self._sessions) > MAX_SESSIONS
            or self._events > MAX_EVENTS
            or self._characters > MAX_CHARACTERS
        ):
            _, session = self._sessions.popitem(last=False)
            self._events -= session.events
            self._characters -= session.characters

    def _weigh(self, session: _Session) -> None:
        events = sum([len(member.found) for member in session.members])
        characters = sum([member.characters for member in session.members])
        self._events += events - session.events
        self._characters += characters - session.characters
        session.events, session.characters = events, characters

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
                tenant, [key[2] for key in sessions], max(0, began - GAP_NS), LATEST + EARLIER
            )
            place = {
                run_id: key
                for key in sessions
                for run_id in stored.get(key[1:], ())
                if run_id not in self._known(key)
            }
            found: dict[SessionKey, list[Member]] = {}
            if place:
                for run_id, events in self._store.events_of(tenant, list(place)).items():
                    run = assemble(list(events)).run
                    found.setdefault(place[run_id], []).append(Member(run, events))
            for key in sessions:
                self._sessions.setdefault(key, _Session()).take(found.get(key, ()))

    def _known(self, key: SessionKey) -> set[str]:
        session = self._sessions.get(key)
        return {member.run.run_id for member in session.members} if session is not None else set()
