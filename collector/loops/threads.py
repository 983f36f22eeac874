"""How far runs and sessions have been evaluated: goes on where they go on, and begins anew where they changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

from collector.loops.store import LoopStore
from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.outline import Outline
from mappers.loops.step import StepKind
from mappers.loops.thread import Happening, Steps, happenings, nano_usd_of, tokens_of
from mappers.loops.warnings import Bearer, warnings_of
from mappers.model import Event, Kind, Run, Warning

RunKey = tuple[str, str]
"""(tenant, run id)"""
ThreadKey = tuple[str, str]
"""(tenant, thread): see `mappers.loops.warnings.Bearer`."""

MAX_THREADS = 2_000
"""Threads whose state is kept; others are replayed when they are touched."""


class Mark(NamedTuple):
    """What was taken of a run."""

    run_id: str
    happenings: int
    digest: int


class Member:
    """A run as it was last assembled, and what of it takes part.

    Of a run that rests only its mark is left: a session that goes on needs no more of what it has taken.
    """

    def __init__(self, run: Run, events: Sequence[Event]) -> None:
        self.run = run
        self.wake(events)

    def wake(self, events: Sequence[Event]) -> None:
        """Takes up what takes part."""
        self.rests = False
        self.found = happenings(events)
        self.asks = bool(self.found) and any(one.kind is StepKind.CALL for one in self.found)
        """Models ask for tools of whose execution nothing tells."""
        self._mark: Mark | None = None
        self._characters: int | None = None

    def rest(self) -> None:
        """Lets go of what takes part."""
        self._mark = self.mark
        self.rests = True
        self.found = []
        self._characters = 0

    @property
    def key(self) -> RunKey:
        return self.run.tenant, self.run.run_id

    @property
    def order(self) -> tuple[int, str]:
        """Among the runs of its session."""
        return self.run.start_ns, self.run.run_id

    @cached_property
    def draw(self) -> float:
        """A number from 0 to 1 that is drawn by the run's id alone."""
        return crc32(self.run.run_id.encode()) / 2**32

    @property
    def characters(self) -> int:
        """Of the texts that are held. Ask once the run is evaluated: some are let go of then."""
        if self._characters is None:
            self._characters = sum([len(one.given) + len(one.answered) for one in self.found])
        return self._characters

    @property
    def mark(self) -> Mark:
        if self._mark is None:
            self._mark = self.mark_of(len(self.found))
        return self._mark

    def mark_of(self, count: int) -> Mark:
        """Of the first happenings."""
        return Mark(self.run.run_id, count, hash(tuple([one.identity for one in self.found[:count]])))


Todo = Sequence[tuple[Member, Sequence[Happening]]]
"""What of whom is fed."""


@dataclass(slots=True)
class Job:
    """A thread to be evaluated."""

    key: ThreadKey
    bearer: Bearer
    members: Sequence[Member]
    """The run; or the session's, in their order."""
    across: bool = False
    thread: _Thread | None = None
    todo: Todo | None = ()
    """None: all, from the beginning."""

    def all(self) -> Todo:
        return [(member, member.found) for member in self.members]


@dataclass(slots=True)
class _Thread:
    evaluator: Evaluator | None = None
    """None while no detector could hold."""
    outline: Outline | None = None
    """Of a run only until it is evaluated."""
    calls: bool = True
    """Whether model calls are looked at; of a session only if one of them could matter."""
    steps: Steps = field(default_factory=Steps)
    taken: list[Mark] = field(default_factory=list)

    def beyond(self, members: Sequence[Member]) -> Todo | None:
        """What has not been taken yet; None if what was taken is not how the thread begins."""
        taken, later = self.taken, members[len(self.taken) :]
        if any(member.rests for member in later):
            return None
        more: Todo = [(member, member.found) for member in later]
        marks = [member.mark for member in members[: len(taken)]]
        if marks == taken:
            return more
        if len(marks) < len(taken) or marks[:-1] != taken[:-1]:
            return None
        last, member = taken[-1], members[len(taken) - 1]
        if member.rests or member.mark_of(last.happenings) != last:
            return None
        return [(member, member.found[last.happenings :]), *more]


