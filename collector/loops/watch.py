"""Watches runs and sessions for loops: follows those in memory step by step, replays the others.

What is found is a function of a thread's stored events alone, so the way it was evaluated does not matter: step by
step as batches come, or all of it after a restart, on another replica, or when a span came late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from collector.loops.member import Member, RunKey
from collector.loops.sessions import AtHand, Sessions
from collector.loops.store import LoopStore
from collector.loops.threads import MAX_THREADS, Job, ThreadKey, Threads
from mappers.loops.evaluator import Engine
from mappers.loops.health import judge
from mappers.loops.history import of_records, read
from mappers.loops.step import StepKind
from mappers.loops.warnings import Bearer, of_history
from mappers.model import Event, Run, Warning

MAX_REMEMBERED = 20_000
"""Runs and threads of which is remembered what was said."""


WarningKey = tuple[str, str]
"""(tenant, warning id)"""


@dataclass(slots=True)
class Watched:
    """What changed."""

    warnings: list[Warning] = field(default_factory=list)
    """New, changed and retracted ones."""
    before: dict[WarningKey, Warning] = field(default_factory=dict)
    """What was said of these before, of those that are not new."""
    runs: list[Run] = field(default_factory=list)
    """Runs that were not touched, but whose warnings and health changed."""


class Watch(Protocol):
    """Looks at runs when they are touched."""

    def watch(
        self, assembled: Sequence[tuple[Run, Sequence[Event]]], new: Set[RunKey], at_hand: AtHand
    ) -> Watched:
        """Fills the runs' health and counts.

        Args:
            assembled: runs and all their events, settled.
            new: those of them of which nothing was stored before.
            at_hand: whatever is not stored yet, and more.
        """


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
        alone: False if others, too, say what stands of runs; then that is read each time.
    """

    def __init__(
        self, engine: Engine, store: LoopStore, *, max_threads: int = MAX_THREADS, alone: bool = True
    ) -> None:
        self._engine = self._next_engine = engine
        self._alone = alone
        self._store = store
        self._max_threads = max_threads
        self._threads = Threads(engine, store, max_threads)
        self._sessions = Sessions(store)
        self._said: OrderedDict[ThreadKey, dict[str, Warning]] = OrderedDict()
        """What was last said in a thread, by warning id."""
        self._standing: OrderedDict[RunKey, dict[str, Warning]] = OrderedDict()
        """What stands of a run, whatever thread said it."""
        self._runs: dict[RunKey, Run] = {}
        """Those of which something stands, as they were last assembled."""

    def use(self, engine: Engine) -> None:
        """From the next look on with this engine: runs that go on are looked at anew. May be called from any
        thread."""
        self._next_engine = engine

    def watch(
        self, assembled: Sequence[tuple[Run, Sequence[Event]]], new: Set[RunKey], at_hand: AtHand
    ) -> Watched:
        """Warnings of these runs, of their sessions and conversations; see `Watch`."""
        if self._next_engine is not self._engine:
            self._engine = self._next_engine
            self._threads = Threads(self._engine, self._store, self._max_threads)
        members = [Member(run, events) for run, events in assembled]
        jobs = [Job(one.key, Bearer(one.run, one.run.run_id), [one]) for one in members]
        jobs += self._sessions.jobs(members)
        told: dict[ThreadKey, list[Warning]] = {}
        for one, (_, events) in zip(members, assembled, strict=True):
            for key, warnings in self._told_in(one, events):
                if key not in told or _age(told[key]) <= _age(warnings):
                    told[key] = warnings
        if not self._alone:
            for memory in (self._said, self._standing, self._runs):
                memory.clear()
        self._recall({job.key for job in jobs} | told.keys(), new)
        watched = Watched()
        affected: set[RunKey] = set()
        for job, warnings in self._threads.evaluate(jobs, partial(self._sessions.wake, at_hand=at_hand)):
            since_ns = job.members[0].run.start_ns if job.across else 0
            self._say(job.key, warnings, watched, affected, since_ns)
        for key, warnings in told.items():
            # Of a conversation the latest call tells all; an earlier one that comes late has nothing to add.
            if not (said := self._said[key]) or _age(list(said.values())) <= _age(warnings):
                self._say(key, warnings, watched, affected)
        for one in members:
            self._judge(one.run)
        self._judge_others(affected - {one.key for one in members}, jobs, watched)
        self._sessions.settle(members, self._threads.rests)
        self._forget()
        return watched

    def _told_in(self, one: Member, events: Sequence[Event]) -> list[tuple[ThreadKey, list[Warning]]]:
        """What the histories of a run's calls tell, where nothing tells of the tools themselves; by conversation,
        the latest call's word for each."""
        if any(happening.kind in (StepKind.TOOL, StepKind.HANDOFF) for happening in one.found):
            return []
        told: dict[ThreadKey, list[Warning]] = {}
        parts = _parts(events)
        for happening in one.found:
            event = happening.event
            stored = event.history or (
                of_records(parts.get(event.span_id, ()), self._engine) if event.is_root else ""
            )
            history = read(stored) if stored else None
            if history is not None:
                warnings = of_history(self._engine, history, happening.event_id, one.run)
                if warnings:
                    told[one.run.tenant, warnings[0].thread] = warnings
        return list(told.items())

    # ------------------------------------------------------------------- what is said

    def _recall(self, keys: Set[ThreadKey], new: Set[RunKey]) -> None:
        """Reads what was said in threads that have left the memory."""
        by_tenant: dict[str, list[str]] = {}
        for key in keys - self._said.keys() - new:
            by_tenant.setdefault(key[0], []).append(key[1])
        stored = {tenant: self._store.warnings_of(tenant, threads) for tenant, threads in by_tenant.items()}
        for key in keys:
            self._said.setdefault(key, {})
            self._said.move_to_end(key)
        for tenant, warnings in stored.items():
            for warning in warnings:
                self._said[tenant, warning.thread][warning.warning_id] = warning
                self._standing.setdefault((tenant, warning.run_id), {})[warning.warning_id] = warning

    def _say(
        self,
        key: ThreadKey,
        warnings: Sequence[Warning],
        watched: Watched,
        affected: set[RunKey],
        since_ns: int = 0,
    ) -> None:
        """Adds what is to be written: what is new, what changed, and what is no longer so. A warning that moves on to
        a later run is taken back from the earlier one.

        Args:
            affected: runs of which something else stands now.
            since_ns: what began before has not been looked at again as a whole, and stands.
        """
        said = self._said[key]
        current = {warning.warning_id: warning for warning in warnings}
        changed = []
        for identity, before in said.items():
            now = current.get(identity)
            if before.first_ns < since_ns and (now is None or now.last_ns <= before.last_ns):
                current[identity] = before
            elif now is None or now.run_id != before.run_id:
                changed.append(replace(before, state="retracted"))
                self._standing.get((before.tenant, before.run_id), {}).pop(identity, None)
        for identity, now in current.items():
            if said.get(identity) != now:
                changed.append(now)
            self._standing.setdefault((now.tenant, now.run_id), {})[identity] = now
        self._said[key] = current
        watched.warnings += changed
        watched.before |= {
            (key[0], one.warning_id): said[one.warning_id] for one in changed if one.warning_id in said
        }
        affected.update((warning.tenant, warning.run_id) for warning in changed)

    def _judge(self, run: Run) -> None:
        key = run.tenant, run.run_id
        standing = self._standing.get(key)
        if standing:
            self._runs[key] = run
            judge(run, list(standing.values()))
        else:
            self._standing.pop(key, None)
            self._runs.pop(key, None)
            judge(run, ())

    def _judge_others(self, keys: Collection[RunKey], jobs: Sequence[Job], watched: Watched) -> None:
        """Judges runs that were not touched."""
        missing = {key for key in keys if key not in self._runs}
        at_hand: dict[RunKey, Run] = {}
        if missing:
            at_hand = {one.key: one.run for job in jobs for one in job.members if one.key in missing}
        for key in keys:
            run = self._runs.get(key) or at_hand.get(key) or self._read_run(key)
            if run is not None:
                self._judge(run)
                watched.runs.append(run)

    def _read_run(self, key: RunKey) -> Run | None:
        tenant, run_id = key
        return self._store.runs_by_id(tenant, [run_id]).get(run_id)

    def _forget(self) -> None:
        while len(self._said) > MAX_REMEMBERED:
            self._said.popitem(last=False)
        while len(self._standing) > MAX_REMEMBERED:
            key, _ = self._standing.popitem(last=False)
            self._runs.pop(key, None)
