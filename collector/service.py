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
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from collector.api.app import admin_app, api_app
from collector.api.base import Api
from collector.balance import balanced
from collector.breaker import Breaker
from collector.config import Settings
from collector.deadletter import DEAD_LETTERS, DeadLetters, Letter
from collector.deriver import Deriver
from collector.documents import ConfigError
from collector.endpoints import Endpoints, api_token, find, publish, withdraw
from collector.erasure import Erasures, Places
from collector.exposure import LOOPBACK_HOSTS, ExposureError, ingest_needs_key
from collector.flow import Flow
from collector.gate import Gate
from collector.intake import Intake, Submission
from collector.jobs import Jobs
from collector.journal import Header, Journal, JournalLockedError, Record
from collector.keys import Keys, KeysError, keys_file
from collector.listening import REQUEST_GRACE_S, UNIX, ListenError, listen
from collector.live import Live
from collector.loops import LoopWatch
from collector.loops.judging import Judges
from collector.loops.sweeper import Sweeper, instance_name
from collector.meaning import not_understood
from collector.metrics import Metrics, Sources
from collector.notify import Notifier
from collector.order import WriteOrder
from collector.pace import Pace
from collector.pipeline import SINK_CURSOR, Pipeline
from collector.plugins import load_conventions, load_detectors
from collector.prices import load_prices
from collector.proxy.capture import installation_salt
from collector.proxy.door import ProxyDoor, archive_in, into, plugin_control, wire_capture
from collector.receivers.opening import http_options, item_limits, open_grpc, open_http, open_intake
from collector.redaction import Redaction, masking
from collector.reload import Reloadable
from collector.retention import Retention
from collector.rewriting import Rewriter
from collector.stages import Derivation, LogStage, Totals, TraceStage
from collector.states import States
from collector.tap import Taps
from collector.telemetry import Health, Status
from collector.tls import TlsError, grpc_credentials
from collector.tombstones import Refusing, Tombstones
from mappers.agent_logs import AGENTS
from mappers.conventions import BUILTIN
from mappers.cost import load_price_list
from mappers.loops.configure import configured
from mappers.loops.evaluator import Engine
from mappers.normalize import Normalizer
from mappers.records import RecordReader
from sinks.base import SinkError
from sinks.clickhouse import ClickHouseSink, Exchanges, Reader, Store, StoredSettings
from sinks.clickhouse.erasing import Eraser
from sinks.clickhouse.expiry import Expiry
from sinks.clickhouse.instances import Instances

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
            received = await _open_receivers(settings, intake, reloadable, health, parts)
        except ListenError as error:
            raise ServiceError(str(error), EX_UNAVAILABLE) from None
        store, _ = await asyncio.gather(
            asyncio.to_thread(_open_store, settings), asyncio.to_thread(load_price_list)
        )
        parts.callback(store.close)
        reader = Reader(store)

        reloadable.tell(lambda changed: _take_over(changed, intake, keys))
        totals = Totals(*await asyncio.to_thread(reader.totals))
        flows = {signal: Flow() for signal in journals}
        engine, unloaded = _loop_engine(settings)
        deriver = Deriver(
            reader,
            max_events=settings.deriver.max_events,
            watch=LoopWatch(engine, reader) if settings.loops.replicas == 1 else Judges(reader),
            price=prices.price,
            pace=Pace(),
        )
        deriver.owe(await asyncio.to_thread(reader.unsettled_runs))
        plugged_in, failures = load_conventions()
        conventions = [*BUILTIN, *plugged_in]
        normalizer, log_normalizer = (Normalizer(conventions, prices, engine) for _ in range(2))
        redaction = Redaction(settings.redaction, conventions)
        redacted_conventions = [*conventions, *(agent.convention() for agent in AGENTS)]
        log_redaction = Redaction(settings.redaction, redacted_conventions)
        dead_letters = DeadLetters(
            directory / DEAD_LETTERS,
            redaction.masked_request,
            settings.sinks.clickhouse.dead_letter.max_bytes,
        )
        intake.given_up = partial(_keep_aside, dead_letters, intake)
        notifier = Notifier(settings.notifications.webhooks)
        parts.callback(notifier.close, NOTIFY_S)
        eraser = Eraser(store)
        tombstones = Tombstones(await asyncio.to_thread(eraser.buried))
        derivation = Derivation(deriver, reader, totals, notifier.tell, tombstones)
        stages: dict[str, TraceStage | LogStage] = {
            "traces": TraceStage(
                normalizer, redaction, derivation, flows["traces"], keep_sent=store.reads_requests
            ),
            "logs": LogStage(RecordReader(log_normalizer, prices), log_redaction, derivation, flows["logs"]),
        }
        if settings.loops.replicas > 1:
            sweeper = Sweeper(
                instance_name(),
                reader,
                Instances(store),
                lambda: LoopWatch(engine, reader, alone=False),
                lambda runs, watch: Deriver(reader, max_events=0, watch=watch, price=prices.price).rederive(
                    runs
                ),
                derivation.rewritten,
                Refusing(ClickHouseSink(store), tombstones),
                notifier.tell,
                interval_s=settings.loops.sweep_interval,
            )
            sweeper.start()
            parts.push_async_callback(asyncio.to_thread, sweeper.close)
        order, breaker = WriteOrder(), Breaker()
        sink = Refusing(ClickHouseSink(store), tombstones)
        batch = settings.sinks.clickhouse.batch
        pipelines: dict[str, Pipeline[Any]] = {
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
                breaker=breaker,
            )
            for signal, stage in stages.items()
        }
        rewriter = Rewriter(order, derivation, sink)
        retention = Retention(Expiry(store), StoredSettings(store), derivation)
        jobs = Jobs(reader, StoredSettings(store), rewriter, lambda: Normalizer(conventions, prices))
        taps = _tapped(intake, stages, pipelines)
        live = _told_live(pipelines)
        erasures = Erasures(
            eraser,
            reader,
            tombstones,
            derivation,
            rewriter,
            Places(
                journals,
                directory / DEAD_LETTERS,
                RecordReader(Normalizer(conventions, prices), prices).run_of,
                live.forget,
                lambda: sum(flow.filtered for flow in flows.values()),
            ),
        )
        health.checks = {
            f"{signal} pipeline": pipeline.is_alive for signal, pipeline in pipelines.items()
        } | {f"{signal} journal": partial(_has_room, journal) for signal, journal in journals.items()}
        metrics = Metrics(
            Sources(
                version("eddyline"),
                intake,
                journals,
                stages,
                pipelines,
                lambda signal: balanced(intake, journals[signal], pipelines[signal]),
                dead_letters,
                breaker,
                totals,
                reloadable,
            )
        )
        lag = asyncio.create_task(metrics.watch_loop(), name="loop-lag")
        parts.callback(lag.cancel)
        proxy = ProxyDoor(
            settings.proxy,
            into(intake),
            salt,
            wire_capture(settings),
            archive_in(settings, store, tombstones),
        )
        plugins = await asyncio.to_thread(plugin_control, proxy, StoredSettings(store))
        api = Api(
            reader,
            _status(
                intake,
                journals,
                pipelines,
                totals,
                dead_letters,
                lambda: _mappers((normalizer, log_normalizer), failures, engine, unloaded),
                lambda: _redacted((redaction, log_redaction)),
                proxy.document,
                notifier.document,
                directory,
            ),
            health,
            normalizer=lambda: Normalizer(conventions, prices, engine),
            keys=keys,
            metrics=metrics.text,
            taps=taps,
            exchanges=Exchanges(store),
            live=live,
            plugins=plugins,
            intake=intake,
            erasures=erasures,
            retention=retention,
            jobs=jobs,
            tombstones=tombstones,
            redaction=lambda signal: Redaction(
                settings.redaction, redacted_conventions if signal == "logs" else conventions
            ),
            components=States(health, lambda: intake.draining, journals, pipelines, dead_letters).document,
        )

        for pipeline in pipelines.values():
            pipeline.start()
        parts.push_async_callback(_drain, pipelines, settings.service.shutdown.timeout)
        try:
            endpoints = await _open_doors(settings, intake, api, proxy, received, parts)
        except ListenError as error:
            raise ServiceError(str(error), EX_UNAVAILABLE) from None
        # Doors stay open while the pipelines drain: a client that is told to come back keeps its data, one that
        # finds nobody there may not.
        parts.push_async_callback(_drain, pipelines, settings.service.shutdown.timeout)
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
    where = settings.data_dir / "clickhouse"
    try:
        with _writing(where):
            return Store.open(clickhouse.url or where)
    except SinkError as error:
        raise ServiceError(f"the store can not be opened: {error}", EX_UNAVAILABLE) from error


