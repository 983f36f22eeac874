"""Where telemetry is taken and made safe: journals, keys, the intake and its doors.

It is opened first, and imports nothing that it does not need: what exporters send to a port that is closed is lost,
and the rest of the collector takes a second to import and to open. At the end it is closed last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from collector.config import ConfigError, Settings
from collector.config.reload import Reloadable
from collector.doors.accepting import Shares
from collector.doors.exposure import ExposureError, ingest_needs_key
from collector.doors.gate import Gate
from collector.doors.keys import Keys, KeysError, keys_file
from collector.doors.listening import LOOK_AGAIN_S, REQUEST_GRACE_S, UNIX, ListenError, host_of, listen
from collector.doors.tls import TlsError, grpc_credentials
from collector.forwarding.naming import SEGMENTS_WAITING, cursor_name, forwards_of
from collector.intake.intake import Intake
from collector.intake.memory import resident_bytes
from collector.intake.quota import Debts
from collector.journal import SINK_CURSOR, Journal, JournalLockedError, Readable
from collector.journal.places import JOURNAL, SIGNALS, directory_of, lane, share_of, workers_in
from collector.otlp.decode import keep_levels
from collector.pipeline.redaction import masking
from collector.process.endpoints import api_token, withdraw
from collector.process.exits import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, ServiceError, making
from collector.receivers.opening import (
    http_options,
    item_limits,
    memory_bounds,
    open_grpc,
    open_http,
    open_intake,
)
from collector.telemetry.operations import Doing, Operations
from collector.telemetry.telemetry import Health
from collector.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from collector.workers.crew import Crew

log = logging.getLogger(__name__)

LOCK_PATIENCE_S = 5.0
DEBTS = "quotas"
"""File of the data directory: what projects owe of their quotas while there are workers."""
TAKEN = (
    "auth",
    "journal.max_bytes",
    "journal.max_queue_size",
    "journal.min_free_bytes",
    "memory",
    "quotas",
    "receivers.otlp.limits",
    "receivers.otlp.protocols.http.max_request_body_size",
    "redaction",
    "service.telemetry.log_level",
)
"""What `take_over` takes over."""


@dataclass(frozen=True, slots=True)
class Receivers:
    """Where OTLP is received; None for a door that is off."""

    grpc: str | None
    http: str | None
    application: ASGIApp
    """Of OTLP/HTTP, for the doors that have it too."""


@dataclass(frozen=True, slots=True)
class Receiving:
    """What takes telemetry."""

    journals: Mapping[str, Readable]
    """By lane: the signal's name for this process, see `workers.places` for those of others."""
    keys: Keys
    intake: Intake
    """Of this process."""
    health: Health
    receivers: Receivers
    crew: Crew | None
    """Workers, if they have the doors."""
    instance_id: str
    """Of this running collector, whichever of its processes tells of it."""
    tracer: Tracer
    starting: Doing
    """Ends with the other half's start."""
    ending: Doing
    """Begins when the collector is to end, and ends with this half."""


