"""What becomes of runs, told as it is stored, to whoever listens. Nobody waits for a listener.

While nobody listens, and nobody has for a while, a batch costs one comparison. Else each run, entry and warning of a
batch is a word with a number; the latest words are kept, so that who was cut off hears what they missed. A listener
who is slow is told how much was left out.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from collector.documents import models
from collector.documents.render import entry_document, run_document, warning_document
from mappers.model import Run, RunStatus, Warning
from mappers.timeline import entries_of
from sinks.base import Batch
from sinks.filter import ALWAYS, Condition
from sinks.matching import matches

log = logging.getLogger(__name__)

MOST_LISTENERS = 64
MOST_KEPT = 5_000
MOST_KEPT_BYTES = 16 << 20
"""Of words, for those who come back."""
MOST_WAITING = 1_000
"""Words that wait for one listener."""
MOST_OF_A_BATCH = 2_000
"""Entries that are told of one batch."""
MOST_KNOWN_RUNS = 20_000
FOLLOWED_S = 300.0
"""For so long after the last listener left words are kept on."""
UPDATE_EVERY_S = 0.5
"""Updates of one run are told at most so often."""

TYPES = ("run", "event", "warning")


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that is told. `data` is its JSON, `content` the same with what was read and written."""

    number: int
    type: str
    """run | event | warning"""
    name: str
    """run.started | run.updated | run.finished | event | warning"""
    run: Run
    warnings: Collection[tuple[str, str]]
    """(type, severity) of the run's that stand."""
    data: bytes
    content: bytes

    @property
    def size(self) -> int:
        return len(self.data) + len(self.content)


@dataclass(frozen=True, slots=True)
class Interest:
    """What a listener wants to hear.

    Args:
        tenant: theirs.
        project: their only one; any if empty.
        run_id: the only run; any if empty.
        content: with what was read and written.
    """

    tenant: str
    project: str = ""
    types: Collection[str] = TYPES
    where: Condition = ALWAYS
    run_id: str = ""
    content: bool = False

    def concerns(self, word: Word) -> bool:
        run = word.run
        return (
            word.type in self.types
            and run.tenant == self.tenant
            and self.project in ("", run.project)
            and self.run_id in ("", run.run_id)
            and (self.where is ALWAYS or matches(self.where, run, word.warnings))
        )


@dataclass(slots=True)
class Gap:
    """Words that a listener did not hear: their numbers, and how many they would have been; None: nobody knows."""

    first: int
    last: int
    missed: int | None = None