def _status(
    intake: Intake,
    journals: dict[str, Journal],
    pipelines: dict[str, Pipeline[Any]],
    totals: Totals,
    dead_letters: DeadLetters,
    mappers: Callable[[], dict[str, Any]],
    redaction: Callable[[], dict[str, Any]],
    proxy: Callable[[], dict[str, Any] | None],
    notifications: Callable[[], dict[str, int]],
    directory: Path,
) -> Status:
    def balance(signal: str) -> dict[str, int]:
        return balanced(intake, journals[signal], pipelines[signal])

    return Status(
        version("eddyline"),
        {
            # In this order: what is no longer queued here is among what is stored.
            "pipeline": lambda: balance("traces") | {"logs": balance("logs")},
            "endpoints": lambda: asdict(here) if (here := find(directory)) else None,
            "stored": lambda: {"spans": totals.spans, "events": totals.events, "runs": totals.runs},
            "receivers": intake.stats.document,
            "mappers": mappers,
            "redaction": redaction,
            "proxy": proxy,
            "notifications": notifications,
            "journal": lambda: {
                signal: {
                    "bytes": journal.size_bytes,
                    "waiting_bytes": journal.waiting_bytes,
                    "refuses": journal.room() or None,
                    "quarantined_ranges": journal.quarantine.ranges,
                }
                for signal, journal in journals.items()
            },
            "dead_letters": lambda: {"bytes": dead_letters.size_bytes, "full": dead_letters.is_full},
            "sink": lambda: {
                signal: {"last_error": pipeline.last_error or None, "lag_s": round(pipeline.lag_s, 3)}
                for signal, pipeline in pipelines.items()
            },
        },
    )


