"""The proxy's listener as one ASGI application: what is ours by its path, everything else to a provider."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from collector.config import ProxySettings
from collector.doors.exposure import LOOPBACK_HOSTS
from collector.doors.gate import ANYBODY, Caller
from collector.doors.gate import Gate as KeyGate
from collector.proxy import websocket
from collector.proxy.admission import NEEDED, OTEL, Admission
from collector.proxy.changing import AnswerChanges, changed_request, gathered, giving
from collector.proxy.context import Context, read_context
from collector.proxy.errors import Error, RelayError, answer
from collector.proxy.framelog import FrameLog, FrameTape
from collector.proxy.frames import ResponseFrames
from collector.proxy.gate import Gate
from collector.proxy.guard import Guard
from collector.proxy.headers import with_header
from collector.proxy.injected import Injected
from collector.proxy.live import LiveFrames
from collector.proxy.numbers import METRICS_TYPE, prometheus
from collector.proxy.plugins import Changes, Plugins
from collector.proxy.relay import Relay, drop
from collector.proxy.routes import Route, Routes
from collector.proxy.tape import Tape
from collector.proxy.usage import asking_for_usage, may_be_asked
from collector.telemetry.telemetry import about

log = logging.getLogger(__name__)

OWN = "/-/"
NAME = b"x-loop-run-name"
RUN = "/-/run/"
"""`/-/run/{trace id}/…` is `/…` with that trace, for programs that can be given a base URL and no header; after the
trace id may stand `~` and the name of the run."""


class Recorder(ABC):
    """Where finished tapes go; decides before a call whether it gets one."""

    @abstractmethod
    def begin(self, scope: Scope, route: Route, context: Context) -> Tape | None:
        """A tape for the call; None if it is not recorded."""

    def begin_frames(self, scope: Scope, route: Route, context: Context) -> Callable[[], FrameTape] | None:
        """What gives tapes for all messages of a WebSocket; None if they are not captured."""
        return None

    @abstractmethod
    def finish(self, tape: Tape) -> None:
        """The call is over."""

    def document(self) -> dict[str, Any]:
        """What was recorded, for the status."""
        return {}


@dataclass(slots=True)
class Counts:
    """Calls since the start."""

    requests: Counter[str]
    """By upstream."""
    errors: Counter[str]
    """Our own answers by their word."""
    open: int = 0


class Proxy:
    """The ASGI application.

    Args:
        otlp: takes what comes in below `/otel/`.
        recorder: None relays without taking notes.
        ready: whether `/-/readyz` says yes.
        own_ports: ports of our own doors, which are no targets.
        keys: knows our keys, and whether one is needed; nobody needs one if None.
        plugins: which calls are not recorded, and what is changed in calls; those of the settings if None.

    Raises:
        ValueError: the settings can not be used.
    """

    def __init__(
        self,
        settings: ProxySettings,
        *,
        otlp: ASGIApp,
        recorder: Recorder | None = None,
        ready: Callable[[], bool] = lambda: True,
        own_ports: Callable[[], set[int]] = set,
        plugins: Plugins | None = None,
        keys: KeyGate | None = None,
    ) -> None:
        self._admission = Admission(keys)
        self._plugins = plugins or Plugins(settings.plugins)
        gate = Gate(
            enabled=settings.local.enabled,
            allow=settings.local.allow,
            paths=settings.local.paths,
            own_ports=own_ports,
        )
        self._settings = settings
        self._asks_for_usage = settings.usage.inject == "auto"
        self._gate = gate
        self.routes = Routes(settings, gate)
        needs_key = keys is not None and keys.ingest_needs_key
        self._guard = Guard(None if needs_key else (*LOOPBACK_HOSTS, *settings.hosts), settings.origins)
        self._otlp = otlp
        self._recorder = recorder
        self._ready = ready
        self._relay: Relay | None = None
        self.counts = Counts(Counter(), Counter())

    async def close(self) -> None:
        if self._relay is not None:
            await self._relay.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            return
        path: str = scope["raw_path"].decode("latin-1")
        family = family_by_path(path)
        body_is_read = False
        try:
            self._guard.check(scope["headers"])
            caller, path, key = self._admission.admit(scope, path)
            trace_id, name, path = _split_run(path)
            if name and not any(given == NAME for given, _ in scope["headers"]):
                scope = {**scope, "headers": [*scope["headers"], (NAME, name.encode("latin-1"))]}
            if path.startswith(OWN) or (
                path == "/" and scope.get("method") == "GET" and not self._settings.upstream
            ):
                await self._own(path, send)
                return
            if path.startswith(OTEL):
                if key:
                    headers = with_header(scope["headers"], b"x-api-key", key.encode("latin-1"))
                    raw_path = path.encode("latin-1")
                    scope = {**scope, "path": path, "raw_path": raw_path, "headers": headers}
                await self._otlp(scope, receive, send)
                return
            family = family_by_path(path)
            query = scope["query_string"].decode("latin-1")
            route = self.routes.find("GET" if kind == "websocket" else scope["method"], path, query)
            if route.upstream.family != "openai":
                family = route.upstream.family
            if route.upstream.injected is not None:
                route = _for_who_has_a_key(route, route.upstream.injected, caller)
            self.counts.requests[route.upstream.name] += 1
            self.counts.open += 1
            body_is_read = True
            try:
                await self._forward(scope, receive, send, route, trace_id, caller)
            finally:
                self.counts.open -= 1
        except RelayError as error:
            self.counts.errors[error.error.word] += 1
            if error.error is Error.KEY:
                await self._admission.hold_back(scope)
            if kind == "websocket":
                await websocket.refuse(send, error, family)
                return
            headers, body = answer(error.error, str(error), family)
            if not body_is_read:
                await drop(receive)
            await send({"type": "http.response.start", "status": error.error.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, route: Route, trace_id: str, caller: Caller
    ) -> None:
        if self._relay is None:
            self._relay = Relay(
                self._gate,
                self._settings.timeouts,
                sse_hints=self._settings.sse_hints,
                keepalive_s=self._settings.sse_keepalive,
            )
        context = read_context(scope["headers"], self._settings.project, trace_id, caller)
        if scope["type"] == "websocket":
            if not websocket.is_served(route.path):
                raise RelayError(Error.UPGRADE, "there is no WebSocket here; use HTTP")
            frames = self._frames(scope, route, context)
            await websocket.relay_websocket(scope, receive, send, self._relay, route, frames, [])
            return
        tape = self._begin(scope, route, context)
        extra = self._response_headers(context, tape)
        changes = self._plugins.changes(route.path, context.project)
        answer_changes: AnswerChanges | None = None
        if changes is not None:
            used: list[str] = tape.mutations if tape is not None else []
            scope, receive = await self._changed(scope, receive, changes, tape, used)
            if changes.response:
                answer_changes = AnswerChanges(changes.response, used)
        if tape is not None and route.upstream.injects:
            scope = _with_parent(scope, context, tape)
        hide_usage = False
        if tape is not None and self._asks_for_usage and may_be_asked(route):
            scope, receive, hide_usage = await _asking(scope, receive, tape)
        try:
            await self._relay.relay(
                scope, receive, send, route, tape, extra, changes=answer_changes, hide_usage=hide_usage
            )
        finally:
            if changes is not None and used:
                self._plugins.changed += 1
            if tape is not None and self._recorder is not None:
                self._recorder.finish(tape)

    def _begin(self, scope: Scope, route: Route, context: Context) -> Tape | None:
        if self._recorder is None or self._plugins.skips(route.path, context.project):
            return None
        return self._recorder.begin(scope, route, context)

    async def _changed(
        self, scope: Scope, receive: Receive, changes: Changes, tape: Tape | None, used: list[str]
    ) -> tuple[Scope, Receive]:
        """The request as it is to be sent: changed, and such that its answer can be."""
        headers = list(scope["headers"])
        if changes.response:
            headers = with_header(headers, b"accept-encoding", b"identity")
        if changes.request and not any(name == b"content-encoding" for name, _ in headers):
            body, receive = await gathered(receive)
            if body is not None:
                changed = body
                try:
                    changed, used[:] = changed_request(body, changes.request)
                except Exception:
                    self._plugins.failed += 1
                    subject = about(tape.context.tenant, tape.context.trace_id) if tape is not None else {}
                    log.exception("a request could not be changed; it passes as it came", extra=subject)
                if changed != body:
                    if tape is not None:
                        tape.sent_before(body)
                    headers = with_header(headers, b"content-length", str(len(changed)).encode())
                receive = giving(changed, receive)
        return {**scope, "headers": headers}, receive

    def _frames(self, scope: Scope, route: Route, context: Context) -> websocket.Frames | None:
        recorder = self._recorder
        if recorder is None:
            return None
        calls: LiveFrames | ResponseFrames
        if route.path.removesuffix("/").endswith(websocket.LIVE):
            calls = LiveFrames(lambda: self._begin(scope, route, context), recorder.finish)
        else:
            model = route.url.query.get("model", "")
            calls = ResponseFrames(lambda: self._begin(scope, route, context), recorder.finish, model)
        skipped = self._plugins.skips(route.path, context.project)
        begin = None if skipped else recorder.begin_frames(scope, route, context)
        return calls if begin is None else FrameLog(calls, begin, recorder.finish)

    def _response_headers(self, context: Context, tape: Tape | None) -> list[tuple[bytes, bytes]]:
        if tape is None or not self._settings.response_headers:
            return []
        headers = [(b"x-loop-span-id", tape.span_id.encode())]
        if context.trace_id:
            headers.append((b"x-loop-trace-id", context.trace_id.encode()))
        return headers

    # ------------------------------------------------------------------- ours

    async def _own(self, path: str, send: Send) -> None:
        status, document = 200, {}
        match path:
            case "/":
                document = {
                    "name": "eddyline proxy",
                    "version": version("eddyline"),
                    "routes": [*self.routes.names(), "/otel/v1/traces"],
                }
            case "/-/healthz":
                document = {"status": "ok"}
            case "/-/readyz":
                ready = self._ready()
                status, document = (200 if ready else 503), {"status": "ready" if ready else "not ready"}
            case "/-/status":
                document = self.document()
            case "/-/metrics":
                await _answer(send, 200, prometheus(self.document()), METRICS_TYPE)
                return
            case _:
                status, document = 404, {"error": "nothing is here"}
        await _answer(send, status, orjson.dumps(document), b"application/json")

    def document(self) -> dict[str, Any]:
        """What was relayed, for the status."""
        return {
            "requests": dict(self.counts.requests),
            "errors": dict(self.counts.errors),
            "open": self.counts.open,
            "plugins": {
                "source": self._plugins.source,
                "changed": self._plugins.changed,
                "failed": self._plugins.failed,
            },
            "recorder": self._recorder.document() if self._recorder is not None else {},
        }


async def _answer(send: Send, status: int, body: bytes, media_type: bytes) -> None:
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _asking(scope: Scope, receive: Receive, tape: Tape) -> tuple[Scope, Receive, bool]:
    """The request as it is to be sent so that tokens are counted, and whether it was changed."""
    if any(name == b"content-encoding" for name, _ in scope["headers"]):
        return scope, receive, False
    body, receive = await gathered(receive)
    if body is None:
        return scope, receive, False
    asking = asking_for_usage(body)
    receive = giving(asking, receive)
    if asking == body:
        return scope, receive, False
    tape.usage_asked_for = True
    headers = with_header(list(scope["headers"]), b"content-length", str(len(asking)).encode())
    headers = with_header(headers, b"accept-encoding", b"identity")  # to find the event, it must be readable
    return {**scope, "headers": headers}, receive, True


def _with_parent(scope: Scope, context: Context, tape: Tape) -> Scope:
    """The request as a child of the call's span; as it is where the trace is not known before the body is read."""
    if not context.trace_id:
        return scope
    parent = f"00-{context.trace_id}-{tape.span_id}-01".encode()
    headers = with_header(scope["headers"], b"traceparent", parent)
    if not context.from_traceparent:  # it is another trace's
        headers = [(name, value) for name, value in headers if name != b"tracestate"]
    return {**scope, "headers": headers}


