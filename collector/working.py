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
from collector.doors.doors import open_others
from collector.doors.exposure import proxy_needs_key
from collector.doors.listening import ListenError
from collector.forwarding.opening import Forwards
from collector.forwarding.passage import Passage
from collector.intake.arrivals import Arrivals
from collector.intake.intake import Intake, Submission
from collector.journal import Header, Journal, Readable, Record
from collector.live import Live
from collector.notify import Notifier
from collector.pipeline.deadletter import DEAD_LETTERS, DeadLetters, Letter
from collector.pipeline.lanes import Lanes
from collector.pipeline.processing import Processing
from collector.pipeline.store import EMBEDDED, server_of
from collector.process.endpoints import Endpoints, publish
from collector.process.exits import EX_CONFIG, EX_UNAVAILABLE, ServiceError, making
from collector.process.repeating import Repeating
from collector.proxy.capture import installation_salt
from collector.proxy.door import ProxyDoor, archive_in, into, plugin_control, session_file, wire_capture
from collector.receiving import Receiving
from collector.tap import Taps
from collector.telemetry.inspection import Inspection
from collector.telemetry.metrics import Metrics, Sources
from collector.telemetry.pushing import Pusher
from collector.telemetry.states import States
from collector.telemetry.status import status_of
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
    directory = settings.data_dir
    journals, intake, health = receiving.journals, receiving.intake, receiving.health
    operations = intake.operations
    crew, tracer, starting = receiving.crew, receiving.tracer, receiving.starting
    if crew:
        tracer.others = crew.own_traces
    with starting.step("open the store"):
        store = await asyncio.to_thread(_open_store, settings)
    parts.callback(store.close)
    reader = Reader(store)
    understanding = Understanding(settings, prices)
    dead_letters = DeadLetters(
        directory / DEAD_LETTERS,
        understanding.redaction("traces").masked_request,
        settings.sinks.clickhouse.dead_letter.max_bytes,
    )
    intake.given_up = partial(_keep_aside, dead_letters, intake)
    if crew:
        crew.keep = intake.given_up
    notifier = Notifier(settings.notifications.webhooks)
    parts.callback(notifier.close, NOTIFY_S)
    with starting.step("look how far the store is"):
        processing = await asyncio.to_thread(
            Processing, settings, understanding, journals, dead_letters, store, reader, notifier, operations
        )
    parts.push_async_callback(asyncio.to_thread, processing.end)
    others = intake.budget.used
    intake.budget.used = lambda: others() + processing.mapping.resident_bytes
    reloadable.tell(
        partial(_take_over, understanding, processing, dead_letters, notifier),
        "loops.detectors",
        "loops.disabled",
        "mapping",
        "notifications",
        "pricing",
        "redaction",
        "sinks.clickhouse.batch",
        "sinks.clickhouse.dead_letter",
    )
    live, taps = Live(), Taps()
    intake.taken = taps.received
    processing.told_to(live, taps)
    pipelines, tombstones = processing.pipelines, processing.tombstones
    run_of = understanding.record_reader(understanding.normalizer()).run_of
    forwards = Forwards(
        settings.sinks,
        journals,
        lambda signal, forward: Passage(
            signal,
            understanding.redaction(signal),
            tombstones,
            run_of,
            understanding.normalizer() if forward.attributes == "gen_ai" else None,
        ),
        operations,
    )
    # The last to be told: what the others refuse must not have cost a sink its place in the journal.
    reloadable.tell(lambda changed: forwards.take_over(changed.sinks), "sinks.otlp", "sinks.jsonl")
    kept_settings = StoredSettings(store)
    erasures = Erasures(
        Eraser(store),
        reader,
        tombstones,
        processing.derivation,
        processing.rewriter,
        Places(
            journals,
            directory / DEAD_LETTERS,
            run_of,
            live.forget,
            processing.refused,
        ),
        operations,
    )
    retention = Retention(Expiry(store), kept_settings, processing.derivation, operations)
    jobs = Jobs(
        reader,
        kept_settings,
        processing.rewriter,
        understanding.normalizer,
        operations,
        understanding.record_reader,
    )
    health.vital = {
        f"{lane} journal": journal.is_moving
        for lane, journal in journals.items()
        if isinstance(journal, Journal)
    }
    health.checks = {f"{lane} pipeline": pipeline.is_alive for lane, pipeline in pipelines.items()} | {
        f"{lane} journal": partial(_has_room, journal) for lane, journal in journals.items()
    }
    arrivals, lanes = Arrivals(intake, crew), Lanes(intake, journals, pipelines)
    metrics = Metrics(
        Sources(
            version("eddyline"),
            arrivals,
            processing.stages,
            processing.mapping,
            lanes,
            dead_letters,
            processing.breaker,
            processing.totals,
            reloadable,
            forwards,
            tracer,
            # Workers share one bound, what this process takes itself has another.
            lambda: reloadable.settings.journal.max_bytes * (2 if crew else 1),
        )
    )
    lag = asyncio.create_task(metrics.watch_loop(), name="loop-lag")
    parts.callback(lag.cancel)
    pusher = Pusher(partial(_families, metrics, crew), version("eddyline"), receiving.instance_id)
    parts.push_async_callback(asyncio.to_thread, pusher.close)
    archive = archive_in(settings, store, tombstones, understanding.rules)
    with making(directory):
        salt = installation_salt(directory)
    proxy = ProxyDoor(
        settings.proxy,
        into(intake),
        salt,
        wire_capture(settings, understanding.rules),
        archive,
        keys=intake.gate.of_another_door(needs_key=proxy_needs_key(settings)),
        sessions=session_file(settings),
    )
    plugins = await asyncio.to_thread(plugin_control, proxy, kept_settings)
    following = Following({"deletions": erasures.learn, "plugins": plugins.learn})
    api = Api(
        reader,
        status_of(
            arrivals,
            lanes,
            processing,
            dead_letters,
            forwards,
            understanding,
            metrics,
            proxy,
            notifier,
            tracer,
            directory,
        ),
        health,
        normalizer=understanding.normalizer,
        settings=lambda: reloadable.settings,
        keys=receiving.keys,
        metrics=metrics.text,
        taps=taps,
        operations=operations,
        inspection=Inspection(directory, reloadable, operations, arrivals, lanes, processing, forwards, crew),
        exchanges=Exchanges(store),
        live=live,
        plugins=plugins,
        intake=intake,
        renew=crew.renew if crew else None,
        erasures=erasures,
        retention=retention,
        jobs=jobs,
        tombstones=tombstones,
        redaction=understanding.redaction,
        components=States(
            health, lambda: intake.draining, journals, pipelines, dead_letters, forwards
        ).document,
    )

    processing.start()
    forwards.start()

    def patience_s() -> float:
        return reloadable.settings.service.shutdown.timeout

    ending = receiving.ending

    async def pass_on() -> None:
        with ending.step("pass on what waits"):
            await forwards.drain(patience_s())

    async def store_all(what: str) -> None:
        with ending.step(what):
            await processing.drain(patience_s())

    parts.push_async_callback(pass_on)
    parts.push_async_callback(store_all, "store what came last")
    try:
        with starting.step("open the other doors"):
            endpoints = await open_others(settings, intake, api, proxy, receiving.receivers, parts)
    except ListenError as error:
        raise ServiceError(str(error), EX_UNAVAILABLE) from None
    pusher.doors = tracer.doors = {name: where for name, where in asdict(endpoints).items() if name != "pid"}
    try:
        pusher.take_over(settings)
        tracer.take_over(settings)
    except ConfigError as error:
        raise ServiceError(str(error), EX_CONFIG) from None
    reloadable.tell(pusher.take_over, "service.telemetry.metrics")
    reloadable.tell(tracer.take_over, "service.telemetry.traces")
    # Doors stay open while the pipelines drain: a client that is told to come back keeps its data, one that
    # finds nobody there may not.
    parts.push_async_callback(store_all, "store what waits")
    works: list[Erasures | Retention | Jobs | Repeating] = [
        erasures,
        retention,
        jobs,
        Indexing(RunIndex(store)),
    ]
    if settings.sinks.clickhouse.url:
        works.append(following)  # the embedded store has no others
    for work in works:
        parts.push_async_callback(asyncio.to_thread, work.stop)
        work.start()
    reloadable.reads("service.shutdown")
    parts.push_async_callback(_leave, receiving, taps, live, reloadable)
    health.ready = True
    publish(directory, endpoints)
    operations.of("start").done(starting)
    return endpoints


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
