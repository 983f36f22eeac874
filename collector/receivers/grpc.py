"""OTLP/gRPC: one generic service that receives raw bytes, so that both transports share one intake."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from collector.intake import RETRY_AFTER_S, Intake, Outcome, Verdict
from collector.otlp import Signal
from collector.otlp.status import PROTOBUF, export_response, retry_trailers

_METHODS = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": Signal.TRACES,
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": Signal.LOGS,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": Signal.METRICS,
}
PROJECT_KEYS = ("x-eddyline-project", "x-loop-project")
COMMIT_S = 8.0
"""Longest wait for the journal: an exporter that has no answer after 10 s drops its batch."""

OPTIONS = (
    ("grpc.so_reuseport", 0),  # two collectors on one port would each get half of the traffic, silently
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),  # clients that ping each 10 s are fine
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_age_ms", 3_600_000),  # so that load balancers can spread clients anew
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.max_concurrent_streams", 100),
)


class GrpcReceiver(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """The server.

    Args:
        max_message_bytes: for a message once it is inflated.
        workers: requests handled at a time; as many again may wait, further ones are told to come back.
    """

    def __init__(self, intake: Intake, *, max_message_bytes: int, workers: int) -> None:
        self._intake = intake
        self._handlers = {
            method: grpc.unary_unary_rpc_method_handler(self._exporter(signal))
            for method, signal in _METHODS.items()
        }
        self._health = health.HealthServicer()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="grpc")
        self._server = grpc.server(
            self._pool,
            handlers=(self,),
            options=(*OPTIONS, ("grpc.max_receive_message_length", max_message_bytes)),
            maximum_concurrent_rpcs=workers * 2,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)

    def start(self, endpoint: str) -> int:
        """Listens; returns the port.

        Raises:
            OSError: the endpoint can not be listened on.
        """
        try:
            port = int(self._server.add_insecure_port(endpoint))
        except RuntimeError as error:
            raise OSError(str(error)) from error
        self._server.start()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        return port

    def stop(self, grace_s: float) -> None:
        """Says that it is not serving, lets requests in flight end for `grace_s` seconds, closes."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._pool.shutdown()

    def _exporter(self, signal: Signal) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            outcome = self._take(signal, body, context)
            if outcome.verdict is Verdict.BAD:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, outcome.message)
            if outcome.verdict is Verdict.REFUSED:
                context.set_trailing_metadata(retry_trailers(outcome.message, RETRY_AFTER_S))
                context.abort(grpc.StatusCode.UNAVAILABLE, outcome.message)
            return export_response(signal, PROTOBUF, outcome.rejected, outcome.message)

        return export

    def _take(self, signal: Signal, body: bytes, context: grpc.ServicerContext) -> Outcome:
        metadata = dict(context.invocation_metadata())
        project = next((text for key in PROJECT_KEYS if (text := _text(metadata.get(key)))), "")
        taken = threading.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            taken.set()

        self._intake.take(signal, body, json=False, transport="grpc", project=project, done=done)
        if not taken.wait(COMMIT_S):
            return Outcome(Verdict.REFUSED, message="the journal did not answer in time")
        return outcomes[0]


def _text(value: str | bytes | None) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value or "").strip()