def _loop_engine(settings: Settings) -> tuple[Engine, dict[str, str]]:
    """The loop engine with its thresholds and plugins, and the plugins that could not be loaded."""
    others, failures = load_detectors()
    return configured(settings.loops.detectors, settings.loops.disabled, others), failures


def _mappers(
    normalizers: Sequence[Normalizer],
    failures: dict[str, str],
    engine: Engine,
    unloaded: dict[str, str],
) -> dict[str, Any]:
    """Faults by convention and by loop detector, and plugins that could not be loaded."""
    faults = sum((normalizer.faults for normalizer in normalizers), Counter[str]())
    return {
        "faults": dict(faults),
        "not_loaded": failures,
        "detectors": {"faults": dict(engine.faults), "not_loaded": unloaded},
    }


def _redacted(redactions: Sequence[Redaction]) -> dict[str, Any]:
    """Spans and log records whose values were looked through, and those that could not be masked."""
    return {
        "masked": sum(redaction.masked for redaction in redactions),
        "failures": sum(redaction.failures for redaction in redactions),
    }


def _keep_aside(dead_letters: DeadLetters, intake: Intake, request: Submission, reason: str) -> None:
    """Keeps a request that can not be read.

    Raises: DeadLettersFullError, OSError.
    """
    body = intake.inflated(request)
    header = Header(time.time_ns(), request.tenant, request.project, request.transport)
    dead_letters.keep([Letter(Record(0, header, body), request.signal, reason, json=request.json)])


