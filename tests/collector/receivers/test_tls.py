"""TLS and client certificates on both transports, renewed without a restart; and pages of other origins."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from collector.config import GrpcProtocol, TlsSettings
from collector.doors import tls
from collector.doors.gate import ForbiddenError, Gate
from collector.doors.keys import Keys, Scope
from collector.doors.listening import ListenError, listen
from collector.intake.intake import Intake
from collector.journal import Header
from collector.receivers.cors import Cors
from collector.receivers.grpc import GrpcReceiver
from collector.receivers.http import HttpReceiver
from tests.collector.receivers.test_http import PROTOBUF, request
from tests.listening import serving
from tests.sending import TRACES
from tests.waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def written(authority: trustme.CA, directory: Path, *, clients: bool = False) -> TlsSettings:
    """A fresh certificate for this machine, in files."""
    made = authority.issue_cert("127.0.0.1", "localhost")
    directory.mkdir(exist_ok=True)
    made.private_key_pem.write_to_path(directory / "key.pem")
    made.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return TlsSettings(
        cert_file=str(directory / "cert.pem"),
        key_file=str(directory / "key.pem"),
        client_ca_file=str(directory / "ca.pem") if clients else "",
    )


def http_door(settings: TlsSettings) -> AbstractContextManager[str]:
    return serving(HttpReceiver(Intake({})), tls=settings)


@contextmanager
def grpc_door(settings: TlsSettings) -> Iterator[str]:
    receiver = GrpcReceiver(Intake({}), max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0", tls.grpc_credentials(settings))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        receiver.stop(0)


def client_context(authority: trustme.CA, directory: Path, *, certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate:
        authority.issue_cert("client@example.com").configure_cert(context)
    return context


def serial(url: str, context: ssl.SSLContext) -> str:
    """Sends nothing, successfully; returns the serial number of the door's certificate."""
    with httpx.Client(verify=context) as client:
        response = client.post(f"{url}/v1/traces", headers={"Content-Type": "application/json"})
        assert response.status_code == 200
        stream = response.extensions["network_stream"]
        return str(stream.get_extra_info("ssl_object").getpeercert()["serialNumber"])


def sent(address: str, authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> bool:
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        certificate and certificate.private_key_pem.bytes(),
        certificate and certificate.cert_chain_pems[0].bytes(),
    )
    with grpc.secure_channel(address, credentials) as channel:
        try:
            return bool(channel.unary_unary(TRACES)(b"", timeout=PATIENCE_S) == b"")
        except grpc.RpcError:
            return False


def test_G9_http_is_served_with_tls_and_certificates_are_renewed(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.05)
    context = client_context(authority, tmp_path, certificate=False)
    with http_door(written(authority, tmp_path)) as url:
        assert url.startswith("https://")
        first = serial(url, context)
        written(authority, tmp_path)
        until(lambda: serial(url, context) != first)
        (tmp_path / "cert.pem").write_text("damaged")
        time.sleep(0.3)
        assert serial(url, context) != first


def test_G9_http_takes_only_clients_with_a_certificate_if_it_asks_for_one(
    authority: trustme.CA, tmp_path: Path
) -> None:
    with http_door(written(authority, tmp_path, clients=True)) as url:
        assert serial(url, client_context(authority, tmp_path, certificate=True))
        with pytest.raises(httpx.TransportError):
            serial(url, client_context(authority, tmp_path, certificate=False))


def test_G9_http_trusts_only_the_authority_that_there_is_now(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.05)
    other = trustme.CA()
    mine = client_context(authority, tmp_path, certificate=True)
    theirs = client_context(authority, tmp_path, certificate=False)
    other.issue_cert("client@example.com").configure_cert(theirs)
    with http_door(written(authority, tmp_path, clients=True)) as url:
        assert serial(url, mine)
        with pytest.raises(httpx.TransportError):
            serial(url, theirs)
        other.cert_pem.write_to_path(tmp_path / "ca.pem")

        def is_taken() -> bool:
            with suppress(httpx.TransportError):
                return bool(serial(url, theirs))
            return False

        until(is_taken)
        with pytest.raises(httpx.TransportError):
            serial(url, mine)