async def open_receiving(settings: Settings, reloadable: Reloadable, parts: AsyncExitStack) -> Receiving:
    """Opens all of it.

    Args:
        parts: gets the closing of each.

    Raises:
        ServiceError: the data directory is in use or can not be written, a port is taken, keys are missing.
    """
    directory = settings.data_dir
    starting, ending = Doing(), Doing()
    operations, instance_id = Operations(), str(uuid.uuid4())
    tracer = Tracer(operations, "collector", instance_id)
    parts.push_async_callback(asyncio.to_thread, tracer.close)
    parts.callback(lambda: operations.of("drain").done(ending))
    with making(directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    journals = {
        signal: open_journal(
            settings, directory / JOURNAL / signal, parts, max_bytes=settings.journal.max_bytes
        )
        for signal in SIGNALS
    }
    with making(directory):
        withdraw(directory)
        token = api_token(directory, settings.token)
    parts.callback(_parting, partial(withdraw, directory))
    keys, gate = open_keys(settings, token)
    parts.callback(_parting, keys.note_use)
    debts = open_debts(settings, parts, begin=True)
    intake = open_intake(settings, journals, gate, debts, operations)
    keep_levels(intake.limits.value_depth)
    lanes: dict[str, Readable] = {**journals, **left_behind(settings, parts)}
    reloadable.tell(lambda changed: take_over(changed, intake, keys, journals, lanes), *TAKEN)
    health = Health()
    protocols = settings.receivers.otlp.protocols
    crew, grpc, http = None, protocols.grpc.endpoint, protocols.http.endpoint
    try:
        if settings.workers:
            from collector.workers.crew import Crew

            crew = Crew(settings, token, keys, instance_id)
            await crew.open(parts)
            reloadable.tell(crew.take_over)
            health.leaving.append(crew.leave)
            lanes |= crew.journals
            grpc, http = None if crew.grpc else grpc, None
        with starting.step("open the receivers"):
            receivers = await open_doors(settings, intake, reloadable, health, parts, grpc=grpc, http=http)
    except ListenError as error:
        raise ServiceError(str(error), EX_UNAVAILABLE) from None
    if crew is not None:
        receivers = replace(receivers, http=crew.http, grpc=crew.grpc or receivers.grpc)
        hands = crew.hands
        intake.budget.used = lambda: resident_bytes() + sum(hand.resident_bytes for hand in hands)
    return Receiving(lanes, keys, intake, health, receivers, crew, instance_id, tracer, starting, ending)


def _parting(work: Callable[[], None]) -> None:
    """At the end the disk may take nothing any more: nobody's telemetry depends on what is written then."""
    try:
        work()
    except (OSError, KeysError) as error:
        log.warning("not done at the end: %s", error)


async def open_doors(
    settings: Settings,
    intake: Intake,
    reloadable: Reloadable,
    health: Health,
    parts: AsyncExitStack,
    *,
    grpc: str | None,
    http: str | None,
    listener: socket.socket | None = None,
    shares: Shares | None = None,
    shares_port: bool = False,
) -> Receivers:
    """Opens the doors of OTLP that this process is to have, each on its endpoint.

    Args:
        listener: the socket of OTLP/HTTP, if it is open already.
        shares: of the processes that take connections from it, if these are several.
        shares_port: whether other processes listen for OTLP/gRPC on the same port.

    Raises: ListenError.
    """
    protocols = settings.receivers.otlp.protocols
    grpc_address = None
    if grpc:
        receiver = open_grpc(protocols.grpc, intake, shares_port=shares_port)
        try:
            tls = protocols.grpc.tls
            credentials = grpc_credentials(tls) if tls.cert_file else None
            port = receiver.start(grpc, credentials, socket_mode=protocols.grpc.socket_mode)
        except (OSError, TlsError) as error:
            raise ListenError(f"grpc can not listen on {grpc}: {error}") from None
        health.leaving.append(receiver.leave)
        parts.push_async_callback(asyncio.to_thread, receiver.stop, REQUEST_GRACE_S)
        grpc_address = grpc if grpc.startswith(UNIX) else f"{host_of(grpc)}:{port}"
    application, renew = open_http(protocols.http, intake)
    reloadable.tell(
        renew,
        "receivers.otlp.protocols.http.body_idle_timeout",
        "receivers.otlp.protocols.http.body_timeout",
        "receivers.otlp.protocols.http.cors",
        "receivers.otlp.protocols.http.max_request_body_size",
    )
    options = http_options(protocols.http) | {"listener": listener, "shares": shares}
    loop, connections = asyncio.get_running_loop(), options["http"].table
    intake.budget.shed.append(lambda: loop.call_soon_threadsafe(connections.close_idle))
    where = await listen("http", http, application, parts, **options)
    return Receivers(grpc_address, where, application)


def open_keys(settings: Settings, token: str, *, look_every_s: float | None = None) -> tuple[Keys, Gate]:
    """Raises: ServiceError."""
    try:
        keys = Keys(keys_file(settings.data_dir), settings.auth.keys, look_every_s=look_every_s)
        needed = ingest_needs_key(settings, keys=len(keys))
    except (KeysError, ExposureError) as error:
        raise ServiceError(str(error), EX_CONFIG) from None
    return keys, Gate(keys, token=token, ingest_needs_key=needed)


def open_debts(settings: Settings, parts: AsyncExitStack, *, begin: bool = False) -> Debts:
    """What projects owe of their quotas, which workers share by a file.

    Args:
        begin: nobody owes anything yet.

    Raises: ServiceError.
    """
    if not settings.workers:
        return Debts()
    path = settings.data_dir / DEBTS
    with making(path):
        if begin:  # a worker of a collector that was killed may still have the old one
            path.unlink(missing_ok=True)
        debts = Debts(path)
    parts.callback(debts.close)
    return debts


def take_over(
    settings: Settings,
    intake: Intake,
    keys: Keys,
    journals: Mapping[str, Journal],
    lanes: Mapping[str, Readable],
    *,
    processes: int = 1,
) -> None:
    """Has other settings hold.

    Args:
        journals: those that this process writes.
        lanes: those that it reads.
        processes: how many share what is bounded for all.

    Raises: ConfigError.
    """
    keys.give(settings.auth.keys)
    try:
        needed = ingest_needs_key(settings, keys=len(keys))
    except ExposureError as error:
        raise ConfigError(str(error)) from None
    intake.gate.ingest_needs_key = needed
    intake.quotas.take_over(settings.quotas)
    intake.limits = item_limits(settings.receivers.otlp.limits)
    keep_levels(intake.limits.value_depth)
    intake.budget.bound(*memory_bounds(settings.memory, processes))
    for journal in journals.values():
        journal.bound(
            max_bytes=share_of(settings.journal.max_bytes, processes),
            min_free_bytes=settings.journal.min_free_bytes,
            max_queue_bytes=settings.journal.max_queue_size,
        )
    for readable in lanes.values():
        readable.quarantine.mask = masking(settings.redaction)
    intake.max_body_bytes = settings.receivers.otlp.protocols.http.max_request_body_size
    logging.getLogger().setLevel(settings.service.telemetry.log_level.upper())


def open_journal(
    settings: Settings, directory: Path, parts: AsyncExitStack, *, max_bytes: int, followed: bool = False
) -> Journal:
    """Opens the journal of a signal, which is the directory's name; see `Journal` for `followed`.

    Raises: ServiceError.
    """
    signal = directory.name
    journal = Journal(
        directory,
        segment_bytes=min(
            [
                settings.journal.segment_size,
                *(
                    forward.max_waiting_bytes // SEGMENTS_WAITING
                    for _, forward in forwards_of(settings.sinks)
                ),
            ]
        ),
        ack=settings.journal.ack,
        max_queue_bytes=settings.journal.max_queue_size,
        max_bytes=max_bytes,
        min_free_bytes=settings.journal.min_free_bytes,
        on_full=settings.journal.on_full,
        mask=masking(settings.redaction),
        followed=followed,
    )
    # A worker takes a moment to notice that its collector was killed, and has its journals until then.
    give_up_at = time.monotonic() + (LOCK_PATIENCE_S if directory.parent.name != JOURNAL else 0)
    while True:
        try:
            with making(directory):
                journal.open()
            break
        except JournalLockedError as error:
            if time.monotonic() >= give_up_at:
                raise ServiceError(f"another collector runs on {settings.data_dir}", EX_TEMPFAIL) from error
        time.sleep(LOOK_AGAIN_S)
    parts.callback(journal.close)
    with making(directory):
        # Before anything is appended.
        journal.cursor(SINK_CURSOR)
        for name, forward in forwards_of(settings.sinks):
            if signal in forward.signals:
                journal.cursor(cursor_name(name), counts=False)
    return journal


def left_behind(settings: Settings, parts: AsyncExitStack) -> dict[str, Journal]:
    """Journals of workers that there are no more, by lane: what waits in them is stored, and then they are removed.

    Raises: ServiceError.
    """
    found = {}
    for number in workers_in(settings.data_dir):
        if number <= settings.workers:
            continue
        for signal in SIGNALS:
            directory = directory_of(settings.data_dir, number, signal)
            if not directory.is_dir():
                continue
            journal = open_journal(settings, directory, parts, max_bytes=0)
            if journal.is_waited_for or journal.quarantine.files():
                found[lane(signal, number)] = journal
            else:
                journal.close()
                shutil.rmtree(directory)
        with contextlib.suppress(OSError):  # the other signal's is still needed
            directory_of(settings.data_dir, number, SIGNALS[0]).parent.rmdir()
    return found
