"""`eddyline doctor`: why does nothing arrive? Looks at the environment of a program, at what listens, and sends spans
by each protocol until they can be asked for."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"

ANSWER_S = 5.0
QUERYABLE_S = 15.0
"""Longest wait until a span that was taken can be asked for."""
SKEW_WARNING_S, SKEW_FAILED_S = 2.0, 60.0
"""`Date` headers count in seconds, so less than two mean nothing."""
LOW_DISK = 0.05
"""Share of a disk below which its free space is worth a word."""
PROTOCOLS = {
    "grpc": "OTLP/gRPC",
    "http/protobuf": "OTLP/HTTP with protobuf",
    "http/json": "OTLP/HTTP with JSON",
}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PORTS = {4317: "grpc", 4318: "http"}
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    state: str
    """`ok`, `warning`, `failed` or `skipped`."""
    detail: str
    fix: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What is looked at.

    Args:
        endpoint: where a program sends by `protocol`; "" for the doors of the collector that runs here.
        api: address of the JSON API, "" if none is known.
        directory: the data directory, None if the collector is elsewhere.
    """

    environ: Mapping[str, str]
    endpoint: str = ""
    http: str = ""
    grpc: str = ""
    proxy: str = ""
    api: str = ""
    token: str = ""
    store: str = ""
    """URL of the ClickHouse server that is configured, "" for the embedded engine."""
    directory: Path | None = None


