"""Deletes runs from everywhere: the tables, the journal, the dead letters; and says so only once it has looked.

    accepted   what is meant is known and buried; nothing of it is taken any more
    hidden     nobody can read the runs
    purged     no table, file or part of one holds them; `verified` says what was looked through

A deletion that a crash cut short goes on at the next start.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from secrets import token_hex
from typing import Any

from collector.journal import Readable
from collector.otlp import decode_logs, decode_traces
from collector.otlp.cut import cut
from collector.pipeline import deadletter
from collector.pipeline.deadletter import Letter
from collector.pipeline.mapped import label
from collector.pipeline.stages import Derivation
from collector.pipeline.tombstones import Tombstones, record_key, span_key
from collector.telemetry.operations import Operations
from collector.telemetry.telemetry import about
from collector.upkeep.rewriting import Rewriter, StoppedError
from mappers.foreign import is_candidate
from mappers.model import LogRecord
from sinks.base import RunKey, SinkError
from sinks.clickhouse import Reader, RunFilter
from sinks.clickhouse.erasing import Deletion, Eraser

log = logging.getLogger(__name__)

RETRY_S = 2.0
JOURNAL_LOOK_S = 0.1
LATE_S = 2.0
OVERLAP_US = 10_000_000
"""What is written at one time may be seen in the store that much later."""
RUNS_AT_A_TIME = 100
NOT_COVERED = ("backups", "exports", "wire capture files", "what was forwarded to other systems")


class State(StrEnum):
    ACCEPTED = "accepted"
    HIDDEN = "hidden"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be deleted, and for whom it is kept why."""

    wanted: RunFilter
    project: str = ""
    """The only project of who asks; any if empty."""
    chosen: Mapping[str, str] | None = None
    """The filter as it was written, for the receipt."""
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where runs are, beside the tables."""

    journals: Mapping[str, Readable]
    letters: Path
    run_of: Callable[[LogRecord], str]
    """The run that a log record belongs to."""
    forget: Callable[[Collection[RunKey]], None]
    """Told of runs that must not be told of any more."""
    refused: Callable[[], int]
    """How many spans and log records of deleted runs came late, and are in the journals only."""


class Erasures:
    """Does what is asked for, one after the other, in a thread of its own."""

    def __init__(
        self,
        eraser: Eraser,
        reader: Reader,
        tombstones: Tombstones,
        derivation: Derivation,
        rewriter: Rewriter,
        places: Places,
        operations: Operations,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._eraser = eraser
        self._reader = reader
        self._tombstones = tombstones
        self._derivation = derivation
        self._rewriter = rewriter
        self._places = places
        self._operation = operations.of("delete runs")
        self._clock_ns = clock_ns
        self._asking = threading.Lock()
        self._waiting: queue.Queue[Deletion | None] = queue.Queue()
        self._stopping = threading.Event()
        self._refused = 0
        self._unswept: list[Deletion] = []
        """Of other collectors: rows of their runs may have been written here since."""
        self._learnt_us = 0
        """Of other collectors' deletions those until then are known."""
        self._waits: dict[str, str] = {}
        """What a deletion waits for, by its id."""
        self._thread = threading.Thread(target=self._work, name="erasure")

    def start(self) -> None:
        """Goes on with what an earlier process left unfinished.

        Raises: SinkError.
        """
        for deletion in self._eraser.unfinished(State.PURGED):
            self._waiting.put(deletion)
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is not done goes on at the next start."""
        self._stopping.set()
        self._rewriter.stopping.set()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def expected(self, asked: Asked) -> dict[str, int]:
        """How many rows of each kind would be deleted.

        Raises: SinkError.
        """
        return self._eraser.rows_of_matching(asked.wanted, self._clock_ns())

    def ask(self, asked: Asked) -> Deletion:
        """Deletes: when this returns, nobody can read the runs any more, and the rest is under way.

        Raises: SinkError; what had begun then goes on at the next start.
        """
        deletion = Deletion(
            f"del_{token_hex(8)}",
            asked.wanted.tenant,
            asked.project,
            State.ACCEPTED,
            {
                "filter": {name: _kept(name, text) for name, text in (asked.chosen or {}).items()},
                "reason": asked.reason or None,
                "requested_by": asked.by or None,
                "requested_at_ns": self._clock_ns(),
                "not_covered": list(NOT_COVERED),
            },
        )
        with self._asking:
            run_ids = self._eraser.matching(asked.wanted, self._clock_ns())
            self._eraser.note(deletion)
            if run_ids:
                self._eraser.bury(deletion.tenant, run_ids, deletion.deletion_id)
            deletion = self._hidden(deletion, run_ids)
        self._waiting.put(deletion)
        return deletion

    def deletion(self, tenant: str, deletion_id: str) -> Deletion | None:
        """How a deletion stands. Raises: SinkError."""
        return self._eraser.deletion(tenant, deletion_id)

    def waits_for(self, deletion: Deletion) -> str | None:
        """What a deletion that goes on waits for; None: nothing, as far as this process knows."""
        if deletion.state == State.PURGED:
            return None
        return self._waits.get(deletion.deletion_id, "its turn")

    def learn(self) -> None:
        """Takes over deletions that other collectors on the store began: from when this returns, nothing of their runs
        is taken here, and what came of them until now is gone again.

        Raises: SinkError; then it may be done again.
        """
        found = self._eraser.buried_since(max(0, self._learnt_us - OVERLAP_US))
        by_deletion: dict[tuple[str, str], list[RunKey]] = {}
        for tenant, run_id, deletion_id, _ in found:
            if (tenant, run_id) not in self._tombstones:
                by_deletion.setdefault((tenant, deletion_id), []).append((tenant, run_id))
        for (tenant, deletion_id), keys in by_deletion.items():
            self._tombstones.add(keys)
            self._places.forget(set(keys))
            self._reader.annotations.forget(keys)
            self._unswept.append(Deletion(deletion_id, tenant, "", State.HIDDEN, {}))
        self._learnt_us = max((at_us for *_, at_us in found), default=self._learnt_us)
        if self._unswept:
            for journal in self._places.journals.values():
                journal.rotate()
        while self._unswept:
            self._eraser.erase(self._unswept[0])
            self._unswept.pop(0)

    # ------------------------------------------------------------------- step by step

    def _hidden(self, deletion: Deletion, run_ids: Sequence[str]) -> Deletion:
        keys = [(deletion.tenant, run_id) for run_id in run_ids]
        fresh = [key for key in keys if key not in self._tombstones]
        self._tombstones.add(keys)
        self._places.forget(set(keys))
        if "matched" not in deletion.document:
            deletion = self._noted(deletion, State.ACCEPTED, matched=self._eraser.rows(deletion))
        if fresh:  # else an earlier process had counted them out
            self._derivation.deleted(keys, *self._eraser.totals(deletion))
        self._eraser.hide(deletion)
        self._reader.annotations.forget(keys)
        return self._noted(deletion, State.HIDDEN, hidden_at_ns=self._clock_ns())

    def _noted(self, deletion: Deletion, state: State, **changed: Any) -> Deletion:
        deletion = replace(deletion, state=state, document=deletion.document | changed)
        self._eraser.note(deletion)
        return deletion

    def _work(self) -> None:
        while (deletion := self._next()) is not None:
            try:
                with self._operation.doing() as doing:
                    doing.told |= {"deletion": deletion.deletion_id, "tenant": deletion.tenant}
                    self._purge(deletion)
                self._waits.pop(deletion.deletion_id, None)
                continue
            except StoppedError:
                return
            except (SinkError, OSError) as error:
                log.warning(
                    "deletion %s goes on later: %s",
                    deletion.deletion_id,
                    error,
                    extra=about(deletion.tenant),
                )
                self._waits[deletion.deletion_id] = f"another try; the last failed: {error}"
            except Exception:
                log.exception("deletion %s goes on later", deletion.deletion_id, extra=about(deletion.tenant))
                self._waits[deletion.deletion_id] = "another try"
            self._stopping.wait(RETRY_S)
            self._waiting.put(deletion)  # behind the others, which need not fail as well

    def _next(self) -> Deletion | None:
        """The next to be purged; None at the end. What came late in the meantime leaves the journals, too."""
        while not self._stopping.is_set():
            try:
                return self._waiting.get(timeout=LATE_S)
            except queue.Empty:
                if (refused := self._places.refused()) != self._refused:
                    self._refused = refused
                    for journal in self._places.journals.values():
                        journal.rotate()
        return None

    def _purge(self, deletion: Deletion) -> None:
        run_ids = self._eraser.buried_by(deletion)
        keys = {(deletion.tenant, run_id) for run_id in run_ids}

        def waits_for(what: str) -> None:
            self._waits[deletion.deletion_id] = what

        if deletion.state == State.ACCEPTED:
            with self._asking:
                deletion = self._hidden(deletion, run_ids)
        waits_for("the store")
        touched = self._neighbours(deletion.tenant, run_ids)
        self._eraser.erase(deletion)
        if touched:
            waits_for("runs that knew calls of these to be derived anew")
            self._rewriter.rewrite([], [(deletion.tenant, run_id) for run_id in touched - set(run_ids)])
        for name, journal in self._places.journals.items():
            waits_for(f"what is in the journal of {name} to be stored")
            self._pass(journal)
        letters = self._scrub_letters(keys)
        quarantined = sum(_scrub_quarantine(journal, run_ids) for journal in self._places.journals.values())
        if not self._eraser.purge(self._stopping.wait, waits_for):
            return
        verified = self._eraser.left(deletion) | {"journal": 0, "quarantine": 0, "dead_letters": 0}
        if any(verified.values()):
            raise OSError(f"something is left: {verified}")
        self._noted(
            deletion,
            State.PURGED,
            purged_at_ns=self._clock_ns(),
            verified=verified,
            matched=deletion.document["matched"] | {"dead_letters": letters, "quarantined": quarantined},
        )
        log.info(
            "deletion %s: %d runs are purged",
            deletion.deletion_id,
            len(run_ids),
            extra=about(deletion.tenant),
        )

    def _neighbours(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        """Runs that may know a call which one of these tells as well."""
        found: set[str] = set()
        for some in _some(run_ids):
            events = [event for told in self._reader.events_of(tenant, some).values() for event in told]
            if calls := [event for event in events if is_candidate(event)]:
                found |= set(self._reader.runs_with_twins(tenant, calls))
        return found

    def _pass(self, journal: Readable) -> None:
        """Waits until what is in the journal now is stored, but for what was deleted, and off the disk.

        Raises: StoppedError.
        """
        journal.wanted_gone = written = journal.next_sequence
        while journal.holds_before(written):
            journal.rotate()
            if self._stopping.wait(JOURNAL_LOOK_S):
                raise StoppedError

    def _scrub_letters(self, keys: Collection[RunKey]) -> int:
        """Takes what belongs to these runs out of the dead letters; returns how many items that were."""
        gone = 0

        def rest(letter: Letter) -> bytes | None:
            nonlocal gone
            body, items = letter.record.body, letter.record.header.items
            kept = self._without(letter, keys)
            gone += items if kept is None else items - len(kept)
            if kept is None or len(kept) == items:
                return body if kept else None
            return cut(body, kept) if kept else None

        if self._places.letters.exists():
            deadletter.revise(self._places.letters, rest)
        return gone

    def _without(self, letter: Letter, keys: Collection[RunKey]) -> list[int] | None:
        """Places of the letter's items that belong to other runs; None if it can not be read and may hold these."""
        record = letter.record
        try:
            if letter.signal == "traces":
                spans = decode_traces(record.body)
                label(spans, record)
                return [place for place, span in enumerate(spans) if span_key(span) not in keys]
            logs = decode_logs(record.body)
            label(logs, record)
            for told in logs:
                told.run_id = self._places.run_of(told)
            return [place for place, told in enumerate(logs) if record_key(told) not in keys]
        except Exception:
            if _holds(record.body, (run_id for _, run_id in keys)):
                return None
            return list(range(record.header.items))


def _some(run_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(run_ids), RUNS_AT_A_TIME):
        yield run_ids[first : first + RUNS_AT_A_TIME]


def _scrub_quarantine(journal: Readable, run_ids: Sequence[str]) -> int:
    """Unlinks what could not be read and names one of the runs; returns how many files that were."""
    gone = 0
    for file in journal.quarantine.files():
        if _holds(file.read_bytes(), run_ids):
            file.unlink(missing_ok=True)
            gone += 1
    return gone


def _holds(content: bytes, run_ids: Collection[str] | Iterator[str]) -> bool:
    """Whether bytes name one of the runs, as protobuf does or as text."""
    return any(bytes.fromhex(run_id) in content or run_id.encode() in content for run_id in run_ids)


def _kept(name: str, text: str) -> str:
    """A part of the filter as the receipt keeps it: who was meant is not what a receipt of an erasure should tell."""
    if name in ("user", "session"):
        return "sha256:" + hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return text
