"""Evaluates runs and sessions: goes on where they go on, and begins anew where they changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from collector.loops.evaluation import Evaluation, Thread, Todo
from collector.loops.member import Member
from collector.loops.store import LoopStore
from mappers.loops.evaluator import Engine
from mappers.loops.step import Step
from mappers.loops.thread import Happening
from mappers.loops.warnings import Bearer, warnings_of
from mappers.model import LLM, Run, Warning

ThreadKey = tuple[str, str]
"""(tenant, thread): see `mappers.loops.warnings.Bearer`."""

MAX_THREADS = 2_000
"""Threads whose state is kept; others are replayed when they are touched."""


@dataclass(slots=True)
class Job:
    """A thread to be evaluated."""

    key: ThreadKey
    bearer: Bearer
    members: Sequence[Member]
    """The run; or the session's, in their order."""
    across: bool = False
    thread: Thread | None = None
    """None: it is taken from the beginning, or no detector could hold."""
    todo: Todo | None = ()
    """What has not been taken yet; None: all."""
    shares: Sequence[tuple[Evaluation, Todo]] = ()
    """What is fed to whom."""

    def all(self) -> Todo:
        return [(member, member.found) for member in self.members]

    def run(self, run_id: str) -> Run:
        return next(member.run for member in reversed(self.members) if member.run.run_id == run_id)


class Threads:
    """Evaluates threads. Used from one thread of the process.

    Args:
        engine: the detectors and their thresholds.
    """

    def __init__(self, engine: Engine, store: LoopStore, most: int) -> None:
        self._engine = engine
        self._store = store
        self._most = most
        self._threads: OrderedDict[ThreadKey, Thread] = OrderedDict()

    def evaluate(
        self, jobs: Sequence[Job], wake: Callable[[Sequence[Member]], None]
    ) -> list[tuple[Job, list[Warning]]]:
        """What holds in each thread now. `wake` takes up again what takes part of runs that rest."""
        try:
            for job in jobs:
                self._look_up(job)
            wake([member for job in jobs if job.todo is None for member in job.members])
            begin = [job for job in jobs if not self._goes_on(job)]
            wake([member for job in begin for member in job.members])
            for job in begin:
                self._begin(job)
            self._read_texts(jobs)
            found = [(job, self._feed(job)) for job in jobs]
        except BaseException:
            for job in jobs:  # what was planned was not fed
                self._threads.pop(job.key, None)
            raise
        while len(self._threads) > self._most:
            self._threads.popitem(last=False)
        return found

    def rests(self, key: ThreadKey) -> None:
        """The texts of what was taken of a thread are about to be let go of."""
        if (thread := self._threads.get(key)) is not None:
            thread.rests()

    def _look_up(self, job: Job) -> None:
        job.thread = self._threads.get(job.key)
        if job.thread is not None:
            job.thread.move_on(job.members[0].run.run_id)
            job.todo = job.thread.beyond(job.members)
        if job.thread is None or job.todo is None:
            self._threads.pop(job.key, None)
            job.thread, job.todo = None, None

    def _goes_on(self, job: Job) -> bool:
        """Takes up what is new. False if the detectors have to look at all of it."""
        thread, todo = job.thread, job.todo
        if thread is None or todo is None:
            thread, todo = Thread(self._engine, across=job.across), job.all()
        shares = thread.take(job.members, todo)
        if thread.first.is_due:
            return False
        if thread.first.evaluator is not None or job.across:
            self._keep(job, thread, shares)
        else:  # a run is outlined anew when it goes on, a session grows for long
            job.thread = None
        return True

    def _begin(self, job: Job) -> None:
        thread = Thread(self._engine, across=job.across)
        thread.begin(calls=not job.across)
        shares = thread.take(job.members, job.all())
        if thread.first.is_due:
            thread.begin(calls=True)
            shares = thread.take(job.members, job.all())
        self._keep(job, thread, shares)

    def _keep(self, job: Job, thread: Thread, shares: Sequence[tuple[Evaluation, Todo]]) -> None:
        job.thread, job.shares = thread, shares
        self._threads[job.key] = thread
        self._threads.move_to_end(job.key)

    def _feed(self, job: Job) -> list[Warning]:
        if job.thread is None:
            return []
        made: dict[Happening, Step] | None = {} if len(job.shares) > 1 else None
        for evaluation, todo in job.shares:
            evaluation.feed(todo, made)
        evaluator = job.thread.first.evaluator
        if evaluator is None or not evaluator.findings:
            return []
        return warnings_of(evaluator, job.bearer, job.run if job.across else None)

    def _read_texts(self, jobs: Iterable[Job]) -> None:
        """Reads the texts back of what is fed and has left the memory."""
        missing: dict[str, dict[tuple[str, str, int], list[Happening]]] = {}
        for job in jobs:
            for happening in _lacking(job):
                event = happening.event
                place = event.run_id, event.span_id, event.seq
                missing.setdefault(event.tenant, {}).setdefault(place, []).append(happening)
        for tenant, places in missing.items():
            stored = self._store.texts_of(tenant, sorted({run_id for run_id, _, _ in places}))
            for place, happenings in places.items():
                for happening in happenings:
                    happening.given, happening.answered = stored.get(place, ("", ""))


def _lacking(job: Job) -> Iterable[Happening]:
    asks: bool | None = None
    for evaluation, todo in job.shares:
        if evaluation.evaluator is None:
            continue
        for _, happened in todo:
            for happening in happened:
                if not happening.lacks_texts:
                    continue
                if job.across and happening.event.kind == LLM:
                    if asks is None:
                        asks = any(member.asks for member in job.members)
                    if not asks:
                        continue
                yield happening
