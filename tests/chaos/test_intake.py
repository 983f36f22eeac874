"""Memory and slow clients at full size (T9, T12, T15): minutes and gigabytes, so only by `make chaos`."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.collector.receivers.test_http import PROTOBUF, request
from tests.sending import TRACES
from tests.server import Server

MIB = 1 << 20


def resident(server: Server) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096


class Healthy:
    """A client that sends small requests all along, and notes how long each took."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.peak = 0
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Healthy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _send(self) -> None:
        body = request(0x9000001).SerializeToString()
        with httpx.Client(base_url=self._server.endpoints["http"], timeout=20) as client:
            while not self._ended.wait(0.05):
                started = time.monotonic()
                response = client.post("/v1/traces", content=body, headers={"Content-Type": PROTOBUF})
                self.seconds.append(time.monotonic() - started)
                self.statuses[response.status_code] += 1
                self.peak = max(self.peak, resident(self._server))

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


def large(number: int, size: int) -> ExportTraceServiceRequest:
    made = request(number)
    span = made.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="gen_ai.prompt.0.content").value.string_value = "x" * size
    return made


def test_T9_many_large_bodies_at_once_do_not_fill_the_memory(data_dir: Path) -> None:
    server = Server(data_dir, "--set", "memory.inflight=96MiB").start()
    body = large(0x9100000, 20 * MIB).SerializeToString()
    before = resident(server)
    statuses: Counter[int | str] = Counter()

    def send() -> None:
        try:
            response = httpx.post(
                f"{server.endpoints['http']}/v1/traces",
                content=body,
                headers={"Content-Type": PROTOBUF},
                timeout=60,
            )
            statuses[response.status_code] += 1
        except httpx.TransportError as error:
            statuses[type(error).__name__] += 1

    with Healthy(server) as healthy:
        for _ in range(4):
            senders = [threading.Thread(target=send) for _ in range(50)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
    print(f"T9: {statuses}, peak +{(healthy.peak - before) // MIB} MiB, p99 {healthy.p99 * 1000:.0f} ms")
    assert statuses[200] > 0
    assert healthy.peak - before < 512 * MIB
    assert httpx.get(f"{server.endpoints['api']}/readyz").status_code == 200
    assert server.stop() == 0


@pytest.mark.parametrize("kind", ["silent", "head", "body"])
def test_T12_a_thousand_slow_clients_cost_a_healthy_one_nothing(server: Server, kind: str) -> None:
    host, port = server.endpoints["http"].removeprefix("http://").split(":")
    sent = {
        "silent": b"",
        "head": b"POST /v1/traces HTTP/1.1\r\nX-Slow: ",
        "body": b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: 100\r\n\r\n",
    }[kind]
    before = resident(server)
    started = time.monotonic()
    with Healthy(server) as healthy:
        slow = [socket.create_connection((host, int(port)), timeout=40) for _ in range(1000)]
        for connection in slow:
            connection.sendall(sent)
        for connection in slow:
            while connection.recv(4096):
                pass
            connection.close()
        cut_after = time.monotonic() - started
    print(
        f"T12 {kind}: cut after {cut_after:.1f} s, p99 {healthy.p99 * 1000:.0f} ms, "
        f"+{(healthy.peak - before) // MIB} MiB"
    )
    assert cut_after <= 35
    assert set(healthy.statuses) == {200}


def test_T15_giants_are_stored_cut_or_refused_on_both_transports(server: Server) -> None:
    prompt = large(0x9200001, 30 * MIB).SerializeToString()
    hundred_thousand = request(0x9200002, spans=100_000).SerializeToString()
    url = f"{server.endpoints['http']}/v1/traces"
    headers = {"Content-Type": PROTOBUF}
    with Healthy(server) as healthy, httpx.Client(timeout=60) as client:
        for body in (prompt, hundred_thousand):
            answer = client.post(url, content=body, headers=headers)
            said = ExportTraceServiceResponse.FromString(answer.content).partial_success
            assert (answer.status_code, said.rejected_spans) == (200, 0)
        padding = b"\xba\x3e"  # an unknown field
        for size, status in ((64 * MIB, 200), (64 * MIB + 1, 413)):
            length = size - len(padding) - 4
            encoded = bytes(
                [length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21]
            )
            body = padding + encoded + b"x" * length
            assert len(body) == size
            assert client.post(url, content=body, headers=headers).status_code == status
            options = [("grpc.max_send_message_length", -1)]
            with grpc.insecure_channel(server.endpoints["grpc"], options=options) as channel:
                call = channel.unary_unary(TRACES)
                if status == 200:
                    assert ExportTraceServiceResponse.FromString(call(body, timeout=60)) is not None
                else:
                    with pytest.raises(grpc.RpcError) as error:
                        call(body, timeout=60)
                    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    print(f"T15: p99 of a small client {healthy.p99 * 1000:.0f} ms")
    server.settled(120)
    run = server.get(f"/runs/{(b'http' + (0x9200001).to_bytes(12, 'big')).hex()}")
    assert run["counts"]["spans"] == 1