def diagnose(doors: Doors, *, clock_s: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Findings, as they are made."""
    yield from _environment(doors)
    status = yield from _collector(doors, clock_s)
    yield from disk(doors, status)
    yield from store(doors, status)
    yield from _journeys(doors, status)
    yield from _proxy(doors)


# --------------------------------------------------------------------------- what a program is told


def _environment(doors: Doors) -> Iterator[Finding]:
    environ = doors.environ
    endpoint = doors.endpoint or _variable(environ, "ENDPOINT")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield Finding("environment", FAILED, "OTEL_SDK_DISABLED is true: the SDK sends nothing", "unset it")
    exporters = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if "otlp" not in exporters:
        yield Finding(
            "environment",
            FAILED,
            f"OTEL_TRACES_EXPORTER is {exporters!r}: traces go elsewhere",
            "export OTEL_TRACES_EXPORTER=otlp",
        )
    if environ.get("OTEL_TRACES_SAMPLER", "").endswith("always_off"):
        yield Finding("environment", FAILED, "OTEL_TRACES_SAMPLER drops every trace", "unset it")
    if not endpoint:
        yield Finding(
            "environment",
            WARNING,
            "OTEL_EXPORTER_OTLP_ENDPOINT is not set here: programs send to the default ports of this machine",
            f"export OTEL_EXPORTER_OTLP_ENDPOINT={doors.http or 'http://127.0.0.1:4318'}",
        )
        return
    protocol = _variable(environ, "PROTOCOL")
    spoken = _spoken(protocol)
    if not urlsplit(endpoint).scheme or not urlsplit(endpoint).hostname:
        yield Finding(
            "environment",
            FAILED,
            f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint} is not a URL",
            f"export OTEL_EXPORTER_OTLP_ENDPOINT=http://{endpoint}",
        )
        return
    port = urlsplit(endpoint).port
    if port in _PORTS and spoken and spoken != _PORTS[port]:
        other = 4318 if port == 4317 else 4317
        yield Finding(
            "environment",
            FAILED,
            f"{protocol} is sent to port {port}, where by convention {_PORTS[port].upper()} is spoken",
            f"send to port {other}, or export OTEL_EXPORTER_OTLP_PROTOCOL="
            + ("grpc" if port == 4317 else "http/protobuf"),
        )
        return
    if not protocol:
        yield Finding(
            "environment",
            WARNING,
            f"OTEL_EXPORTER_OTLP_PROTOCOL is not set: some SDKs then speak gRPC, others HTTP, to {endpoint}",
            f"export OTEL_EXPORTER_OTLP_PROTOCOL={'grpc' if port == 4317 else 'http/protobuf'}",
        )
        return
    yield Finding("environment", OK, f"{protocol} to {endpoint}")
    yield from _between(environ, endpoint)


def _between(environ: Mapping[str, str], endpoint: str) -> Iterator[Finding]:
    """An HTTP proxy that a program's environment puts between it and a collector on this machine."""
    host = urlsplit(endpoint).hostname or ""
    names = ("http_proxy", "HTTP_PROXY", "grpc_proxy", "all_proxy", "ALL_PROXY")
    found = next((name for name in names if environ.get(name)), None)
    spared = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    if (
        found
        and host in ("127.0.0.1", "localhost", "::1")
        and host not in map(str.strip, spared)
        and "*" not in spared
    ):
        yield Finding(
            "environment",
            WARNING,
            f"{found} is set and NO_PROXY does not name {host}: telemetry may go to that proxy",
            f"export NO_PROXY={host}",
        )


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""


def _spoken(protocol: str) -> str:
    return "grpc" if protocol == "grpc" else "http" if protocol.startswith("http") else ""


def _sent_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Headers that the SDKs send: `name=value` pairs, percent-encoded."""
    pairs = (pair.partition("=") for pair in _variable(environ, "HEADERS").split(",") if "=" in pair)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


# --------------------------------------------------------------------------- the collector itself


def _collector(doors: Doors, clock_s: Callable[[], float]) -> Generator[Finding, None, dict[str, Any]]:
    """Whether it answers, and by which clock. Returns its status, {} if it is not told."""
    if not doors.api:
        yield Finding(
            "collector",
            FAILED,
            "no collector runs on this data directory",
            "start one with `eddyline serve`, or name it with --url",
        )
        return {}
    try:
        before = clock_s()
        answer = _ask("GET", doors.api, "/api/v1/status", _bearer(doors.token))
        after = clock_s()
        ready = _ask("GET", doors.api, "/readyz", {})
    except OSError as error:
        yield Finding("collector", FAILED, f"{doors.api} does not answer: {error}", "is it running there?")
        return {}
    if answer.status in (401, 403):
        yield Finding(
            "collector",
            FAILED,
            f"{doors.api} does not take the API token: {answer.says}",
            "give --token; it is in the file `token` of the collector's data directory",
        )
        return {}
    if answer.status != 200:
        yield Finding("collector", FAILED, f"{doors.api} answered {answer.status}: {answer.says}")
        return {}
    status: dict[str, Any] = answer.document()
    yield Finding(
        "collector", OK, f"eddyline {status['version']} at {doors.api}, up for {status['uptime_s']:.0f} s"
    )
    if ready.status != 200:
        yield Finding(
            "collector", FAILED, f"it does not take anything now: {', '.join(ready.says.split(chr(10)))}"
        )
    yield from _clock(answer, (before + after) / 2)
    return status


def _clock(answer: _Answer, now_s: float) -> Iterator[Finding]:
    if not answer.date:
        return
    # The header is cut to the second.
    skew_s = parsedate_to_datetime(answer.date).timestamp() + 0.5 - now_s
    if abs(skew_s) < SKEW_WARNING_S:
        yield Finding("clock", OK, "this machine and the collector agree on the time")
        return
    ahead = "behind" if skew_s > 0 else "ahead"
    yield Finding(
        "clock",
        FAILED if abs(skew_s) >= SKEW_FAILED_S else WARNING,
        f"this machine is {abs(skew_s):.0f} s {ahead} of the collector: its spans are not where you look for them",
        "set the clock, best by NTP (timedatectl set-ntp true)",
    )


def disk(doors: Doors, status: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether there is room for what comes. `status`: the collector's, {} if it is not known."""
    for signal, journal in status.get("journal", {}).items():
        if journal.get("refuses"):
            yield Finding(
                "disk",
                FAILED,
                f"nothing is taken for {signal}: {journal['refuses']}",
                "make room on the disk of the data directory, or see `store` if it does not take what waits",
            )
            return
    if doors.directory is None or not doors.directory.exists():
        return
    usage = shutil.disk_usage(doors.directory)
    told = f"{usage.free >> 20:,} MiB free for {doors.directory}"
    if usage.free < usage.total * LOW_DISK:
        yield Finding("disk", WARNING, f"only {told}", "make room, or keep less: eddyline db retention")
    else:
        yield Finding("disk", OK, told)


def store(doors: Doors, status: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether what comes is stored."""
    if doors.store:
        parts = urlsplit(doors.store)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        try:
            answer = _ask("GET", shown, "/ping", {})
            says = "" if answer.status == 200 else f"answered {answer.status}: {answer.says}"
        except OSError as error:
            says = str(error)
        if says:
            yield Finding(
                "store",
                FAILED,
                f"ClickHouse at {shown} can not be reached: {says}",
                "is it up, and is sinks.clickhouse.url right? What was acknowledged waits in the journal",
            )
            return
    sinks: Mapping[str, Any] = status.get("sink", {})
    for sink in sinks.values():
        if sink.get("last_error"):
            yield Finding(
                "store",
                FAILED,
                f"the store does not take batches: {sink['last_error']}",
                "is ClickHouse up, and is its password right? What was acknowledged waits in the journal",
            )
            return
    if sinks:
        yield Finding("store", OK, "takes what is sent to it")


# --------------------------------------------------------------------------- spans on their way


def _journeys(doors: Doors, status: Mapping[str, Any]) -> Iterator[Finding]:
    """A span by each protocol, until it can be asked for."""
    headers = _sent_headers(doors.environ)
    named = doors.endpoint or _variable(doors.environ, "ENDPOINT")
    protocol = _variable(doors.environ, "PROTOCOL")
    journeys: list[tuple[str, str]] = []
    if urlsplit(named).hostname:
        journeys.append((protocol or "http/protobuf", named))
    ours = [
        ("http/protobuf", doors.http),
        ("http/json", doors.http),
        ("grpc", doors.grpc and f"http://{doors.grpc}"),
    ]
    journeys += [journey for journey in ours if journey[1] and journey not in journeys]
    if not journeys:
        yield Finding("OTLP", SKIPPED, "no endpoint is known to send to")
    canaries = [os.urandom(16) for _ in journeys]
    for (spoken, endpoint), canary in zip(journeys, canaries, strict=True):
        yield _journey(doors, spoken, endpoint, headers, canary, bool(status))
    if status and journeys:
        _forget(doors, [canary.hex() for canary in canaries])


def _journey(
    doors: Doors, protocol: str, endpoint: str, headers: dict[str, str], trace_id: bytes, may_ask: bool
) -> Finding:
    check = f"{PROTOCOLS.get(protocol, protocol)} to {endpoint}"
    heard = _heard(endpoint)
    if heard == "nothing":
        return Finding(check, FAILED, "nothing listens there", "start `eddyline serve`, or mend the endpoint")
    if heard in ("grpc", "http") and heard != _spoken(protocol):
        return Finding(
            check,
            FAILED,
            f"{heard.upper()} is spoken there",
            f"export OTEL_EXPORTER_OTLP_PROTOCOL={'grpc' if heard == 'grpc' else 'http/protobuf'}, or send to "
            + (doors.http or "port 4318" if heard == "grpc" else doors.grpc or "port 4317"),
        )
    began = time.monotonic()
    try:
        status, says = _send(protocol, endpoint, headers, _canary(trace_id))
    except OSError as error:
        return Finding(check, FAILED, f"the answer did not come: {error}", "is there a proxy in between?")
    if status in (401, 403):
        return Finding(
            check,
            FAILED,
            f"refused without a key that may send: {says}",
            "make one with `eddyline token create NAME`, and export OTEL_EXPORTER_OTLP_HEADERS=x-api-key=KEY",
        )
    if status != 200:
        return Finding(check, FAILED, f"answered {status}: {says}")
    if not may_ask:
        return Finding(check, WARNING, "taken; whether it can be asked for is not known without the API")
    run_id = trace_id.hex()
    path = f"/api/v1/runs/{run_id}"
    while time.monotonic() - began < QUERYABLE_S:
        with contextlib.suppress(OSError):
            if _ask("GET", doors.api, path, _bearer(doors.token)).status == 200:
                took_ms = (time.monotonic() - began) * 1000
                return Finding(
                    check, OK, f"a span came through and could be asked for after {took_ms:.0f} ms"
                )
        time.sleep(0.05)
    return Finding(
        check,
        FAILED,
        f"taken, but it can not be asked for after {QUERYABLE_S:.0f} s",
        "the store is behind: `eddyline top` shows by how much",
    )


def _forget(doors: Doors, run_ids: Sequence[str]) -> None:
    """Has the canaries' runs deleted, if the token may; they are hidden at once."""
    body = json.dumps({"filter": {"run_ids": run_ids}, "reason": "sent by eddyline doctor"}).encode()
    with contextlib.suppress(OSError):
        _ask(
            "POST",
            doors.api,
            "/api/v1/deletions",
            {**_bearer(doors.token), "Content-Type": "application/json"},
            body,
        )


def _heard(endpoint: str) -> str:
    """What listens at an address: `http`, `grpc`, `nothing`; "" for something else, TLS among it."""
    parts = urlsplit(endpoint)
    if parts.scheme == "https":
        return ""
    address = parts.hostname or "", parts.port or 80
    try:
        with socket.create_connection(address, timeout=ANSWER_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if _received(connection, 5).startswith(b"HTTP/"):
                return "http"
        with socket.create_connection(address, timeout=ANSWER_S) as connection:
            connection.sendall(_HTTP2)
            answer = _received(connection, 9)
            return "grpc" if len(answer) == 9 and answer[3] == 4 else ""  # a SETTINGS frame
    except ConnectionRefusedError:
        return "nothing"
    except OSError:
        return ""


def _received(connection: socket.socket, size: int) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        while len(received) < size and (more := connection.recv(size - len(received))):
            received += more
    return received


def _canary(trace_id: bytes) -> ExportTraceServiceRequest:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    attribute = spans.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", "eddyline-doctor"
    scoped = spans.scope_spans.add()
    scoped.scope.name = "eddyline.doctor"
    now_ns = time.time_ns()
    scoped.spans.add(
        trace_id=trace_id,
        span_id=os.urandom(8),
        name="doctor",
        start_time_unix_nano=now_ns - 1_000_000,
        end_time_unix_nano=now_ns,
    )
    return request


def _send(
    protocol: str, endpoint: str, headers: dict[str, str], request: ExportTraceServiceRequest
) -> tuple[int, str]:
    """(HTTP status, what it says); those of gRPC in terms of HTTP's.

    Raises: OSError.
    """
    if protocol == "grpc":
        return _send_by_grpc(endpoint, headers, request)
    if protocol == "http/json":
        from google.protobuf.json_format import MessageToDict

        document = MessageToDict(request)
        span = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        sent = request.resource_spans[0].scope_spans[0].spans[0]
        span |= {
            "traceId": sent.trace_id.hex(),
            "spanId": sent.span_id.hex(),
        }  # OTLP's JSON has hex, not base64
        body, media = json.dumps(document).encode(), "application/json"
    else:
        body, media = request.SerializeToString(), "application/x-protobuf"
    base = urlsplit(endpoint).path.rstrip("/")
    path = base if base.endswith("/v1/traces") else base + "/v1/traces"
    answer = _ask("POST", endpoint, path, {**headers, "Content-Type": media}, body)
    return answer.status, answer.says


def _send_by_grpc(
    endpoint: str, headers: dict[str, str], request: ExportTraceServiceRequest
) -> tuple[int, str]:
    import grpc

    parts = urlsplit(endpoint)
    secure = parts.scheme == "https"
    options = [("grpc.enable_http_proxy", 0)]
    with (
        grpc.secure_channel(parts.netloc, grpc.ssl_channel_credentials(), options)
        if secure
        else grpc.insecure_channel(parts.netloc, options)
    ) as channel:
        try:
            channel.unary_unary(EXPORT)(
                request.SerializeToString(), timeout=ANSWER_S, metadata=tuple(headers.items())
            )
        except grpc.RpcError as error:
            code = error.code()
            known = {grpc.StatusCode.UNAUTHENTICATED: 401, grpc.StatusCode.PERMISSION_DENIED: 403}
            return known.get(code, 500), f"{code.name}: {error.details()}"
    return 200, ""


def _proxy(doors: Doors) -> Iterator[Finding]:
    if not doors.proxy:
        return
    heard = _heard(doors.proxy)
    if heard == "http":
        yield Finding("LLM proxy", OK, f"listens at {doors.proxy}")
    else:
        yield Finding("LLM proxy", FAILED, f"does not answer at {doors.proxy}", "restart `eddyline serve`")
    for name, path in (("OPENAI_BASE_URL", "/openai/v1"), ("ANTHROPIC_BASE_URL", "/anthropic")):
        given = doors.environ.get(name, "")
        if given.startswith(doors.proxy) and not given.startswith(doors.proxy + path):
            yield Finding(
                "LLM proxy", FAILED, f"{name}={given} leads nowhere", f"export {name}={doors.proxy}{path}"
            )


# --------------------------------------------------------------------------- asking


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    date: str
    body: bytes

    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def says(self) -> str:
        """What a problem document, or a status of OTLP, says."""
        try:
            document = self.document()
            return str(document.get("detail") or document.get("message") or document)
        except (ValueError, AttributeError):
            return self.body[:200].decode(errors="replace").strip()


def _ask(
    method: str, address: str, path: str, headers: Mapping[str, str], body: bytes | None = None
) -> _Answer:
    """Raises: OSError."""
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(kind(parts.netloc, timeout=ANSWER_S)) as connection:
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return _Answer(response.status, response.headers.get("Date", ""), response.read())
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