class Listener:
    """What one who listens has not taken yet.

    Args:
        wake: called from any thread when there is something to take, or it is over.
    """

    def __init__(
        self, interest: Interest, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.interest = interest
        self.closed = False
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[object, Word] = OrderedDict()
        self._gap: Gap | None = None
        self._told_at: OrderedDict[str, float] = OrderedDict()
        self._oldest_waiting = 0
        """Number of the oldest word that was held back when something was last taken; 0: none."""

    def offer(self, words: Iterable[Word]) -> None:
        found = [word for word in words if self.interest.concerns(word)]
        if not found:
            return
        with self._lock:
            for word in found:
                self._put(word)
        self._wake()

    def missed(self, gap: Gap) -> None:
        """Says that words are not to be had."""
        with self._lock:
            self._gap = gap if self._gap is None else Gap(min(self._gap.first, gap.first), gap.last)
        self._wake()

    def close(self) -> None:
        self.closed = True
        self._wake()

    def _put(self, word: Word) -> None:
        # Of a run that goes on, only how it stands now is of interest.
        key: object = word.number if word.name != "run.updated" else word.run.run_id
        self._waiting.pop(key, None)
        if len(self._waiting) < MOST_WAITING:
            self._waiting[key] = word
            return
        gap = self._gap
        if gap is None:
            gap = self._gap = Gap(word.number, word.number, 0)
        gap.first, gap.last = min(gap.first, word.number), max(gap.last, word.number)
        if gap.missed is not None:
            gap.missed += 1

    def take(self) -> tuple[list[Word], Gap | None]:
        """What is to be told now, in order; and what was left out."""
        now = self._clock()
        with self._lock:
            told = [word for word in self._waiting.values() if self._is_due(word, now)]
            for word in told:
                key: object = word.number if word.name != "run.updated" else word.run.run_id
                del self._waiting[key]
                if word.type == "run":
                    self._told_at[word.run.run_id] = now
                    self._told_at.move_to_end(word.run.run_id)
            while len(self._told_at) > MOST_WAITING:
                self._told_at.popitem(last=False)
            gap, self._gap = self._gap, None
            self._oldest_waiting = min((word.number for word in self._waiting.values()), default=0)
        return sorted(told, key=lambda word: word.number), gap

    def _is_due(self, word: Word, now: float) -> bool:
        return (
            word.name != "run.updated"
            or now - self._told_at.get(word.run.run_id, -UPDATE_EVERY_S) >= UPDATE_EVERY_S
        )

    def resumes_after(self, number: int) -> int:
        """After which word one who has heard this one should go on: before what is still held back, rather twice than
        never."""
        return min(number, self._oldest_waiting - 1) if self._oldest_waiting else number

    @property
    def waits(self) -> bool:
        """Something is held back that is not due yet."""
        return bool(self._waiting)


class TooManyListenersError(Exception):
    """As many listen already as may."""


@dataclass(slots=True)
class _Known:
    """What was told of a run."""

    status: str = ""
    warnings: dict[str, tuple[str, str]] = field(default_factory=dict)


class Live:
    """All who listen. `written` tells it what was stored; that never fails and never waits."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.id = secrets.token_hex(4)
        """Numbers of another process mean something else."""
        self._clock = clock
        self._clock_ns = clock_ns
        self._telling = threading.Lock()
        """One batch is put into words at a time. Nobody who listens or leaves waits for that."""
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._kept: deque[Word] = deque()
        self._kept_bytes = 0
        self._number = 0
        self._follows = False
        self._with_content = False
        """Somebody has wanted content since it follows."""
        self._with_events = False
        """Somebody has wanted entries since it follows: those of a page that follows runs would cost the most."""
        self._left_at = 0.0
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._ended = False

    # ------------------------------------------------------------------- listening

    def listen(self, interest: Interest, wake: Callable[[], None], after: str = "") -> Listener:
        """A new listener, who first hears what came `after` the word with this id, as far as it is kept.

        Raises: TooManyListenersError.
        """
        listener = Listener(interest, wake, self._clock)
        with self._lock:
            if self._ended or len(self._listeners) >= MOST_LISTENERS:
                raise TooManyListenersError
            if not self._follows:
                # What was not followed has no numbers: one is left out for it.
                self._forget()
                self._number += 1
                self._follows = True
            self._with_content |= interest.content
            self._with_events |= "event" in interest.types
            self._catch_up(listener, after)
            self._listeners += (listener,)
        return listener

    def leave(self, listener: Listener) -> None:
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)
            self._left_at = self._clock()

    def end(self) -> None:
        """Sends everybody home, for good."""
        with self._lock:
            leaving, self._listeners, self._ended = self._listeners, (), True
        for listener in leaving:
            listener.close()

    def id_of(self, number: int) -> str:
        return f"{self.id}-{number}"

    def _catch_up(self, listener: Listener, after: str) -> None:
        if not after:
            return
        process, _, number = after.rpartition("-")
        oldest = self._kept[0].number if self._kept else self._number + 1
        if process != self.id or not number.isdecimal() or len(number) > 18 or int(number) > self._number:
            listener.missed(Gap(0, self._number))
            return
        if int(number) + 1 < oldest:
            listener.missed(Gap(int(number) + 1, oldest - 1))
        listener.offer(word for word in self._kept if word.number > int(number))

    def forget(self, keys: Collection[tuple[str, str]]) -> None:
        """Runs that are no more, by (tenant, run id): nobody hears of them any more."""
        with self._lock:
            self._kept = deque(word for word in self._kept if (word.run.tenant, word.run.run_id) not in keys)
            self._kept_bytes = sum(word.size for word in self._kept)

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        self._with_content = False
        self._with_events = False
        self._known.clear()

    # ------------------------------------------------------------------- telling

    def written(self, batch: Batch) -> None:
        """A batch is stored."""
        if not self._follows:
            return
        try:
            with self._telling:
                with self._lock:
                    if not self._listeners and self._clock() - self._left_at > FOLLOWED_S:
                        self._follows = False
                        self._forget()
                        return
                words, gap = self._words(batch)
                with self._lock:
                    self._keep(words)
                    listeners = self._listeners
                for listener in listeners:
                    if gap is not None and "event" in listener.interest.types:
                        listener.missed(gap)
                    listener.offer(words)
        except Exception:
            log.exception("a batch can not be told to those who listen")

    def _keep(self, words: Iterable[Word]) -> None:
        for word in words:
            self._kept.append(word)
            self._kept_bytes += word.size
        while self._kept and (len(self._kept) > MOST_KEPT or self._kept_bytes > MOST_KEPT_BYTES):
            self._kept_bytes -= self._kept.popleft().size

    def _words(self, batch: Batch) -> tuple[list[Word], Gap | None]:
        """What the batch has to tell, and what would be too much. Entries come before the runs that they are of: who
        hears that a run has ended has heard all of it."""
        runs = {(run.tenant, run.run_id): run for run in batch.runs}
        for key in batch.refused:
            runs.pop(key, None)
        for warning in batch.warnings:
            stands = self._know(warning.tenant, warning.run_id).warnings
            if warning.state == "retracted":
                stands.pop(warning.warning_id, None)
            else:
                stands[warning.warning_id] = (warning.type, warning.severity)
        words: list[Word] = []
        gap: Gap | None = None
        for event in batch.events if self._with_events else ():
            run = runs.get((event.tenant, event.run_id))
            if run is None or event.part:
                continue
            for entry in entries_of(event):
                if len(words) < MOST_OF_A_BATCH:
                    words.append(self._word("event", "event", run, partial(entry_document, entry)))
                    continue
                self._number += 1
                gap = gap or Gap(self._number, self._number)
                gap.last = self._number
        for warning in batch.warnings:
            run = runs.get((warning.tenant, warning.run_id))
            if run is not None:
                words.append(self._word("warning", "warning", run, partial(_warning, warning)))
        now_ns = self._clock_ns()
        for run in runs.values():
            words.append(self._word("run", self._name(run), run, partial(run_document, run, now_ns)))
        return words, gap

    def _word(self, type_: str, name: str, run: Run, document: Callable[..., Any]) -> Word:
        """`document` makes it, with what was read and written or without."""
        self._number += 1
        data = content = orjson.dumps(document(content=False))
        if self._with_content:
            content = orjson.dumps(document(content=True), option=orjson.OPT_NON_STR_KEYS)
        stands = tuple(self._know(run.tenant, run.run_id).warnings.values())
        if run.top_warning:
            stands += ((run.top_warning, run.top_severity),)
        return Word(self._number, type_, name, run, stands, data, content)

    def _name(self, run: Run) -> str:
        known = self._know(run.tenant, run.run_id)
        before, known.status = known.status, run.status
        if run.status in (RunStatus.COMPLETED, RunStatus.FAILED):
            return "run.updated" if before == run.status else "run.finished"
        return "run.updated" if before else "run.started"

    def _know(self, tenant: str, run_id: str) -> _Known:
        known = self._known.setdefault((tenant, run_id), _Known())
        self._known.move_to_end((tenant, run_id))
        while len(self._known) > MOST_KNOWN_RUNS:
            self._known.popitem(last=False)
        return known


def _warning(warning: Warning, *, content: bool) -> models.Warning:
    """A warning is the same for all."""
    return warning_document(warning)
