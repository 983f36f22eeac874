"""The way from the journals into the store: a stage and a pipeline for each signal, and what they share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from collector.apart.ahead import Ahead
from collector.apart.processes import Processes
from collector.apart.telling import start_of
from collector.config import Settings
from collector.deriver.deriver import Deriver
from collector.deriver.pace import Pace
from collector.journal import Followed, Readable
from collector.live import Live
from collector.loops import LoopWatch
from collector.notify import Notifier
from collector.pipeline.breaker import Breaker
from collector.pipeline.deadletter import DeadLetters
from collector.pipeline.flow import Flow
from collector.pipeline.mapped import SpanMapper
from collector.pipeline.order import WriteOrder
from collector.pipeline.pipeline import Pipeline
from collector.pipeline.stages import Derivation, LogStage, Totals, TraceStage
from collector.pipeline.tombstones import Refusing, Tombstones
from collector.replicas.judging import Judges
from collector.replicas.sharing import SharedTotals
from collector.replicas.sweeper import Sweeper, instance_name
from collector.tap import Taps
from collector.telemetry.operations import Kind, Operations
from collector.understanding.understanding import Understanding
from collector.upkeep.rewriting import Rewriter
from mappers.loops.evaluator import Engine
from sinks.clickhouse import ClickHouseSink, Reader, Store
from sinks.clickhouse.erasing import Eraser
from sinks.clickhouse.instances import Instances

log = logging.getLogger(__name__)


class Processing:
    """What takes telemetry in hand once it is acknowledged.

    Raises: SinkError, if the store can not tell how far an earlier process came.
    """

    def __init__(
        self,
        settings: Settings,
        understanding: Understanding,
        journals: Mapping[str, Readable],
        dead_letters: DeadLetters,
        store: Store,
        reader: Reader,
        notifier: Notifier,
        operations: Operations,
    ) -> None:
        self.totals = Totals(*reader.totals())
        self.tombstones = Tombstones(Eraser(store).buried())
        self.breaker = Breaker()
        alone = settings.loops.replicas == 1
        self._watch = LoopWatch(understanding.engine, reader) if alone else None
        unsettled = reader.unsettled_runs()
        deriver = Deriver(
            reader,
            max_events=settings.deriver.max_events,
            watch=self._watch or Judges(reader),
            price=understanding.prices.price,
            pace=Pace(),
            rows_tell=alone and reader.rows_tell(unsettled),
        )
        deriver.owe(unsettled)
        self.derivation = Derivation(deriver, reader, self.totals, notifier.tell, self.tombstones)
        self.mapping = Processes(
            settings.mapping.processes,
            lambda: start_of(self._settings, understanding.prices.overrides_version),
        )
        self._settings = settings
        self._journals = journals
        self._flows = {lane: Flow() for lane in journals}
        self.stages: Mapping[str, TraceStage | LogStage] = {
            lane: self._stage(
                journal.signal, self._flows[lane], understanding, keep_sent=store.reads_requests
            )
            for lane, journal in journals.items()
        }
        order, sink = WriteOrder(), Refusing(ClickHouseSink(store), self.tombstones)
        batch = settings.sinks.clickhouse.batch
        self.pipelines: Mapping[str, Pipeline[Any]] = {
            lane: Pipeline(
                journals[lane],
                stage,
                sink,
                dead_letters,
                signal=journals[lane].signal,
                max_items=batch.max_items,
                max_bytes=batch.max_bytes,
                flush_timeout=settings.sinks.clickhouse.flush_timeout,
                order=order,
                flow=self._flows[lane],
                breaker=self.breaker,
            )
            for lane, stage in self.stages.items()
        }
        for lane, pipeline in self.pipelines.items():
            operation = operations.of(f"store {lane}")
            pipeline.done.append(operation.done)
            # What the batch is about is told once it is stored.
            pipeline.patience.failed.append(partial(operation.failed, None, request=None))
        self.rewriter = Rewriter(order, self.derivation, sink)
        self.sweeper = (
            None if alone else self._sweeper(settings, understanding, store, reader, notifier, operations)
        )

    def _stage(
        self, signal: str, flow: Flow, understanding: Understanding, *, keep_sent: bool
    ) -> TraceStage | LogStage:
        normalizer, redaction = understanding.of_pipeline(signal)
        if signal == "traces":
            mapper = SpanMapper(normalizer, redaction, keep_sent=keep_sent)
            # A sink that does not read requests needs all spans decoded here.
            ahead = Ahead(self.mapping, mapper, understanding) if keep_sent else None
            return TraceStage(mapper, self.derivation, flow, ahead)
        return LogStage(understanding.record_reader(normalizer), redaction, self.derivation, flow)

    def _sweeper(
        self,
        settings: Settings,
        understanding: Understanding,
        store: Store,
        reader: Reader,
        notifier: Notifier,
        operations: Operations,
    ) -> Sweeper:
        """Looks for loops in the runs that this collector owns of those that several share."""
        return Sweeper(
            instance_name(),
            reader,
            Instances(store),
            lambda: LoopWatch(understanding.engine, reader, alone=False),
            lambda runs, watch: Deriver(
                reader, max_events=0, watch=watch, price=understanding.prices.price
            ).rederive(runs),
            self.derivation.rewritten,
            Refusing(ClickHouseSink(store), self.tombstones),
            notifier.tell,
            swept=SharedTotals(reader, self.totals).count,
            # Of whose runs it is, own ones among them, is not known: it would be told of what telling it stored.
            operation=operations.of("sweep", Kind.UNTOLD),
            interval_s=settings.loops.sweep_interval,
        )

    def refused(self) -> int:
        """Spans and log records that belong to deleted runs and came late."""
        return sum(flow.filtered for flow in self._flows.values())

    def told_to(self, live: Live, taps: Taps) -> None:
        """From now on these are told what passes."""
        for lane, journal in self._journals.items():
            pipeline = self.pipelines[lane]
            self.stages[lane].mapped.append(partial(taps.mapped, journal.signal))
            pipeline.storing.written += [
                partial(taps.written, journal.signal),
                lambda batch, seconds: live.written(batch),
            ]
            if isinstance(journal, Followed):  # its doors are not here to tell
                pipeline.gathering.read = partial(taps.received, journal.signal)

    def start(self) -> None:
        for pipeline in self.pipelines.values():
            pipeline.start()
        if self.sweeper:
            self.sweeper.start()

    def take_over(self, settings: Settings) -> None:
        """How batches are made, and what telemetry means, by other settings."""
        self._settings = settings
        self.mapping.renew(settings.mapping.processes)
        sink = settings.sinks.clickhouse
        for pipeline in self.pipelines.values():
            pipeline.gather(
                max_items=sink.batch.max_items,
                max_bytes=sink.batch.max_bytes,
                flush_timeout=sink.flush_timeout,
            )

    def look_with(self, engine: Engine) -> None:
        """Looks for loops with another engine from now on."""
        if self._watch:
            self._watch.use(engine)
        if self.sweeper:
            self.sweeper.begin_anew()

    async def drain(self, timeout_s: float) -> None:
        """Stores what was acknowledged until now; what takes longer is stored at the next start."""
        drained = await asyncio.gather(
            *(asyncio.to_thread(pipeline.drain, timeout_s) for pipeline in self.pipelines.values())
        )
        if not all(drained):
            log.warning(
                "not everything is stored; the rest is in the journal and is stored at the next start"
            )

    def end(self) -> None:
        """Stops what goes on by itself."""
        self.mapping.close()
        if self.sweeper:
            self.sweeper.close()
