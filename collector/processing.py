"""The way from the journals into the store: a stage and a pipeline for each signal, and what they share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from collector.breaker import Breaker
from collector.config import Settings
from collector.deadletter import DeadLetters
from collector.deriver import Deriver
from collector.flow import Flow
from collector.journal import Journal
from collector.live import Live
from collector.loops import LoopWatch
from collector.loops.judging import Judges
from collector.loops.sharing import SharedTotals
from collector.loops.sweeper import Sweeper, instance_name
from collector.notify import Notifier
from collector.order import WriteOrder
from collector.pace import Pace
from collector.pipeline import Pipeline
from collector.rewriting import Rewriter
from collector.stages import Derivation, LogStage, Totals, TraceStage
from collector.tap import Taps
from collector.tombstones import Refusing, Tombstones
from collector.understanding import Understanding
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
        journals: Mapping[str, Journal],
        dead_letters: DeadLetters,
        store: Store,
        reader: Reader,
        notifier: Notifier,
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
        flows = {signal: Flow() for signal in journals}
        self._flows = flows
        normalizers, redactions = understanding.normalizers, understanding.redactions
        self.stages: Mapping[str, TraceStage | LogStage] = {
            "traces": TraceStage(
                normalizers["traces"],
                redactions["traces"],
                self.derivation,
                flows["traces"],
                keep_sent=store.reads_requests,
            ),
            "logs": LogStage(
                understanding.record_reader(normalizers["logs"]),
                redactions["logs"],
                self.derivation,
                flows["logs"],
            ),
        }
        order, sink = WriteOrder(), Refusing(ClickHouseSink(store), self.tombstones)
        batch = settings.sinks.clickhouse.batch
        self.pipelines: Mapping[str, Pipeline[Any]] = {
            signal: Pipeline(
                journals[signal],
                stage,
                sink,
                dead_letters,
                signal=signal,
                max_items=batch.max_items,
                max_bytes=batch.max_bytes,
                flush_timeout=settings.sinks.clickhouse.flush_timeout,
                order=order,
                flow=flows[signal],
                breaker=self.breaker,
            )
            for signal, stage in self.stages.items()
        }
        self.rewriter = Rewriter(order, self.derivation, sink)
        self.sweeper = None if alone else self._sweeper(settings, understanding, store, reader, notifier)

    def _sweeper(
        self,
        settings: Settings,
        understanding: Understanding,
        store: Store,
        reader: Reader,
        notifier: Notifier,
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
            interval_s=settings.loops.sweep_interval,
        )

    def refused(self) -> int:
        """Spans and log records that belong to deleted runs and came late."""
        return sum(flow.filtered for flow in self._flows.values())

    def told_to(self, live: Live, taps: Taps) -> None:
        """From now on these are told what passes."""
        for name, stage in self.stages.items():
            stage.mapped.append(partial(taps.mapped, name))
            self.pipelines[name].written += [
                partial(taps.written, name),
                lambda batch, seconds: live.written(batch),
            ]

    def start(self) -> None:
        for pipeline in self.pipelines.values():
            pipeline.start()
        if self.sweeper:
            self.sweeper.start()

    def take_over(self, settings: Settings) -> None:
        """How batches are made, by other settings."""
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
        if self.sweeper:
            self.sweeper.close()
