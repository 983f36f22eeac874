"""How far a thread was evaluated, and, beside that, how far it was from runs on from which it may be looked at next.

A session is looked at from one of its runs on, which stays the same for many runs and then is a later one. What holds
from there on is known by then: from each run that its draw marks as a beginning, what comes is fed to an evaluation of
its own, too. So a window that moves on is neither read back nor fed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.loops.member import Mark, Member
from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.outline import Outline
from mappers.loops.step import Step
from mappers.loops.thread import Happening, Steps, nano_usd_of, tokens_of
from mappers.model import LLM

Todo = Sequence[tuple[Member, Sequence[Happening]]]
"""What of whom is fed."""

AHEAD = 3
"""Later beginnings from which a thread is evaluated beside the first, at most. Of 20 runs, of which each is one with a
chance of 1 in 48, more are so in 1 of 1,000."""


class Evaluation:
    """A thread from one of its runs on.

    Args:
        place: of that run in the thread.
        across: the thread is a session.
    """

    __slots__ = ("_across", "_engine", "_steps", "calls", "evaluator", "outline", "place")

    def __init__(self, engine: Engine, place: int, *, across: bool) -> None:
        self._engine = engine
        self._across = across
        self._steps = Steps()
        self.place = place
        self.evaluator: Evaluator | None = None
        """None while no detector could hold."""
        self.outline: Outline | None = Outline(engine.novelty, across=across)
        """Of a run only until it is evaluated."""
        self.calls = True
        """Whether model calls are looked at; of a session only if one of them could matter."""

    def begin(self, *, calls: bool) -> None:
        """From now on detectors look; nothing must have been fed."""
        self.calls = calls
        self.evaluator = Evaluator(self._engine, across=self._across)
        self._steps = Steps(across=self._across, calls=calls)
        self.outline = None if calls else Outline(self._engine.novelty, across=self._across)

    def sketch(self, todo: Todo) -> None:
        """Takes up what decides whether more has to be looked at than is."""
        if self.outline is None:
            return
        add = self.outline.add if self.evaluator is None else self.outline.add_call
        for _, happened in todo:
            for happening in happened:
                add(happening)

    @property
    def is_due(self) -> bool:
        """Whether a detector could hold that does not look yet."""
        if self.outline is None:
            return False
        if self.evaluator is None:
            return self._engine.possible(self.outline, across=self._across)
        return self._engine.calls_matter(self.outline)

    def feed(self, todo: Todo, made: dict[Happening, Step] | None) -> None:
        """Has the detectors look at what is new, if any of them could hold.

        Args:
            made: steps of tools and handoffs as they were made, which are the same from wherever a thread is looked
                at; None: nobody else needs them.
        """
        if self.evaluator is None:
            return
        feed, steps, spend = self.evaluator.feed, self._steps, self.evaluator.recent.spend
        across, calls = self._across, self.calls
        for member, happened in todo:
            for happening in happened:
                event = happening.event
                if event.kind == LLM:
                    if not calls:
                        spend(tokens_of(event), nano_usd_of(event))
                elif made is not None and (known := made.get(happening)) is not None:
                    feed(known.copy())
                    continue
                for step in steps.of(happening):
                    if across:
                        step.id = f"{member.run.run_id}/{step.id}"
                    if made is not None and event.kind != LLM:
                        made[happening] = step.copy()
                    feed(step)


class Thread:
    """A run, or a session from the run on from which it is looked at."""

    __slots__ = ("_across", "_engine", "evaluations", "taken")

    def __init__(self, engine: Engine, *, across: bool) -> None:
        self._engine = engine
        self._across = across
        self.evaluations = [Evaluation(engine, 0, across=across)]
        """The first one says what holds; the others begin later."""
        self.taken: list[Mark] = []

    @property
    def first(self) -> Evaluation:
        return self.evaluations[0]

    def rests(self) -> None:
        """The texts of what was taken are about to be let go of."""
        for evaluation in self.evaluations:
            if evaluation.outline is not None:
                evaluation.outline.count_heads()

    def begin(self, *, calls: bool) -> None:
        """Detectors look from the beginning, so that all of it has to be taken once more.

        Args:
            calls: at model calls, too.
        """
        self.evaluations = [Evaluation(self._engine, 0, across=self._across)]
        self.first.begin(calls=calls)
        self.taken = []

    def move_on(self, run_id: str) -> None:
        """Lets go of what comes before this run, if the thread is evaluated from there on."""
        for number, evaluation in enumerate(self.evaluations):
            if self.taken[evaluation.place].run_id == run_id:
                if passed := evaluation.place:
                    self.taken = self.taken[passed:]
                    self.evaluations = self.evaluations[number:]
                    for later in self.evaluations:
                        later.place -= passed
                return

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

    def take(self, members: Sequence[Member], todo: Todo) -> list[tuple[Evaluation, Todo]]:
        """Takes up what is new; returns what is to be fed to whom.

        Args:
            members: all that there is of the thread.
            todo: what of the last of them is new.
        """
        place = len(members) - len(todo)
        shares = [(one, todo[max(0, one.place - place) :]) for one in self.evaluations]
        if self._across:
            shares += self._begin_beside(todo, place)
        for evaluation, share in shares:
            evaluation.sketch(share)
        self.taken[place:] = [member.mark for member, _ in todo]
        return shares

    def _begin_beside(self, todo: Todo, place: int) -> list[tuple[Evaluation, Todo]]:
        """`place`: of the first run of `todo`."""
        shares: list[tuple[Evaluation, Todo]] = []
        known = {evaluation.place for evaluation in self.evaluations}
        for number, (member, _) in enumerate(todo):
            if len(self.evaluations) > AHEAD:
                break
            if member.begins and place + number not in known:
                evaluation = Evaluation(self._engine, place + number, across=True)
                if self.first.evaluator is not None:
                    evaluation.begin(calls=self.first.calls)
                self.evaluations.append(evaluation)
                shares.append((evaluation, [(later, later.found) for later, _ in todo[number:]]))
        return shares
