"""Long work on the database, one piece at a time, beside everything else: compaction, and mapping anew.

Mapping anew reads spans and log records as they were received and makes events and runs of them as today's mappers
would. What no mapper reads any more stays as it was. How far it is, is kept in the store: a restart goes on there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from secrets import token_hex

from collector.telemetry.operations import Operations
from collector.understanding.mapping import stored_record, stored_span
from collector.upkeep.rewriting import Rewriter, StoppedError
from mappers.model import Event, Run
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from sinks.base import RunKey, SinkError
from sinks.clickhouse import Reader, RunFilter, StoredSettings

log = logging.getLogger(__name__)

SETTING = "remap"
PAGE = 50
"""Runs read at a time."""
BATCH = 2_000
"""Events written at a time."""
RETRY_S = 2.0


class BusyError(Exception):
    """Another job runs."""


@dataclass(slots=True)
class Job:
    """How a job stands. `done` and `total` are tables, or runs."""

    job_id: str
    kind: str
    state: str = "running"
    """running | done | stopped"""
    done: int = 0
    total: int = 0
    error: str | None = None
    began_at_s: float = field(default_factory=time.time)
    ended_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """How far mapping anew is."""

    job_id: str
    since_ns: int
    until_ns: int
    total: int
    tenants: tuple[str, ...]
    """Those that are not done; the first is under way."""
    cursor: tuple[int | float, str] | None = None
    done: int = 0


class Jobs:
    """Args:
    normalizer, records: make what reads as the pipelines do, spans and log records.
    """

    def __init__(
        self,
        reader: Reader,
        settings: StoredSettings,
        rewriter: Rewriter,
        normalizer: Callable[[], Normalizer],
        operations: Operations,
        records: Callable[[Normalizer], RecordReader] = RecordReader,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._rewriter = rewriter
        self._normalizer, self._records = normalizer, records
        self._clock_ns = clock_ns
        self._operations = operations
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.last: Job | None = None

    def start(self) -> None:
        """Goes on with what an earlier process left. Raises: SinkError."""
        kept = self._settings.get(SETTING)
        if kept is not None:
            value = dict(kept.value)
            value["tenants"] = tuple(value["tenants"])
            value["cursor"] = tuple(value["cursor"]) if value["cursor"] else None
            place = _Place(**value)
            self._begin(
                Job(place.job_id, "remap", done=place.done, total=place.total),
                lambda job: self._remap(job, place),
            )

    def compact(self) -> Job:
        """Merges every table. Raises: BusyError, SinkError."""
        tables = [table["table"] for table in self._reader.tables() if table["parts"]]
        return self._begin(
            Job(_job_id(), "compact", total=len(tables)), lambda job: self._compact(job, tables)
        )

    def remap(self, since_ns: int) -> Job:
        """Maps runs anew that began since then. Raises: BusyError, SinkError."""
        until_ns = self._clock_ns()
        tenants = tuple(self._reader.tenants())
        total = sum(self._reader.count_since(tenant, since_ns, until_ns) for tenant in tenants)
        place = _Place(_job_id(), since_ns, until_ns, total, tenants)
        return self._begin(Job(place.job_id, "remap", total=total), lambda job: self._remap(job, place))

    def stop(self) -> None:
        """Waits for the piece that is under way."""
        self._rewriter.stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _begin(self, job: Job, work: Callable[[Job], None]) -> Job:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise BusyError(f"{self.last.kind if self.last else 'another job'} is under way")
            self.last = job
            self._thread = threading.Thread(target=self._run, args=(job, work), name=f"job-{job.kind}")
            self._thread.start()
        return job

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        try:
            with self._operations.of(f"job {job.kind}").doing() as doing:
                doing.told["job"] = job.job_id
                try:
                    work(job)
                finally:
                    doing.told |= {"done": job.done, "total": job.total}
            job.state = "done"
        except StoppedError:
            job.state = "stopped"
        except Exception as error:
            log.exception("%s ended", job.kind)
            job.state, job.error = "stopped", str(error)
        job.ended_at_s = time.time()

    def _compact(self, job: Job, tables: Sequence[str]) -> None:
        for table in tables:
            if self._rewriter.stopping.is_set():
                raise StoppedError
            self._reader.compact(table)
            job.done += 1

    # ------------------------------------------------------------------- mapping anew

    def _remap(self, job: Job, place: _Place) -> None:
        normalizer = self._normalizer()
        records = self._records(normalizer)
        while place.tenants:
            self._settings.put(SETTING, asdict(place))
            if self._rewriter.stopping.is_set():
                raise StoppedError
            tenant = place.tenants[0]
            wanted = RunFilter(
                tenant=tenant, since_ns=place.since_ns, until_ns=place.until_ns, include_all=True
            )
            try:
                page = self._reader.runs(wanted, PAGE, place.cursor, place.until_ns)
                for batch, again in self._batches(page.runs, normalizer, records):
                    self._rewriter.rewrite(batch, again)
            except SinkError as error:
                job.error = str(error)
                if self._rewriter.stopping.wait(RETRY_S):
                    raise StoppedError from None
                continue
            job.error = None
            job.done += len(page.runs)
            place = replace(place, done=job.done, cursor=page.next_cursor)
            if page.next_cursor is None:
                place = replace(place, tenants=place.tenants[1:])
        self._settings.put(SETTING, None)

    def _batches(
        self, runs: Sequence[Run], normalizer: Normalizer, records: RecordReader
    ) -> Iterator[tuple[list[Event], set[RunKey]]]:
        """Events of these runs made anew, and the runs that they belong to. A run of which nothing is there as it was
        received any more stays as it is."""
        batch: list[Event] = []
        again: set[RunKey] = set()
        for run in runs:
            for event in self._events(run, normalizer, records):
                batch.append(event)
                again.add((run.tenant, run.run_id))
                if len(batch) >= BATCH:
                    yield batch, again
                    batch, again = [], set()
        if batch:
            yield batch, again

    def _events(self, run: Run, normalizer: Normalizer, records: RecordReader) -> Iterator[Event]:
        for row in self._reader.every_span(run):
            span = stored_span(row)
            span.tenant = run.tenant
            yield normalizer.normalize(span)
        for row in self._reader.every_record(run):
            record = stored_record(row)
            record.tenant = run.tenant
            event = records.event(record)
            if event is not None:
                yield event


def _job_id() -> str:
    return f"job_{token_hex(8)}"