def _for_who_has_a_key(route: Route, injected: Injected, caller: Caller) -> Route:
    """The route of a call that gets a key put in.

    Raises:
        RelayError: who calls has shown no key of ours, which no setting and no address stands for here.
    """
    if caller is ANYBODY:
        raise RelayError(Error.KEY, NEEDED)
    return replace(route, url=injected.without_placeholder(route.url))


def _split_run(path: str) -> tuple[str, str, str]:
    """(trace id, name of the run, the path below); both are "" unless the path begins with them."""
    if not path.startswith(RUN):
        return "", "", path
    run, _, rest = path[len(RUN) :].partition("/")
    trace_id, _, name = run.partition("~")
    if len(trace_id) != 32 or not set(trace_id) <= set("0123456789abcdef"):
        raise RelayError(Error.ROUTE, f"after {RUN} comes a trace id of 32 hex digits")
    return trace_id, name, "/" + rest


def family_by_path(path: str) -> str:
    """Whose words a client expects that asks for this path."""
    if path.startswith("/anthropic/") or path.endswith(("/messages", "/messages/count_tokens")):
        return "anthropic"
    if path.endswith(("/api/chat", "/api/generate", "/api/embed")):
        return "ollama"
    if "/model/" in path:
        return "bedrock"
    return "gemini" if ":" in path.rpartition("/")[2] else "openai"
