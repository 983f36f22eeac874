"""TLS for the doors. Certificates are read anew when their files change, without a restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.config import TlsSettings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0


class TlsError(Exception):
    """The certificates can not be used; the message says which and why."""


def _stamp(settings: TlsSettings) -> tuple[int, ...]:
    files = (settings.cert_file, settings.key_file, settings.client_ca_file)
    try:
        return tuple(Path(file).stat().st_mtime_ns for file in files if file)
    except OSError as error:
        raise TlsError(f"{error.filename}: {error.strerror}") from None


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Raises: TlsError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if settings.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.sslobject_class = _Telling
    _stamp(settings)
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, _nobody_to_ask)
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
            # A session that goes on would not be asked for its certificate again.
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{settings.cert_file} can not be used: {error}") from None
    return context


def _nobody_to_ask() -> str:
    """OpenSSL would ask at the terminal for the passphrase of a key, and everybody would wait meanwhile.

    Raises: TlsError.
    """
    raise TlsError("the key has a passphrase, for which a collector has nobody to ask")


class _Telling(ssl.SSLObject):
    """Says what is wrong when a client speaks no TLS: it only sees a connection that is closed."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            if error.reason in _NO_TLS:
                log.warning("a client speaks %s to a port that takes TLS only", _NO_TLS[error.reason])
            raise


_NO_TLS = {
    "HTTP_REQUEST": "plain HTTP",
    "HTTPS_PROXY_REQUEST": "plain HTTP",
    "WRONG_VERSION_NUMBER": "something else",
    "PACKET_LENGTH_TOO_LONG": "something else",
    "RECORD_LAYER_FAILURE": "something else",
}
"""What OpenSSL says of a client that does not begin with a TLS record."""


async def keep_fresh(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Has new connections to a listener with this context meet the files' certificates and authorities, whenever they
    change. Ends when it is cancelled."""
    stamp = _stamp(settings)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            if (found := _stamp(settings)) != stamp:
                # One that is loaded into again would go on to trust the authorities that it had.
                context.sni_callback = _switch_to(server_context(settings))
                stamp = found
                log.info("%s is loaded anew", settings.cert_file)
        except TlsError as error:
            log.error("the old certificate stays: %s", error)


def _switch_to(fresh: ssl.SSLContext) -> Callable[[Any, str | None, ssl.SSLContext], None]:
    """What a listener does with each client that connects."""

    def switch(connection: Any, name: str | None, listening: ssl.SSLContext) -> None:
        connection.context = fresh

    return switch


def certificate_names(certificate: Mapping[str, Any] | None) -> Sequence[str]:
    """The names that a client's certificate is made out to, as `ssl` gives it."""
    return [str(name) for _, name in (certificate or {}).get("subjectAltName", ())]


def grpc_credentials(settings: TlsSettings) -> Any:
    """Credentials of a gRPC server, which look for new certificates at each handshake.

    Raises: TlsError.
    """
    import grpc

    def configuration() -> Any:
        """Raises: TlsError."""
        try:
            pair = (Path(settings.key_file).read_bytes(), Path(settings.cert_file).read_bytes())
            authority = Path(settings.client_ca_file).read_bytes() if settings.client_ca_file else None
        except OSError as error:
            raise TlsError(f"{error.filename}: {error.strerror}") from None
        return grpc.ssl_server_certificate_configuration([pair], authority)

    server_context(settings)  # gRPC says nothing of a key that does not fit
    stamp = _stamp(settings)

    def fetch() -> Any:
        nonlocal stamp
        try:
            if (found := _stamp(settings)) == stamp:
                return None
            server_context(settings)
            stamp = found
            return configuration()
        except TlsError as error:
            log.error("the old certificate stays: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetch, require_client_authentication=bool(settings.client_ca_file)
    )
