"""The proxy as a part of a process: opened with its listener, closed with what it still has to hand on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from collector.config import ProxySettings, Settings
from collector.doors.gate import Gate
from collector.doors.guarded import HeadLimits, guarded
from collector.doors.listening import ListenError, listen
from collector.intake.intake import Intake
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import Signal
from collector.pipeline.redaction import ProjectRules
from collector.pipeline.tombstones import Tombstones
from collector.proxy.app import Proxy, Recorder
from collector.proxy.archive import Archive
from collector.proxy.plugins import SETTING, PluginControl, Plugins
from collector.proxy.recorder import ExchangeRecorder, Outlet, Owner, RetryingOutlet
from collector.proxy.relay import quiet_cut_responses
from collector.proxy.session_file import SessionFile
from collector.proxy.spool import Spool
from collector.proxy.wire import WireCapture
from sinks.clickhouse import Exchanges, Store, StoredSettings
from sinks.clickhouse.exchanges import StoredExchange

log = logging.getLogger(__name__)

SPOOL = "proxy-spool"
"""Directory, below the data's, of what is recorded and not yet safe elsewhere."""
KEEP_ALIVE_S = 120
"""SDKs keep their connections for minutes; one that we close while a request is on its way fails it."""
HEAD = HeadLimits(max_bytes=128 << 10, max_headers=1024)
"""What providers take is theirs to say: clients with large cookies or tokens send heads of 64 KiB."""
MAX_FRAME = 64 << 20
"""Bytes of a WebSocket message from the client."""
CLOSE_S = 5.0
"""Longest wait at the end for calls to be read and handed on."""


class ProxyDoor:
    """Args:
    outlet: where spans go.
    salt: of this installation, for the names of keys.
    wire: is told of every call; None if nothing is captured. It is closed with the door.
    archive: keeps calls as they passed; None if there is no store. It is closed with the door.
    recorder: instead of the one that reads calls, for tests.
    keys: knows our keys, and whether one is needed; nobody needs one if None.
    sessions: has what is remembered of sessions over restarts; nothing is if None.
    """

    def __init__(
        self,
        settings: ProxySettings,
        outlet: Outlet,
        salt: bytes,
        wire: WireCapture | None = None,
        archive: Archive | None = None,
        recorder: Recorder | None = None,
        keys: Gate | None = None,
        sessions: SessionFile | None = None,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self.plugins = Plugins(settings.plugins)
        self._recorder = recorder or ExchangeRecorder(
            settings.capture,
            outlet,
            salt,
            wire,
            archive,
            sessions=sessions,
            by_turn=settings.run.split == "user_turn",
            tool_pending_s=settings.tool.pending_ttl,
        )
        self._proxy: Proxy | None = None

    async def open(
        self, *, otlp: ASGIApp, ready: Callable[[], bool], own_ports: set[int], parts: AsyncExitStack
    ) -> str | None:
        """Listens; returns the URL, None if the proxy is off, or if its port is taken and only the default one.
        Its own port is added to `own_ports`.

        Raises:
            ListenError: the address is taken.
            ValueError: the settings can not be used.
        """
        if isinstance(self._recorder, ExchangeRecorder):
            parts.push_async_callback(asyncio.to_thread, self._recorder.close, CLOSE_S)
        proxy = Proxy(
            self._settings,
            otlp=otlp,
            recorder=self._recorder,
            ready=ready,
            own_ports=lambda: own_ports,
            plugins=self.plugins,
            keys=self._keys,
        )
        if self._settings.endpoint is None:
            return None
        self._proxy = proxy
        parts.callback(quiet_cut_responses())
        parts.push_async_callback(proxy.close)
        try:
            url = await listen(
                "proxy",
                self._settings.endpoint,
                proxy,
                parts,
                http=guarded(HEAD, end_is_leaving=True),
                ws="websockets-sansio",
                ws_max_size=MAX_FRAME,
                timeout_keep_alive=KEEP_ALIVE_S,
                date_header=False,  # the provider's own comes through
            )
        except ListenError as error:
            if "endpoint" in self._settings.model_fields_set:
                raise
            # Nobody asked for this very port: a second collector on a machine is no reason to stay away.
            log.warning("%s; the LLM proxy is off (set proxy.endpoint)", error)
            return None
        if url is not None:
            own_ports.add(urlsplit(url).port or 0)
        return url

    def document(self) -> dict[str, Any] | None:
        """What was relayed and recorded, for the status; None if the proxy is off."""
        return self._proxy.document() if self._proxy is not None else None


def session_file(settings: Settings) -> SessionFile:
    """Where sessions are remembered over restarts."""
    return SessionFile(settings.data_dir / "proxy-sessions.jsonl")


def wire_capture(settings: Settings, rules: ProjectRules) -> WireCapture | None:
    """The wire capture that is asked for; None if none is. `rules` say what it leaves out."""
    if not settings.logging.capture_file or settings.proxy.endpoint is None:
        return None
    return WireCapture(settings.logging, rules)


def archive_in(
    settings: Settings, store: Store, tombstones: Tombstones, rules: ProjectRules
) -> Archive | None:
    """The archive of a collector; None if its proxy is off. `rules` say what it leaves out."""
    if settings.proxy.endpoint is None:
        return None
    exchanges = Exchanges(store)

    def write(calls: Sequence[StoredExchange]) -> None:
        with tombstones.writing():
            kept = [call for call in calls if (call.tenant, call.trace_id) not in tombstones]
            if kept:
                exchanges.write(kept)

    return Archive(write, rules, Spool(settings.data_dir / SPOOL))


def plugin_control(door: ProxyDoor, settings: StoredSettings) -> PluginControl:
    """The door's plugins, as they are kept in the store.

    Raises:
        RetryableError: the store does not answer.
    """

    def read() -> Any:
        kept = settings.get(SETTING)
        return kept.value if kept is not None else None

    return PluginControl(door.plugins, read, lambda value, by: settings.put(SETTING, value, by))


def into(intake: Intake) -> RetryingOutlet:
    """The outlet into the intake of this process."""

    def take(owner: Owner, body: bytes, done: Callable[[bool, bool], None]) -> None:
        tenant, project = owner

        def settled(outcome: Outcome) -> None:
            done(outcome.verdict is Verdict.ACCEPTED, outcome.verdict is Verdict.REFUSED)

        intake.submit(Signal.TRACES, body, tenant=tenant, project=project, done=settled)

    return RetryingOutlet(take)
