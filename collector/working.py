"""What becomes of telemetry once it is safe: the store, the ways into it, and all that reads from it.

It is imported and opened while telemetry is already taken (`receiving`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from collector.api.base import Api
from collector.config import ConfigError, Settings
from collector.config.reload import Reloadable
from collector.doors.exposure import proxy_needs_key
from collector.doors.listening import ListenError
from collector.forwarding.opening import Forwards
from collector.forwarding.passage import Passage
from collector.intake.arrivals import Arrivals
from collector.intake.intake import Intake, Submission
from collector.journal import Header, Journal, Readable, Record
from collector.live import Live
from collector.notify import Notifier
from collector.otherdoors import open_others
from collector.pipeline.deadletter import DEAD_LETTERS, DeadLetters, Letter
from collector.pipeline.lanes import Lanes
from collector.pipeline.store import EMBEDDED, server_of
from collector.process.endpoints import Endpoints, publish
from collector.process.exits import EX_CONFIG, EX_UNAVAILABLE, ServiceError, making
from collector.process.repeating import Repeating
from collector.processing import Processing
from collector.proxy.capture import installation_salt
from collector.proxy.door import ProxyDoor, archive_in, into, plugin_control, session_file, wire_capture
from collector.receiving import Receiving
from collector.status.document import status_of
from collector.status.inspection import Inspection
from collector.status.metrics import Metrics, Sources
from collector.status.states import States
from collector.tap import Taps
from collector.telemetry.pushing import Pusher
from collector.understanding.understanding import Understanding
from collector.upkeep.erasure import Erasures, Places
from collector.upkeep.following import Following
from collector.upkeep.indexing import Indexing
from collector.upkeep.jobs import Jobs
from collector.upkeep.retention import Retention
from mappers.cost import Prices
from sinks.base import RetryableError, SinkError
from sinks.clickhouse import Exchanges, Reader, Store, StoredSettings
from sinks.clickhouse.erasing import Eraser
from sinks.clickhouse.expiry import Expiry
from sinks.clickhouse.runindex import RunIndex

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from collector.workers.crew import Crew

log = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""How long a server is waited for at the start."""
LOOK_S = 1.0
NOTIFY_S = 2.0
"""Longest wait at the end for notifications to be sent."""


async def open_working(
    settings: Settings, prices: Prices, receiving: Receiving, reloadable: Reloadable, parts: AsyncExitStack
) -> Endpoints:
    """Opens all of it, and says where every door is.

    Args:
        parts: gets the closing of each.

    Raises:
        ServiceError: a port is taken, the store can not be opened.
    """
    opening = _Opening(settings, receiving, reloadable, parts)
    await opening.store(prices)
    await opening.processing()
    opening.passing_on()
    opening.upkeep()
    opening.telling()
    await opening.proxy()
    return await opening.all_at_work(opening.api())


