"""The running collector: opens the stores, starts every part in the order of the data's way, and ends them
in the same order, so that nothing which was acknowledged is left without a taker."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from collector.api.base import Api
from collector.balance import balanced
from collector.config import Settings
from collector.deadletter import DEAD_LETTERS, DeadLetters, Letter
from collector.documents import ConfigError
from collector.doors import open_others, open_receivers
from collector.endpoints import Endpoints, api_token, publish, withdraw
from collector.erasure import Erasures, Places
from collector.exposure import ExposureError, ingest_needs_key
from collector.gate import Gate
from collector.intake import Intake, Submission
from collector.jobs import Jobs
from collector.journal import Header, Journal, JournalLockedError, Record
from collector.keys import Keys, KeysError, keys_file
from collector.listening import ListenError
from collector.live import Live
from collector.meaning import not_understood
from collector.metrics import Metrics, Sources
from collector.notify import Notifier
from collector.pipeline import SINK_CURSOR
from collector.prices import load_prices
from collector.processing import Processing
from collector.proxy.capture import installation_salt
from collector.proxy.door import ProxyDoor, archive_in, into, plugin_control, wire_capture
from collector.receivers.opening import item_limits, open_intake
from collector.redaction import masking
from collector.reload import Reloadable
from collector.retention import Retention
from collector.states import States
from collector.status import status_of
from collector.store import EMBEDDED, server_of
from collector.tap import Taps
from collector.telemetry import Health
from collector.understanding import Understanding
from mappers.cost import load_price_list
from sinks.base import SinkError
from sinks.clickhouse import Exchanges, Reader, Store, StoredSettings
from sinks.clickhouse.erasing import Eraser
from sinks.clickhouse.expiry import Expiry

log = logging.getLogger(__name__)

NOTIFY_S = 2.0
"""Longest wait at the end for notifications to be sent."""

EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_TEMPFAIL = 75
EX_CONFIG = 78


class ServiceError(Exception):
    """The collector can not run here as it is configured. `exit_code` is one of sysexits."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


async def serve(
    settings: Settings, announce: Callable[[Endpoints], None], read: Callable[[], Settings]
) -> None:
    """Runs the collector until SIGTERM or SIGINT, then drains it. `announce` is called once all doors are open; `read`
    reads the configuration anew on SIGHUP.

    Raises:
        ServiceError: the data directory is in use, a port is taken, the store can not be opened.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys, and what was said
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping)
    reloadable = Reloadable(settings)
    loop.add_signal_handler(signal.SIGHUP, reloadable.reload, read)
    async with collector(settings, reloadable) as endpoints:
        calm_garbage_collection()
        announce(endpoints)
        await stopping.wait()
        log.info("draining")


def calm_garbage_collection() -> None:
    """Events of recent runs are many, live long and form no cycles. Looking through all of them, as Python does
    by default every few thousand requests, holds up acknowledgements by 50 ms and more; young objects are still
    looked through often. What was made at the start stays for good and is never looked through."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 10, 200)