class Threads:
    """Evaluates threads. Used from one thread of the process.

    Args:
        engine: the detectors and their thresholds.
    """

    def __init__(self, engine: Engine, store: LoopStore, most: int) -> None:
        self._engine = engine
        self._store = store
        self._most = most
        self._threads: OrderedDict[ThreadKey, _Thread] = OrderedDict()

    def evaluate(
        self, jobs: Sequence[Job], wake: Callable[[Sequence[Member]], None]
    ) -> list[tuple[Job, list[Warning]]]:
        """What holds in each thread now. `wake` takes up again what takes part of runs that rest."""
        try:
            for job in jobs:
                thread = self._threads.get(job.key)
                job.todo = thread.beyond(job.members) if thread is not None else None
            wake([member for job in jobs if job.todo is None for member in job.members])
            for job in jobs:
                self._plan(job)
            anew = [job for job in jobs if job.todo is None]
            wake([member for job in anew for member in job.members])
            for job in anew:
                job.todo = job.all()
            self._read_texts(jobs)
            found = [(job, self._feed(job)) for job in jobs]
        except BaseException:
            for job in jobs:  # what was planned was not fed
                self._threads.pop(job.key, None)
            raise
        while len(self._threads) > self._most:
            self._threads.popitem(last=False)
        return found

    def _plan(self, job: Job) -> None:
        """Decides what is fed, if any detector could hold."""
        thread = self._threads.get(job.key)
        todo = job.todo
        if thread is None or todo is None:
            todo = job.all()
            thread = _Thread(outline=Outline(self._engine.novelty, across=job.across))
            self._threads.pop(job.key, None)
        job.todo = ()
        if thread.outline is not None:
            add = thread.outline.add if thread.evaluator is None else thread.outline.add_call
            for _, happened in todo:
                for happening in happened:
                    add(happening)
            if thread.evaluator is None:
                begins = self._engine.possible(thread.outline, across=job.across)
                if not begins and not job.across:
                    return  # a run is outlined anew when it goes on, a session grows for long
            else:
                begins = not thread.calls and self._engine.calls_matter(thread.outline)
            if begins:
                thread.calls = not job.across or self._engine.calls_matter(thread.outline)
                thread.evaluator = Evaluator(self._engine, across=job.across)
                thread.steps = Steps(across=job.across, calls=thread.calls)
                todo = None
                if thread.calls:
                    thread.outline = None
        thread.taken = [member.mark for member in job.members]
        job.thread, job.todo = thread, todo
        self._threads[job.key] = thread
        self._threads.move_to_end(job.key)

    def _feed(self, job: Job) -> list[Warning]:
        thread = job.thread
        if thread is None or thread.evaluator is None:
            return []
        feed, steps = thread.evaluator.feed, thread.steps
        spend = thread.evaluator.recent.spend
        for member, happened in job.todo or ():
            for happening in happened:
                event = happening.event
                if not thread.calls and event.kind == Kind.LLM:
                    spend(tokens_of(event), nano_usd_of(event))
                for step in steps.of(happening):
                    if job.across:
                        step.id = f"{member.run.run_id}/{step.id}"
                    feed(step)
        if not thread.evaluator.findings:
            return []
        runs = {member.run.run_id: member.run for member in job.members} if job.across else None
        return warnings_of(thread.evaluator, job.bearer, runs)

    def _read_texts(self, jobs: Iterable[Job]) -> None:
        """Reads the texts back of what is fed and has left the memory."""
        missing: dict[str, dict[tuple[str, str, int], Happening]] = {}
        for job in jobs:
            if job.thread is not None and job.thread.evaluator is not None:
                for happening in _lacking(job):
                    event = happening.event
                    missing.setdefault(event.tenant, {})[event.run_id, event.span_id, event.seq] = happening
        for tenant, places in missing.items():
            stored = self._store.texts_of(tenant, sorted({run_id for run_id, _, _ in places}))
            for place, happening in places.items():
                happening.given, happening.answered = stored.get(place, ("", ""))


def _lacking(job: Job) -> Iterable[Happening]:
    asks = any(member.asks for member in job.members)
    for _, happened in job.todo or ():
        for happening in happened:
            if happening.lacks_texts and not (job.across and happening.event.kind == Kind.LLM and not asks):
                yield happening
