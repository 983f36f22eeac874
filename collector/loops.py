"""Watches runs and sessions for loops: follows those in memory step by step, replays the others.

What is found is a function of a thread's stored events alone, so the way it was evaluated does not matter: step by
step as batches come, or all of it after a restart, on another replica, or when a span came late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mappers.assemble import assemble
from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.health import judge
from mappers.loops.history import of_records, read
from mappers.loops.step import Step, StepKind
from mappers.loops.thread import Happening, Steps, happenings, may_warn
from mappers.loops.warnings import Bearer, of_history, session_thread, warnings_of
from mappers.model import Event, Run, Warning

RunKey = tuple[str, str]
ThreadKey = tuple[str, str]
"""(tenant, thread): see `mappers.loops.warnings.Bearer`."""

MAX_THREADS = 2_000
"""Threads whose state is kept; others are replayed when they are touched."""
SESSION_GAP_NS = 24 * 3600 * 10**9
"""Runs of a session that began this long before are no longer looked for."""
SESSION_RUNS = 8
"""Latest runs of a session that are looked at together."""
MAX_SESSION_EVENTS = 50_000
"""Events of sessions that are kept for when the session goes on."""
MAX_REMEMBERED = 20_000
"""Runs and threads of which is remembered what was said."""


class LoopStore(Protocol):
    """The part of a store's reader that watching needs."""

    def texts_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[tuple[str, str, int], tuple[str, str]]:
        """(input, output) of stored tool and model calls by (run id, span id, seq)."""

    def warnings_of(self, tenant: str, threads: Sequence[str]) -> Sequence[Warning]:
        """Stored warnings of these threads that are not retracted."""

    def session_runs(
        self, tenant: str, sessions: Sequence[str], since_ns: int, limit: int
    ) -> Mapping[tuple[str, str], Sequence[str]]:
        """Ids of the latest runs of sessions that began since then, by (project, session id)."""

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Stored events by run id."""


@dataclass(slots=True)
class _Thread:
    """How far a run or a session has been evaluated."""

    evaluator: Evaluator
    steps: Steps = field(default_factory=Steps)
    fed: list[int] = field(default_factory=list)
    """Identities of the happenings that were fed."""

    def continues(self, identities: list[int]) -> bool:
        return identities[: len(self.fed)] == self.fed


@dataclass(slots=True)
class _Member:
    """A run, and what of it takes part."""

    run: Run
    found: list[Happening]
    parts: dict[str, list[Event]] = field(default_factory=dict)
    """What log records tell, by the call's span id, in order."""

    @property
    def key(self) -> RunKey:
        return self.run.tenant, self.run.run_id


@dataclass(slots=True)
class _Job:
    """A thread to be evaluated."""

    key: ThreadKey
    bearer: Bearer
    found: list[Happening]
    across: bool = False


@dataclass(slots=True)
class Watched:
    """What changed."""

    warnings: list[Warning] = field(default_factory=list)
    """New, changed and retracted ones."""
    runs: list[Run] = field(default_factory=list)
    """Runs that were not touched, but whose warnings and health changed."""


def _parts(events: Sequence[Event]) -> dict[str, list[Event]]:
    parts: dict[str, list[Event]] = {}
    for event in events:
        if event.part:
            parts.setdefault(event.parent_span_id, []).append(event)
    for told in parts.values():
        told.sort(key=lambda event: (event.start_ns, event.span_id))
    return parts


def _age(warnings: Sequence[Warning]) -> tuple[int, str]:
    """How late the run began that carries the warnings of a conversation."""
    return warnings[0].first_ns, warnings[0].run_id


