"""OTLP/gRPC: one generic service that receives raw bytes, so that both transports share one intake."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from collector.doors.gate import Caller, ForbiddenError, UnauthenticatedError
from collector.doors.listening import UNIX, clear_socket
from collector.intake.intake import ADMISSION_S, COMMIT_S, RETRY_AFTER_S, Intake, Submission
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import Signal
from collector.otlp.status import PROTOBUF, Code, export_response, retry_trailers
from collector.receivers.senders import Senders

log = logging.getLogger(__name__)

_METHODS = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": Signal.TRACES,
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": Signal.LOGS,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": Signal.METRICS,
}
_SERVICES = [method.split("/")[1] for method in _METHODS]
IDENTITY_AND_GZIP = 0b101
"""Of `grpc_compression_algorithm`: what OTLP says a server takes. gRPC by itself takes deflate too, and
ends calls in anything else, as in what is not among these, as unimplemented."""
ANSWER_BEFORE_DEADLINE_S = 0.2
"""How long before its client gives up a request is answered."""

_CODES = {
    Verdict.BAD: grpc.StatusCode.INVALID_ARGUMENT,
    Verdict.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,  # without RetryInfo: it will not get smaller
    Verdict.UNKNOWN_ENCODING: grpc.StatusCode.UNIMPLEMENTED,
    Verdict.REFUSED: grpc.StatusCode.UNAVAILABLE,
    Verdict.OVER_QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
MOST_REFUSED = 2000
"""Calls that are being told to come back at a time. gRPC ends further ones by itself, as exhausted, which says to some
clients that trying again is no use."""


class _Pool(ThreadPoolExecutor):
    """Threads, and how many calls they have: those that run and those that wait.

    gRPC ends calls by itself whose message is larger than may be, also while it inflates them, and tells nobody. It has
    a thread of these wait for the message first, and if there is none the handler is never called.

    Args:
        unread: told of the signal of each call that has ended without a message.
    """

    def __init__(self, threads: int, name: str, unread: Callable[[Signal], None]) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._unread = unread
        self._running = threading.local()
        self.calls = 0
        self.next: Signal | None = None
        """Of the call that is submitted next, which one thread of gRPC does as soon as it knows the handler."""

    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        signal, self.next = self.next, None
        if signal is not None:
            call = (self._watched, signal, *call)
        future = super().submit(*call, **options)
        with self._lock:
            self.calls += 1
        future.add_done_callback(self._done)
        return future

    def note_read(self) -> None:
        """The message is there of the call that this thread runs."""
        self._running.is_read = True

    def _watched(self, signal: Signal, call: Callable[..., Any], *arguments: Any) -> Any:
        self._running.is_read = False
        try:
            return call(*arguments)
        finally:
            if not self._running.is_read:
                self._unread(signal)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self.calls -= 1


@dataclass(frozen=True, slots=True)
class Connections:
    """How connections are kept. Seconds."""

    min_ping_interval: float = 5.0
    """Clients may ping this often; gRPC by itself takes 300 s and sends those away that ping each 10 s."""
    max_age: float = 3600.0
    """Then a client is asked to connect anew, so that load balancers can spread clients."""
    max_age_grace: float = 30.0
    max_streams: int = 100
    """Calls at a time on one connection."""
    connect_timeout: float = 5.0
    """For a client that connected to say that it speaks HTTP/2, and TLS before that."""
    max_header_bytes: int = 32 << 10
    """Metadata of a call, as HTTP/2 counts it: names, values, and 32 bytes for each."""
    max_open: int = 2000
    """Further connections are closed; gRPC can not choose an idle one instead."""
    shares_port: bool = False
    """Other processes of this collector listen on the same port. Never otherwise: two collectors on one port would each
    get half of the traffic, silently."""

    def options(self) -> list[tuple[str, int]]:
        refused_bytes = self.max_header_bytes + 1
        return [
            ("grpc.so_reuseport", int(self.shares_port)),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", round(self.min_ping_interval * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_connection_age_ms", round(self.max_age * 1000)),
            ("grpc.max_connection_age_grace_ms", round(self.max_age_grace * 1000)),
            ("grpc.max_concurrent_streams", self.max_streams),
            ("grpc.server_handshake_timeout_ms", round(self.connect_timeout * 1000)),
            # Between these two calls would be refused at random.
            ("grpc.max_metadata_size", refused_bytes),
            ("grpc.absolute_max_metadata_size", refused_bytes),
            ("grpc.max_allowed_incoming_connections", self.max_open),
            ("grpc.compression_enabled_algorithms_bitset", IDENTITY_AND_GZIP),
        ]


class GrpcReceiver(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The server.

    Args:
        max_message_bytes: for a message once it is inflated.
        workers: requests handled at a time; as many again may wait, further ones are told to come back.
        client_projects: by the names in clients' certificates.
        reflection: whether anybody may ask which services there are.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        max_message_bytes: int,
        workers: int,
        connections: Connections | None = None,
        client_projects: Mapping[str, str] | None = None,
        reflection: bool = False,
    ) -> None:
        self._intake = intake
        self._senders = Senders(intake, str, _text, client_projects)
        self._handlers = {
            method: grpc.unary_unary_rpc_method_handler(self._exporter(signal))
            for method, signal in _METHODS.items()
        }
        self._refusing = ThreadPoolExecutor(1, thread_name_prefix="grpc-refusing")
        self._refusals = {
            method: grpc.stream_unary_rpc_method_handler(self._refuser(signal))
            for method, signal in _METHODS.items()
        }
        self._health = health.HealthServicer()
        self._held_back = threading.Semaphore(max(1, workers // 4))
        self._pool = _Pool(workers, "grpc", self._note_unread)
        self._most_calls = workers * 2
        self._server = grpc.server(
            self._pool,
            handlers=(self,),
            options=[
                *(connections or Connections()).options(),
                ("grpc.max_receive_message_length", max_message_bytes),
            ],
            maximum_concurrent_rpcs=self._most_calls + MOST_REFUSED,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflection:
            _reflect(self._server)

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if self._pool.calls >= self._most_calls:
            return self._refusals.get(method)
        self._pool.next = _METHODS.get(method)
        return self._handlers.get(method)

    def start(self, endpoint: str, credentials: Any = None, *, socket_mode: str = "0660") -> int:
        """Listens, with TLS if there are credentials; returns the port, of which a Unix socket has none.

        Raises:
            OSError: the endpoint can not be listened on.
        """
        path = clear_socket(endpoint) if endpoint.startswith(UNIX) else None
        try:
            if credentials is None:
                port = int(self._server.add_insecure_port(endpoint))
            else:
                port = int(self._server.add_secure_port(endpoint, credentials))
        except RuntimeError as error:
            raise OSError(str(error)) from error
        self._server.start()
        if path is not None:
            path.chmod(int(socket_mode, 8))
        for service in ("", *_SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    def leave(self) -> None:
        """Says that it is not serving, and goes on to serve."""
        self._health.enter_graceful_shutdown()

    def stop(self, grace_s: float) -> None:
        """Lets requests in flight end for `grace_s` seconds, and closes."""
        self.leave()
        self._server.stop(grace_s).wait()
        self._pool.shutdown()
        self._refusing.shutdown()

    def _exporter(self, signal: Signal) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            self._pool.note_read()
            metadata = dict(context.invocation_metadata())
            caller = self._caller(metadata, context)
            outcome = self._take(signal, body, metadata, caller, context)
            self._end_unless_accepted(outcome, context)
            said = self._intake.said(outcome, _peer(context))
            return export_response(signal, PROTOBUF, outcome.rejected, said)

        return export

    def _refuser(self, signal: Signal) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
        """What ends calls for which no thread is free. As a stream, so that it does not wait for a message, and by a
        thread of its own."""

        def refuse(_: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            self._end_unless_accepted(self._intake.refuse(signal, "grpc"), context)
            raise AssertionError("abort raises")

        refuse.experimental_thread_pool = self._refusing  # type: ignore[attr-defined]  # grpc looks for it there
        return refuse

    def _note_unread(self, signal: Signal) -> None:
        self._intake.unread(signal, "grpc")
        log.warning(
            "calls over grpc ended before their message was there: it is larger than "
            "receivers.otlp.protocols.grpc.max_recv_msg_size, or its client gave up"
        )

    @staticmethod
    def _end_unless_accepted(outcome: Outcome, context: grpc.ServicerContext) -> None:
        if outcome.verdict is Verdict.REFUSED:
            context.set_trailing_metadata(retry_trailers(outcome.message, RETRY_AFTER_S))
        if outcome.verdict is Verdict.OVER_QUOTA:
            context.set_trailing_metadata(
                retry_trailers(outcome.message, outcome.retry_after_s, Code.RESOURCE_EXHAUSTED)
            )
        if outcome.verdict is not Verdict.ACCEPTED:
            context.abort(_CODES[outcome.verdict], outcome.message)

    def _caller(self, metadata: dict[str, str | bytes], context: grpc.ServicerContext) -> Caller:
        """Whom the call comes from; ends the call if they may not send."""
        peer = _peer(context)
        try:
            return self._senders.admit(metadata, peer)
        except UnauthenticatedError as error:
            if (pause := self._intake.gate.pause_s(peer)) and self._held_back.acquire(blocking=False):
                time.sleep(pause)
                self._held_back.release()
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except ForbiddenError as error:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        raise AssertionError("abort raises")

    def _take(
        self,
        signal: Signal,
        body: bytes,
        metadata: dict[str, str | bytes],
        caller: Caller,
        context: grpc.ServicerContext,
    ) -> Outcome:
        project = self._senders.project(caller, metadata, lambda: _certificate_names(context))
        if over := self._intake.over_quota(signal, "grpc", caller.tenant, project, len(body)):
            return over
        left = context.time_remaining()
        patience = COMMIT_S if left is None else min(COMMIT_S, max(0.0, left - ANSWER_BEFORE_DEADLINE_S))
        reservation = self._intake.reserve()
        until = time.monotonic() + min(ADMISSION_S, patience)
        while not reservation.grow_to(max(len(body), 1)):
            if time.monotonic() > until:
                return self._intake.refuse(signal, "grpc")
            time.sleep(0.01)
        taken = threading.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            taken.set()

        request = Submission(
            signal, body, "grpc", tenant=caller.tenant, project=project, reservation=reservation
        )
        self._intake.take(request, done)
        if not taken.wait(patience):
            return Outcome(Verdict.REFUSED, message="the journal did not answer in time")
        return outcomes[0]


def _reflect(server: Any) -> None:
    """Answers which services there are, and with what messages."""
    from grpc_reflection.v1alpha import reflection
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    described = (health_pb2, trace_service_pb2, logs_service_pb2, metrics_service_pb2)  # by being imported
    names = [service.full_name for file in described for service in file.DESCRIPTOR.services_by_name.values()]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)


def _peer(context: grpc.ServicerContext) -> str:
    """The client's address as the other transport has it; gRPC says `ipv4:127.0.0.1:4711` and `ipv6:%5B::1%5D:4711`."""
    scheme, _, address = context.peer().partition(":")
    return unquote(address).rpartition(":")[0].strip("[]") if scheme != "unix" else ""


def _certificate_names(context: grpc.ServicerContext) -> Iterator[str]:
    """The names in the client's certificate, if it has one."""
    return map(_text, context.auth_context().get("x509_subject_alternative_name", ()))


def _text(value: str | bytes) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).strip()