@pytest.mark.parametrize("least", ["1.2", "1.3"])
def test_old_versions_of_tls_are_refused(authority: trustme.CA, tmp_path: Path, least: str) -> None:
    settings = written(authority, tmp_path)

    def taken(address: str) -> list[str]:
        host, _, port = address.rpartition("/")[2].partition(":")
        found = []
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context()
            authority.configure_trust(context)
            context.set_ciphers("ALL:@SECLEVEL=0")  # as old clients do
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2"])
            with (
                suppress(ssl.SSLError),
                socket.create_connection((host, int(port)), timeout=PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname=host) as secure,
            ):
                found.append(str(secure.version()))
        return found

    with http_door(settings.model_copy(update={"min_version": least})) as url:
        assert taken(url) == ["TLSv1.2", "TLSv1.3"][least == "1.3" :]
    if least == "1.2":
        with grpc_door(settings) as address:
            assert taken(address) == ["TLSv1.2", "TLSv1.3"]
    else:
        with pytest.raises(ValueError, match="can not be kept from"):
            GrpcProtocol(tls=settings.model_copy(update={"min_version": least}))


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n\r\n", "plain HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\n", "something else"),
    ],
)
def test_who_speaks_no_tls_to_a_port_that_takes_nothing_else_is_named(
    authority: trustme.CA, tmp_path: Path, sent: bytes, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with http_door(written(authority, tmp_path)) as url:
        host, _, port = url.removeprefix("https://").partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(sent)
            assert connection.recv(100) == b""
        assert serial(url, client_context(authority, tmp_path, certificate=False))
    assert f"a client speaks {what} to a port that takes TLS only" in caplog.text


def test_G9_grpc_is_served_with_tls_and_certificates_are_renewed(
    authority: trustme.CA, tmp_path: Path
) -> None:
    with grpc_door(written(authority, tmp_path)) as address:
        assert sent(address, authority)
        other = trustme.CA()
        written(other, tmp_path)
        assert sent(address, other)
        assert not sent(address, authority)


def test_G9_grpc_takes_only_clients_with_a_certificate_if_it_asks_for_one(
    authority: trustme.CA, tmp_path: Path
) -> None:
    with grpc_door(written(authority, tmp_path, clients=True)) as address:
        assert sent(address, authority, authority.issue_cert("client@example.com"))
        assert not sent(address, authority)


def test_certificates_that_can_not_be_used_are_named(authority: trustme.CA, tmp_path: Path) -> None:
    settings = written(authority, tmp_path)
    (tmp_path / "key.pem").unlink()

    async def run() -> None:
        async with AsyncExitStack() as parts:
            await listen("http", "127.0.0.1:0", HttpReceiver(Intake({})), parts, tls=settings)

    with pytest.raises(ListenError, match=r"http: .*key\.pem: No such file"):
        asyncio.run(run())
    with pytest.raises(tls.TlsError, match=r"key\.pem"):
        tls.grpc_credentials(settings)
    with pytest.raises(ValueError, match="belong together"):
        TlsSettings(cert_file="cert.pem")


def test_nobody_is_asked_for_the_passphrase_of_a_key(authority: trustme.CA, tmp_path: Path) -> None:
    settings = written(authority, tmp_path)
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(tls.TlsError, match="has a passphrase"):
        tls.server_context(settings)
    with pytest.raises(tls.TlsError, match="has a passphrase"):
        tls.grpc_credentials(settings)


# --------------------------------------------------------------------------- pages


def asked(method: str, path: str, gate: Gate | None = None, **headers: str) -> httpx.Response:
    app = Cors(HttpReceiver(Intake({}, gate=gate)), ["https://app.example.com", "https://*.example.org"])

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.request(method, path, headers=sent)

    return asyncio.run(send())


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://a.b.example.org"])
def test_H21_pages_on_the_list_may_send(origin: str) -> None:
    before = asked(
        "OPTIONS",
        "/v1/traces",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type,x-custom,cookie",
    )
    assert before.status_code == 204
    assert before.headers["access-control-allow-origin"] == origin
    assert before.headers["access-control-allow-methods"] == "POST"
    assert before.headers["access-control-allow-headers"] == "content-type, x-custom"
    assert "access-control-allow-credentials" not in before.headers
    for path, content_type, status in (
        ("/v1/traces", "application/json", 200),
        ("/v1/traces", "text/plain", 415),
        ("/nothing", "application/json", 404),
    ):
        answer = asked("POST", path, Origin=origin, Content_Type=content_type)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.com.evil", "null"])
def test_H21_other_pages_are_not_told_that_they_may(origin: str) -> None:
    answer = asked("OPTIONS", "/v1/traces", Origin=origin, Access_Control_Request_Method="POST")
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_sends_with_a_key_that_can_not_read(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    _, secret = keys.create("page", [Scope.INGEST])
    gate = Gate(keys, ingest_needs_key=True)
    origin = {"Origin": "https://app.example.com"}
    before = asked("OPTIONS", "/v1/traces", gate, **origin, Access_Control_Request_Method="POST")
    assert (before.status_code, gate.failures) == (204, 0)  # browsers send no key with it
    for key, status in ((secret, 200), ("", 401)):
        sent = origin | {"Content_Type": "application/json"} | ({"X_Api_Key": key} if key else {})
        answer = asked("POST", "/v1/traces", gate, **sent)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    for scope in set(Scope) - {Scope.INGEST}:
        with pytest.raises(ForbiddenError):
            gate.admit(scope, "", secret, "10.0.0.1")


def test_H21_without_a_list_no_page_may_send() -> None:

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=HttpReceiver(Intake({})))
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.options("/v1/traces", headers={"Origin": "https://app.example.com"})

    answer = asyncio.run(send())
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


# --------------------------------------------------------------------------- projects of clients


class Projects:
    """A journal that notes the projects of what it takes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def append(self, header: Header, body: bytes, done: Callable[[Exception | None], None]) -> None:
        self.seen.append(header.project)
        done(None)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_G9_a_clients_certificate_says_its_project(
    authority: trustme.CA, tmp_path: Path, transport: str
) -> None:
    projects = {"client@example.com": "shop"}
    settings = written(authority, tmp_path, clients=True)
    journal = Projects()
    intake = Intake({"traces": journal})  # type: ignore[dict-item]  # a journal in memory
    headers = {"x-loop-project": "another"}
    certificates = [authority.issue_cert(name) for name in ("client@example.com", "other@example.com")]
    if transport == "http":
        with serving(HttpReceiver(intake, client_projects=projects), tls=settings) as url:
            for number, certificate in enumerate(certificates, start=1):
                context = ssl.create_default_context()
                authority.configure_trust(context)
                certificate.configure_cert(context)
                with httpx.Client(verify=context, headers=headers | {"Content-Type": PROTOBUF}) as client:
                    body = request(number).SerializeToString()
                    assert client.post(f"{url}/v1/traces", content=body).status_code == 200
    else:
        receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=2, client_projects=projects)
        port = receiver.start("127.0.0.1:0", tls.grpc_credentials(settings))
        for number, certificate in enumerate(certificates, start=1):
            credentials = grpc.ssl_channel_credentials(
                authority.cert_pem.bytes(),
                certificate.private_key_pem.bytes(),
                certificate.cert_chain_pems[0].bytes(),
            )
            with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
                call = channel.unary_unary(TRACES)
                call(request(number).SerializeToString(), metadata=list(headers.items()), timeout=PATIENCE_S)
        receiver.stop(0)
    assert journal.seen == ["shop", "another"]