class LoopWatch:
    """Evaluates touched runs. Used from one thread.

    Args:
        engine: the detectors and their thresholds.
    """

    def __init__(self, engine: Engine, store: LoopStore, *, max_threads: int = MAX_THREADS) -> None:
        self._engine = engine
        self._store = store
        self._max_threads = max_threads
        self._threads: OrderedDict[ThreadKey, _Thread] = OrderedDict()
        self._said: OrderedDict[ThreadKey, dict[str, Warning]] = OrderedDict()
        """What was last said in a thread, by warning id."""
        self._standing: OrderedDict[RunKey, dict[str, Warning]] = OrderedDict()
        """What stands of a run, whatever thread said it."""
        self._runs: dict[RunKey, Run] = {}
        """Those of which something stands, as they were last assembled."""
        self._sessions: OrderedDict[tuple[str, str, str], dict[str, _Member]] = OrderedDict()
        self._session_events: dict[tuple[str, str, str], int] = {}
        """How many events each of them holds."""
        self._held = 0

    def watch(self, assembled: Sequence[tuple[Run, Sequence[Event]]], new: Collection[RunKey]) -> Watched:
        """Warnings of these runs, of their sessions and conversations. Fills the runs' health and counts.

        Args:
            assembled: runs and all their events, settled.
            new: those of them of which nothing was stored before.
        """
        members = [_Member(run, happenings(events), _parts(events)) for run, events in assembled]
        jobs = [_Job(one.key, Bearer(one.run, one.run.run_id), one.found) for one in members]
        jobs += self._sessions_of(members)
        told: dict[ThreadKey, list[Warning]] = {}
        for one in members:
            for key, warnings in self._told_in(one):
                if key not in told or _age(told[key]) <= _age(warnings):
                    told[key] = warnings
        self._recall({job.key for job in jobs} | told.keys(), new)
        texts = self._texts([job for job in jobs if may_warn(job.found)])
        watched = Watched()
        touched = {one.key for one in members}
        affected: set[RunKey] = set()
        # Of a conversation the latest call tells all; an earlier one that comes late has nothing to add.
        latest = [
            (key, warnings)
            for key, warnings in told.items()
            if not (said := self._said[key]) or _age(list(said.values())) <= _age(warnings)
        ]
        for key, warnings in [*((job.key, self._evaluate(job, texts)) for job in jobs), *latest]:
            for warning in self._say(key, warnings):
                watched.warnings.append(warning)
                affected.add((warning.tenant, warning.run_id))
        for one in members:
            one.parts = {}  # a session keeps its runs, and they are not needed again
            self._judge(one.run)
        at_hand = self._runs | {(job.key[0], job.bearer.run.run_id): job.bearer.run for job in jobs}
        for key in affected - touched:
            run = at_hand.get(key) or self._read_run(key)
            if run is not None:
                self._judge(run)
                watched.runs.append(run)
        self._forget()
        return watched

    # ------------------------------------------------------------------- evaluating

    def _evaluate(self, job: _Job, texts: Mapping[int, tuple[str, str]]) -> list[Warning]:
        if not may_warn(job.found):
            return []
        identities = [happening.identity for happening in job.found]
        thread = self._threads.get(job.key)
        if thread is None or not thread.continues(identities):
            thread = self._threads[job.key] = _Thread(Evaluator(self._engine))
        self._threads.move_to_end(job.key)
        begun = len(thread.fed)
        run_id = job.found[begun - 1].event.run_id if begun else ""
        for happening in job.found[begun:]:
            if job.across and run_id and happening.event.run_id != run_id:
                # The next run of a session begins with what somebody asked.
                thread.evaluator.feed(Step("", StepKind.USER))
            run_id = happening.event.run_id
            for step in thread.steps.of(happening, *texts[happening.identity]):
                if job.across:
                    step.id = f"{run_id}/{step.id}"
                thread.evaluator.feed(step)
        thread.fed = identities
        return warnings_of(thread.evaluator, job.bearer, across=job.across)

    def _texts(self, jobs: Sequence[_Job]) -> dict[int, tuple[str, str]]:
        """Input and output of what has to be fed, by identity; what has left the memory is read back.

        Taken once and for all: when a batch is stored another thread takes the texts off its events.
        """
        texts: dict[int, tuple[str, str]] = {}
        missing: dict[str, dict[tuple[str, str, int], int]] = {}
        for job in jobs:
            thread = self._threads.get(job.key)
            identities = [happening.identity for happening in job.found]
            begun = len(thread.fed) if thread is not None and thread.continues(identities) else 0
            for happening in job.found[begun:]:
                event = happening.event
                given, answered = texts[happening.identity] = event.input, event.output
                if (event.input_bytes and not given) or (event.output_bytes and not answered):
                    place = (event.run_id, event.span_id, event.seq)
                    missing.setdefault(event.tenant, {})[place] = happening.identity
        for tenant, places in missing.items():
            stored = self._store.texts_of(tenant, sorted({run_id for run_id, _, _ in places}))
            texts |= {identity: stored[place] for place, identity in places.items() if place in stored}
        return texts

    # ------------------------------------------------------------------- sessions and conversations

    def _sessions_of(self, members: Sequence[_Member]) -> list[_Job]:
        """Sessions of more than one run that these runs belong to, with their latest runs."""
        named: dict[tuple[str, str, str], list[_Member]] = {}
        for one in members:
            run = one.run
            if run.session_id and not run.setup_only and not run.duplicate_of:
                named.setdefault((run.tenant, run.project, run.session_id), []).append(one)
        began = min((one.run.start_ns for ones in named.values() for one in ones), default=0)
        self._read_sessions(named.keys() - self._sessions.keys(), max(0, began - SESSION_GAP_NS))
        jobs = []
        for key, ones in named.items():
            known = self._sessions.setdefault(key, {})
            self._sessions.move_to_end(key)
            known |= {one.run.run_id: one for one in ones}
            ordered = sorted(known.values(), key=lambda one: (one.run.start_ns, one.run.run_id))[
                -SESSION_RUNS:
            ]
            self._sessions[key] = {one.run.run_id: one for one in ordered}
            held = sum(len(one.found) for one in ordered)
            self._held += held - self._session_events.get(key, 0)
            self._session_events[key] = held
            if len(ordered) < 2:
                continue
            found = [happening for one in ordered for happening in one.found]
            found.sort(key=lambda happening: happening.order)
            thread = session_thread(key[1], key[2])
            jobs.append(_Job((key[0], thread), Bearer(ordered[-1].run, thread), found, across=True))
        return jobs

    def _read_sessions(self, keys: Collection[tuple[str, str, str]], since_ns: int) -> None:
        """Members of sessions that are not in memory, without those of this batch."""
        by_tenant: dict[str, list[str]] = {}
        for tenant, _, session in keys:
            by_tenant.setdefault(tenant, []).append(session)
        for tenant, sessions in by_tenant.items():
            stored = self._store.session_runs(tenant, sessions, since_ns, SESSION_RUNS)
            place = {
                run_id: (tenant, *session)
                for session, run_ids in stored.items()
                for run_id in run_ids
                if (tenant, *session) in keys
            }
            if not place:
                continue
            for run_id, events in self._store.events_of(tenant, list(place)).items():
                run = assemble(list(events)).run
                self._sessions.setdefault(place[run_id], {})[run_id] = _Member(run, happenings(events))

    def _told_in(self, one: _Member) -> list[tuple[ThreadKey, list[Warning]]]:
        """What the histories of a run's calls tell, where nothing tells of the tools themselves; by conversation,
        the latest call's word for each."""
        if any(happening.kind in (StepKind.TOOL, StepKind.HANDOFF) for happening in one.found):
            return []
        told: dict[ThreadKey, list[Warning]] = {}
        for happening in one.found:
            event = happening.event
            stored = event.history or (of_records(one.parts.get(event.span_id, ())) if event.is_root else "")
            if stored:
                warnings = of_history(self._engine, read(stored), happening.event_id, one.run)
                if warnings:
                    told[one.run.tenant, warnings[0].thread] = warnings
        return list(told.items())

    # ------------------------------------------------------------------- what is said

    def _recall(self, keys: Collection[ThreadKey], new: Collection[RunKey]) -> None:
        """Reads what was said in threads that have left the memory."""
        by_tenant: dict[str, list[str]] = {}
        for key in keys:
            if key in self._said:
                self._said.move_to_end(key)
                continue
            self._said[key] = {}
            if key not in new:
                by_tenant.setdefault(key[0], []).append(key[1])
        for tenant, threads in by_tenant.items():
            for warning in self._store.warnings_of(tenant, threads):
                self._said[tenant, warning.thread][warning.warning_id] = warning
                self._standing.setdefault((tenant, warning.run_id), {})[warning.warning_id] = warning

    def _say(self, key: ThreadKey, warnings: Sequence[Warning]) -> list[Warning]:
        """What is to be written: what is new, what changed, and what is no longer so. A warning that moves on to
        a later run is taken back from the earlier one."""
        said = self._said[key]
        current = {warning.warning_id: warning for warning in warnings}
        changed = []
        for identity, before in said.items():
            now = current.get(identity)
            if now is None or now.run_id != before.run_id:
                changed.append(replace(before, state="retracted"))
                self._standing.get((before.tenant, before.run_id), {}).pop(identity, None)
        for identity, now in current.items():
            if said.get(identity) != now:
                changed.append(now)
            self._standing.setdefault((now.tenant, now.run_id), {})[identity] = now
        self._said[key] = current
        return changed

    def _judge(self, run: Run) -> None:
        standing = self._standing.get((run.tenant, run.run_id), {})
        if standing:
            self._runs[run.tenant, run.run_id] = run
        judge(run, list(standing.values()))

    def _read_run(self, key: RunKey) -> Run | None:
        tenant, run_id = key
        events = self._store.events_of(tenant, [run_id]).get(run_id)
        return assemble(list(events)).run if events else None

    def _forget(self) -> None:
        for memory, limit in (
            (self._threads, self._max_threads),
            (self._said, MAX_REMEMBERED),
        ):
            while len(memory) > limit:
                memory.popitem(last=False)
        while self._sessions and (len(self._sessions) > self._max_threads or self._held > MAX_SESSION_EVENTS):
            session, _ = self._sessions.popitem(last=False)
            self._held -= self._session_events.pop(session, 0)
        while len(self._standing) > MAX_REMEMBERED:
            key, _ = self._standing.popitem(last=False)
            self._runs.pop(key, None)