class _Opening:
    """What is open already; each step builds on those before it."""

    def __init__(
        self, settings: Settings, receiving: Receiving, reloadable: Reloadable, parts: AsyncExitStack
    ) -> None:
        self._settings = settings
        self._receiving = receiving
        self._reloadable = reloadable
        self._parts = parts
        self._directory = settings.data_dir
        self._intake = receiving.intake
        self._journals = receiving.journals
        self._operations = receiving.intake.operations
        self._live, self._taps = Live(), Taps()

    async def store(self, prices: Prices) -> None:
        """The store, and what is done with what it does not take."""
        settings, intake, crew = self._settings, self._intake, self._receiving.crew
        with self._receiving.starting.step("open the store"):
            self._store = await asyncio.to_thread(_open_store, settings)
        self._parts.callback(self._store.close)
        self._reader = Reader(self._store)
        self._kept_settings = StoredSettings(self._store)
        self._understanding = Understanding(settings, prices)
        self._dead_letters = DeadLetters(
            self._directory / DEAD_LETTERS,
            self._understanding.redaction("traces").masked_request,
            settings.sinks.clickhouse.dead_letter.max_bytes,
        )
        intake.given_up = partial(_keep_aside, self._dead_letters, intake)
        if crew:
            crew.keep = intake.given_up

    async def processing(self) -> None:
        """From the journals into the store."""
        settings, parts, intake = self._settings, self._parts, self._intake
        self._notifier = Notifier(settings.notifications.webhooks)
        parts.callback(self._notifier.close, NOTIFY_S)
        with self._receiving.starting.step("look how far the store is"):
            processing = await asyncio.to_thread(
                Processing,
                settings,
                self._understanding,
                self._journals,
                self._dead_letters,
                self._store,
                self._reader,
                self._notifier,
                self._operations,
            )
        parts.push_async_callback(asyncio.to_thread, processing.end)
        others = intake.budget.used
        intake.budget.used = lambda: others() + processing.mapping.resident_bytes
        self._reloadable.tell(
            partial(_take_over, self._understanding, processing, self._dead_letters, self._notifier),
            "loops.detectors",
            "loops.disabled",
            "mapping",
            "notifications",
            "pricing",
            "redaction",
            "sinks.clickhouse.batch",
            "sinks.clickhouse.dead_letter",
        )
        intake.taken = self._taps.received
        processing.told_to(self._live, self._taps)
        self._processing = processing
        self._lanes = Lanes(intake, self._journals, processing.pipelines)
        health = self._receiving.health
        health.vital = {
            f"{lane} journal": journal.is_moving
            for lane, journal in self._journals.items()
            if isinstance(journal, Journal)
        }
        health.checks = {
            f"{lane} pipeline": pipeline.is_alive for lane, pipeline in processing.pipelines.items()
        } | {f"{lane} journal": partial(_has_room, journal) for lane, journal in self._journals.items()}

    def passing_on(self) -> None:
        """From the journals to other sinks."""
        understanding, tombstones = self._understanding, self._processing.tombstones
        self._run_of = understanding.record_reader(understanding.normalizer()).run_of
        self._forwards = Forwards(
            self._settings.sinks,
            self._journals,
            lambda signal, forward: Passage(
                signal,
                understanding.redaction(signal),
                tombstones,
                self._run_of,
                understanding.normalizer() if forward.attributes == "gen_ai" else None,
            ),
            self._operations,
        )
        # The last to be told: what the others refuse must not have cost a sink its place in the journal.
        self._reloadable.tell(
            lambda changed: self._forwards.take_over(changed.sinks), "sinks.otlp", "sinks.jsonl"
        )

    def upkeep(self) -> None:
        """What is done on the store from time to time, or when somebody asks for it."""
        processing, understanding, operations = self._processing, self._understanding, self._operations
        self._erasures = Erasures(
            Eraser(self._store),
            self._reader,
            processing.tombstones,
            processing.derivation,
            processing.rewriter,
            Places(
                self._journals,
                self._directory / DEAD_LETTERS,
                self._run_of,
                self._live.forget,
                processing.refused,
            ),
            operations,
        )
        self._retention = Retention(
            Expiry(self._store), self._kept_settings, processing.derivation, operations
        )
        self._jobs = Jobs(
            self._reader,
            self._kept_settings,
            processing.rewriter,
            understanding.normalizer,
            operations,
            understanding.record_reader,
        )

    def telling(self) -> None:
        """Metrics, for who asks and pushed."""
        crew, tracer, processing = self._receiving.crew, self._receiving.tracer, self._processing
        if crew:
            tracer.others = crew.own_traces
        self._arrivals = Arrivals(self._intake, crew)
        self._metrics = Metrics(
            Sources(
                version("eddyline"),
                self._arrivals,
                processing.stages,
                processing.mapping,
                self._lanes,
                self._dead_letters,
                processing.breaker,
                processing.totals,
                self._reloadable,
                self._forwards,
                tracer,
                # Workers share one bound, what this process takes itself has another.
                lambda: self._reloadable.settings.journal.max_bytes * (2 if crew else 1),
            )
        )
        lag = asyncio.create_task(self._metrics.watch_loop(), name="loop-lag")
        self._parts.callback(lag.cancel)
        self._pusher = Pusher(
            partial(_families, self._metrics, crew), version("eddyline"), self._receiving.instance_id
        )
        self._parts.push_async_callback(asyncio.to_thread, self._pusher.close)

    async def proxy(self) -> None:
        """The door for LLM traffic, and what is kept of that."""
        settings, understanding = self._settings, self._understanding
        archive = archive_in(settings, self._store, self._processing.tombstones, understanding.rules)
        with making(self._directory):
            salt = installation_salt(self._directory)
        self._proxy = ProxyDoor(
            settings.proxy,
            into(self._intake),
            salt,
            wire_capture(settings, understanding.rules),
            archive,
            keys=self._intake.gate.of_another_door(needs_key=proxy_needs_key(settings)),
            sessions=session_file(settings),
        )
        self._plugins = await asyncio.to_thread(plugin_control, self._proxy, self._kept_settings)

    def api(self) -> Api:
        receiving, processing, understanding = self._receiving, self._processing, self._understanding
        crew, health, intake = receiving.crew, receiving.health, self._intake
        return Api(
            self._reader,
            status_of(
                self._arrivals,
                self._lanes,
                processing,
                self._dead_letters,
                self._forwards,
                understanding,
                self._metrics,
                self._proxy,
                self._notifier,
                receiving.tracer,
                self._directory,
            ),
            health,
            normalizer=understanding.normalizer,
            settings=lambda: self._reloadable.settings,
            keys=receiving.keys,
            metrics=self._metrics.text,
            taps=self._taps,
            operations=self._operations,
            inspection=Inspection(
                self._directory,
                self._reloadable,
                self._operations,
                self._arrivals,
                self._lanes,
                processing,
                self._forwards,
                crew,
            ),
            exchanges=Exchanges(self._store),
            live=self._live,
            plugins=self._plugins,
            intake=intake,
            renew=crew.renew if crew else None,
            erasures=self._erasures,
            retention=self._retention,
            jobs=self._jobs,
            tombstones=processing.tombstones,
            redaction=understanding.redaction,
            components=States(
                health,
                lambda: intake.draining,
                self._journals,
                processing.pipelines,
                self._dead_letters,
                self._forwards,
            ).document,
        )

    async def all_at_work(self, api: Api) -> Endpoints:
        """Sets it all going, and opens the other doors.

        Raises:
            ServiceError: a port is taken, or nothing can be told to where the settings say.
        """
        settings, parts, receiving = self._settings, self._parts, self._receiving
        self._processing.start()
        self._forwards.start()
        parts.push_async_callback(self._pass_on)
        parts.push_async_callback(self._store_all, "store what came last")
        try:
            with receiving.starting.step("open the other doors"):
                endpoints = await open_others(
                    settings, self._intake, api, self._proxy, receiving.receivers, parts
                )
        except ListenError as error:
            raise ServiceError(str(error), EX_UNAVAILABLE) from None
        self._tell_of_itself(endpoints)
        # Doors stay open while the pipelines drain: a client that is told to come back keeps its data, one that
        # finds nobody there may not.
        parts.push_async_callback(self._store_all, "store what waits")
        self._start_upkeep()
        self._reloadable.reads("service.shutdown")
        parts.push_async_callback(_leave, receiving, self._taps, self._live, self._reloadable)
        receiving.health.ready = True
        publish(self._directory, endpoints)
        self._operations.of("start").done(receiving.starting)
        return endpoints

    def _tell_of_itself(self, endpoints: Endpoints) -> None:
        """Pushes metrics and traces from now on, to none of its own doors.

        Raises: ServiceError.
        """
        pusher, tracer = self._pusher, self._receiving.tracer
        pusher.doors = tracer.doors = {
            name: where for name, where in asdict(endpoints).items() if name != "pid"
        }
        try:
            pusher.take_over(self._settings)
            tracer.take_over(self._settings)
        except ConfigError as error:
            raise ServiceError(str(error), EX_CONFIG) from None
        self._reloadable.tell(pusher.take_over, "service.telemetry.metrics")
        self._reloadable.tell(tracer.take_over, "service.telemetry.traces")

    def _start_upkeep(self) -> None:
        works: list[Erasures | Retention | Jobs | Repeating] = [
            self._erasures,
            self._retention,
            self._jobs,
            Indexing(RunIndex(self._store)),
        ]
        if self._settings.sinks.clickhouse.url:  # the embedded store has no others
            works.append(Following({"deletions": self._erasures.learn, "plugins": self._plugins.learn}))
        for work in works:
            self._parts.push_async_callback(asyncio.to_thread, work.stop)
            work.start()

    async def _pass_on(self) -> None:
        with self._receiving.ending.step("pass on what waits"):
            await self._forwards.drain(self._reloadable.settings.service.shutdown.timeout)

    async def _store_all(self, what: str) -> None:
        with self._receiving.ending.step(what):
            await self._processing.drain(self._reloadable.settings.service.shutdown.timeout)