def _stop(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        log.warning("ending at once; what was acknowledged is in the journal")
        os._exit(0)
    stopping.set()


@asynccontextmanager
async def collector(settings: Settings, reloadable: Reloadable | None = None) -> AsyncIterator[Endpoints]:
    """A running collector. Leaving the block drains it; `reloadable` tells it of new settings until then."""
    reloadable = reloadable or Reloadable(settings)
    try:
        prices = load_prices(settings.pricing.overrides)
    except ConfigError as error:
        raise ServiceError(str(error), EX_CONFIG) from None
    if found := not_understood(settings):
        raise ServiceError("\n".join(found), EX_CONFIG)
    directory = settings.data_dir
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as parts:
        journals = {signal: _journal(settings, signal, parts) for signal in ("traces", "logs")}
        with _writing(directory):
            withdraw(directory)
            token = api_token(directory, settings.token)
            salt = installation_salt(directory)
        parts.callback(withdraw, directory)
        keys, gate = _gate(settings, token)
        parts.callback(keys.note_use)
        # Telemetry is taken as soon as it can be kept: opening the store takes a second, and what exporters send to a
        # port that is closed is lost. At the end these doors are the last that close.
        intake = open_intake(settings, journals, gate)
        health = Health()
        try:
            received = await open_receivers(settings, intake, reloadable, health, parts)
        except ListenError as error:
            raise ServiceError(str(error), EX_UNAVAILABLE) from None
        store, _ = await asyncio.gather(
            asyncio.to_thread(_open_store, settings), asyncio.to_thread(load_price_list)
        )
        parts.callback(store.close)
        reader = Reader(store)
        reloadable.tell(lambda changed: _take_over(changed, intake, keys))
        understanding = Understanding(settings, prices)
        dead_letters = DeadLetters(
            directory / DEAD_LETTERS,
            understanding.redactions["traces"].masked_request,
            settings.sinks.clickhouse.dead_letter.max_bytes,
        )
        intake.given_up = partial(_keep_aside, dead_letters, intake)
        notifier = Notifier(settings.notifications.webhooks)
        parts.callback(notifier.close, NOTIFY_S)
        processing = await asyncio.to_thread(
            Processing, settings, understanding, journals, dead_letters, store, reader, notifier
        )
        parts.push_async_callback(asyncio.to_thread, processing.end)
        live, taps = Live(), Taps()
        intake.taken = taps.received
        processing.told_to(live, taps)
        pipelines, tombstones = processing.pipelines, processing.tombstones
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
                understanding.record_reader(understanding.normalizer()).run_of,
                live.forget,
                processing.refused,
            ),
        )
        retention = Retention(Expiry(store), kept_settings, processing.derivation)
        jobs = Jobs(reader, kept_settings, processing.rewriter, understanding.normalizer)
        health.checks = {
            f"{signal} pipeline": pipeline.is_alive for signal, pipeline in pipelines.items()
        } | {f"{signal} journal": partial(_has_room, journal) for signal, journal in journals.items()}
        metrics = Metrics(
            Sources(
                version("eddyline"),
                intake,
                journals,
                processing.stages,
                pipelines,
                lambda signal: balanced(intake, journals[signal], pipelines[signal]),
                dead_letters,
                processing.breaker,
                processing.totals,
                reloadable,
            )
        )
        lag = asyncio.create_task(metrics.watch_loop(), name="loop-lag")
        parts.callback(lag.cancel)
        archive = archive_in(settings, store, tombstones)
        proxy = ProxyDoor(settings.proxy, into(intake), salt, wire_capture(settings), archive)
        api = Api(
            reader,
            status_of(intake, journals, processing, dead_letters, understanding, proxy, notifier, directory),
            health,
            normalizer=understanding.normalizer,
            keys=keys,
            metrics=metrics.text,
            taps=taps,
            exchanges=Exchanges(store),
            live=live,
            plugins=await asyncio.to_thread(plugin_control, proxy, kept_settings),
            intake=intake,
            erasures=erasures,
            retention=retention,
            jobs=jobs,
            tombstones=tombstones,
            redaction=understanding.redaction,
            components=States(health, lambda: intake.draining, journals, pipelines, dead_letters).document,
        )

        processing.start()
        parts.push_async_callback(processing.drain, settings.service.shutdown.timeout)
        try:
            endpoints = await open_others(settings, intake, api, proxy, received, parts)
        except ListenError as error:
            raise ServiceError(str(error), EX_UNAVAILABLE) from None
        # Doors stay open while the pipelines drain: a client that is told to come back keeps its data, one that
        # finds nobody there may not.
        parts.push_async_callback(processing.drain, settings.service.shutdown.timeout)
        for work in (erasures, retention, jobs):
            parts.push_async_callback(asyncio.to_thread, work.stop)
            work.start()
        health.ready = True
        publish(directory, endpoints)
        yield endpoints
        health.leave()
        await asyncio.sleep(settings.service.shutdown.drain_delay)
        intake.draining = True
        taps.end()
        live.end()


@contextmanager
def _writing(where: Path) -> Iterator[None]:
    """Raises: ServiceError, if what the block makes there can not be made."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ServiceError(f"{error.filename or where} can not be made: {why}", EX_CANTCREAT) from None


def _gate(settings: Settings, token: str) -> tuple[Keys, Gate]:
    """Raises: ServiceError."""
    try:
        keys = Keys(keys_file(settings.data_dir))
        needed = ingest_needs_key(settings, keys=len(keys))
    except (KeysError, ExposureError) as error:
        raise ServiceError(str(error), EX_CONFIG) from None
    return keys, Gate(keys, token=token, ingest_needs_key=needed)


def _take_over(settings: Settings, intake: Intake, keys: Keys) -> None:
    """Raises: ConfigError."""
    try:
        needed = ingest_needs_key(settings, keys=len(keys))
    except ExposureError as error:
        raise ConfigError(str(error)) from None
    intake.gate.ingest_needs_key = needed
    intake.limits = item_limits(settings.receivers.otlp.limits)
    intake.max_body_bytes = settings.receivers.otlp.protocols.http.max_request_body_size
    logging.getLogger().setLevel(settings.service.telemetry.log_level.upper())


def _journal(settings: Settings, signal: str, parts: AsyncExitStack) -> Journal:
    journal = Journal(
        settings.data_dir / "journal" / signal,
        segment_bytes=settings.journal.segment_size,
        ack=settings.journal.ack,
        max_queue_bytes=settings.journal.max_queue_size,
        max_bytes=settings.journal.max_bytes,
        min_free_bytes=settings.journal.min_free_bytes,
        on_full=settings.journal.on_full,
        mask=masking(settings.redaction),
    )
    try:
        with _writing(journal.directory):
            journal.open()
    except JournalLockedError as error:
        raise ServiceError(f"another collector runs on {settings.data_dir}", EX_TEMPFAIL) from error
    parts.callback(journal.close)
    with _writing(journal.directory):
        journal.cursor(SINK_CURSOR)  # before anything is appended
    return journal


def _has_room(journal: Journal) -> bool:
    return not journal.room()


def _open_store(settings: Settings) -> Store:
    clickhouse = settings.sinks.clickhouse
    where = settings.data_dir / EMBEDDED
    try:
        with _writing(where):
            return Store.open(server_of(clickhouse) or where)
    except SinkError as error:
        raise ServiceError(f"the store can not be opened: {error}", EX_UNAVAILABLE) from error


def _keep_aside(dead_letters: DeadLetters, intake: Intake, request: Submission, reason: str) -> None:
    """Keeps a request that can not be read.

    Raises: DeadLettersFullError, OSError.
    """
    body = intake.inflated(request)
    header = Header(time.time_ns(), request.tenant, request.project, request.transport)
    dead_letters.keep([Letter(Record(0, header, body), request.signal, reason, json=request.json)])