def _told_live(pipelines: Mapping[str, Pipeline[Any]]) -> Live:
    """The live stream, that is told what is stored."""
    live = Live()
    for pipeline in pipelines.values():
        pipeline.written.append(lambda batch, seconds: live.written(batch))
    return live


def _tapped(
    intake: Intake, stages: Mapping[str, TraceStage | LogStage], pipelines: Mapping[str, Pipeline[Any]]
) -> Taps:
    """Taps that are told what passes."""
    taps = Taps()
    intake.taken = taps.received
    for name, stage in stages.items():
        stage.mapped.append(partial(taps.mapped, name))
        pipelines[name].written.append(partial(taps.written, name))
    return taps


async def _drain(pipelines: dict[str, Pipeline[Any]], timeout: float) -> None:
    drained = await asyncio.gather(
        *(asyncio.to_thread(pipeline.drain, timeout) for pipeline in pipelines.values())
    )
    if not all(drained):
        log.warning("not everything is stored; the rest is in the journal and is stored at the next start")


# --------------------------------------------------------------------------- doors


@dataclass(frozen=True, slots=True)
class _Receivers:
    """Where OTLP is received; None for a door that is off."""

    grpc: str | None
    http: str | None
    application: ASGIApp
    """Of OTLP/HTTP, for the doors that have it too."""


async def _open_receivers(
    settings: Settings, intake: Intake, reloadable: Reloadable, health: Health, parts: AsyncExitStack
) -> _Receivers:
    """Raises: ListenError."""
    protocols = settings.receivers.otlp.protocols
    grpc_address = None
    if protocols.grpc.endpoint:
        receiver = open_grpc(protocols.grpc, intake)
        try:
            tls = protocols.grpc.tls
            credentials = grpc_credentials(tls) if tls.cert_file else None
            port = receiver.start(
                protocols.grpc.endpoint, credentials, socket_mode=protocols.grpc.socket_mode
            )
        except (OSError, TlsError) as error:
            raise ListenError(f"grpc can not listen on {protocols.grpc.endpoint}: {error}") from None
        health.leaving.append(receiver.leave)
        parts.push_async_callback(asyncio.to_thread, receiver.stop, REQUEST_GRACE_S)
        unix = protocols.grpc.endpoint.startswith(UNIX)
        grpc_address = protocols.grpc.endpoint if unix else f"{_host(protocols.grpc.endpoint)}:{port}"
    http, take_over = open_http(protocols.http, intake)
    reloadable.tell(take_over)
    where = await listen("http", protocols.http.endpoint, http, parts, **http_options(protocols.http))
    return _Receivers(grpc_address, where, http)


async def _open_doors(
    settings: Settings,
    intake: Intake,
    api: Api,
    proxy: ProxyDoor,
    received: _Receivers,
    parts: AsyncExitStack,
) -> Endpoints:
    """Every other door.

    Raises: ListenError.
    """
    # A name that is not loopback can only come from a page that made it point here.
    api_door = api_app(api, gate=intake.gate, hosts=_api_hosts(settings))
    doors = {
        "http": received.http,
        "api": await listen("api", settings.api.endpoint, api_door, parts),
        "admin": await listen("admin", settings.admin.endpoint, admin_app(api), parts),
    }
    doors["proxy"] = await proxy.open(
        otlp=received.application,
        ready=lambda: not intake.draining,
        own_ports={
            int(where.rpartition(":")[2])
            for where in (*doors.values(), received.grpc)
            if where and not where.startswith(UNIX)
        },
        parts=parts,
    )
    return Endpoints(grpc=received.grpc, pid=os.getpid(), **doors)


def _api_hosts(settings: Settings) -> set[str]:
    """Names under which the API may be addressed; none if any may be used."""
    names = {*LOOPBACK_HOSTS, *settings.api.hosts, _host(settings.api.endpoint or "")}
    return set() if "*" in names else {name.lower() for name in names}


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0]