async def _leave(receiving: Receiving, taps: Taps, live: Live, reloadable: Reloadable) -> None:
    """The first step of the end: says that nobody is to be sent here, waits until that is known, refuses."""
    receiving.ending.began_ns = time.time_ns()
    receiving.health.leave()
    with receiving.ending.step("wait until nobody is sent here"):
        await asyncio.sleep(reloadable.settings.service.shutdown.drain_delay)
    receiving.intake.draining = True
    if receiving.crew:
        with receiving.ending.step("have workers refuse"):
            await receiving.crew.refuse()
    taps.end()
    live.end()


def _take_over(
    understanding: Understanding,
    processing: Processing,
    dead_letters: DeadLetters,
    notifier: Notifier,
    settings: Settings,
) -> None:
    """Raises: ConfigError."""
    understanding.take_over(settings)
    processing.take_over(settings)
    dead_letters.max_bytes = settings.sinks.clickhouse.dead_letter.max_bytes
    processing.look_with(understanding.engine)
    notifier.take_over(settings.notifications.webhooks)


def _families(metrics: Metrics, crew: Crew | None) -> Iterable[Metric]:
    """Metrics as they are now, of all processes."""
    if crew is not None:
        crew.renew()
    return metrics.families()


def _has_room(journal: Readable) -> bool:
    return not journal.room()


def _open_store(settings: Settings) -> Store:
    """A server that is away is waited for, but not for long: meanwhile telemetry is taken, and nobody can ask for it.

    Raises: ServiceError.
    """
    server = server_of(settings.sinks.clickhouse)
    where = settings.data_dir / EMBEDDED
    give_up_at = time.monotonic() + (PATIENCE_S if server is not None else 0)
    while True:
        try:
            with making(where):
                return Store.open(server or where)
        except SinkError as error:
            if not isinstance(error, RetryableError) or time.monotonic() > give_up_at:
                raise ServiceError(f"the store can not be opened: {error}", EX_UNAVAILABLE) from error
            log.warning("the store can not be opened yet: %s", error)
        time.sleep(LOOK_S)


def _keep_aside(dead_letters: DeadLetters, intake: Intake, request: Submission, reason: str) -> None:
    """Keeps a request that can not be read.

    Raises: OSError: it is not kept.
    """
    body = intake.inflated(request)
    header = Header(time.time_ns(), request.tenant, request.project, request.transport)
    dead_letters.keep([Letter(Record(0, header, body), request.signal, reason, "fault", json=request.json)])
