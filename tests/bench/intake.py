"""What a durable acknowledgement costs: the same requests to a bare web server that throws them away, and to the
collector (T13, T14).

    python -m tests.bench.intake [--seconds 10] [--workers N]

Both in one run, one after the other, from one sender that takes a core: compare the ratios only. T13 is a thousand
connections with requests of 50 spans and 54 kB; T14 sixty-four with 50 spans of 1 kB. There each connection sends again
as soon as it is answered, so that latency says only how many there are. `steady` is T14 with half as many requests a
second as the collector took then, and latency from the moment at which each was due; `asked` is the same with the
50,000 spans a second that T14 asks for, if it took that many. Batches are worked on meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server import Server

SPANS = 50
ASKED = 50_000
"""Spans a second."""
LOADS = {"T13": (1000, 1080), "T14": (64, 1000)}
"""Connections, and bytes of a span."""
MARK = b"\xff" * 16
MADE = 200
"""Different requests; a number in each makes every one that is sent its own, as nobody stores what comes again."""
NUMBERS = itertools.count(1)
BARE = """
import socket, sys
import uvicorn

async def thrown_away(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

config = uvicorn.Config(thrown_away, loop="uvloop", http="httptools", log_level="error", lifespan="off")
uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])
"""


def requests(size: int) -> list[bytes]:
    """Requests whose trace ids are `MARK`."""
    chance = random.Random(1)
    made = []
    for number in range(MADE):
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        for span in range(SPANS):
            added = scope.spans.add(
                trace_id=MARK,
                span_id=(number * SPANS + span + 1).to_bytes(8),
                name="chat",
                start_time_unix_nano=1_790_000_000 * 10**9,
                end_time_unix_nano=1_790_000_001 * 10**9,
            )
            added.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
            added.attributes.add(key="content").value.string_value = chance.randbytes(size // 2 - 60).hex()
        made.append(request.SerializeToString())
    return made


async def load(
    host: str, port: int, connections: int, size: int, seconds: float, rate: float = 0
) -> list[float]:
    """Seconds that each request took.

    Args:
        rate: requests a second, however long they take; 0: the next one when one is answered.
    """
    bodies = requests(size)
    places = itertools.count()
    took: list[float] = []
    start = time.perf_counter()
    until = start + seconds

    async def client(_: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        while (began := time.perf_counter()) < until:
            number = next(NUMBERS)
            if rate:
                began = start + next(places) / rate
                await asyncio.sleep(began - time.perf_counter())
            body = bodies[number % MADE].replace(MARK, number.to_bytes(16))
            writer.write(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: "
                + str(len(body)).encode()
                + b"\r\n\r\n"
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"refused: {head!r}")
            took.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*map(client, range(connections)))
    return took


@contextmanager
def bare() -> Iterator[tuple[str, int]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        process = subprocess.Popen(
            [sys.executable, "-c", BARE, str(listener.fileno())], pass_fds=[listener.fileno()]
        )
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            process.wait()


@contextmanager
def collector(workers: int) -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "data", environ={"EDDYLINE_WORKERS": str(workers)}).start()
        try:
            host, _, port = server.endpoints["http"].removeprefix("http://").partition(":")
            yield host, int(port)
        finally:
            server.kill()


def told(name: str, what: str, took: list[float], seconds: float) -> float:
    """Prints how it went; returns requests a second."""
    took = sorted(took)
    rate = len(took) / seconds
    print(
        f"{name} {what:<10} {rate:>8.0f} requests/s {rate * SPANS:>9.0f} spans/s   "
        f"p50 {took[len(took) // 2] * 1000:>7.1f} ms   p99 {took[len(took) * 99 // 100] * 1000:>7.1f} ms",
        flush=True,
    )
    return rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    seconds: float = asked.seconds
    for name, (connections, size) in LOADS.items():
        rates = []
        for what, running in (("bare", bare()), ("collector", collector(asked.workers))):
            with running as (host, port):
                uvloop.run(load(host, port, connections, size, 1))
                took = uvloop.run(load(host, port, connections, size, seconds))
                rates.append(told(name, what, took, seconds))
                if name == "T14" and what == "collector":
                    steady = {"steady": rates[-1] / 2}
                    if rates[-1] * SPANS >= ASKED:
                        steady["asked"] = ASKED / SPANS
                    for how, rate in steady.items():
                        told(
                            name, how, uvloop.run(load(host, port, connections, size, seconds, rate)), seconds
                        )
        print(f"{name} ratio      {rates[1] / rates[0]:.2f}")


if __name__ == "__main__":
    main()
