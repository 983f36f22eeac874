"""TLS for the doors. Certificates are read anew when their files change, without a restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
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
    _load(context, settings)
    if settings.client_ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Raises: TlsError."""
    _stamp(settings)
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file)
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{settings.cert_file} can not be used: {error}") from None


async def keep_fresh(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Loads certificates into the context whenever their files change; new connections get the new ones. Ends when it
    is cancelled."""
    stamp = _stamp(settings)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            if (found := _stamp(settings)) != stamp:
                _load(context, settings)
                stamp = found
                log.info("%s is loaded anew", settings.cert_file)
        except TlsError as error:
            log.error("the old certificate stays: %s", error)


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
