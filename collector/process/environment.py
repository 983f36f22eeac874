"""Whether this machine can run a configuration: directories, certificates, addresses, keys."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from collector.config import DOORS, Settings
from collector.config.meaning import no_engine
from collector.doors.exposure import ExposureError, endpoints_of, ingest_needs_key
from collector.doors.keys import Keys, KeysError, keys_file
from collector.doors.tls import TlsError, server_context
from collector.process.endpoints import find


def problems(settings: Settings) -> list[str]:
    """What is in the way, each with the path of its setting; [] if nothing is."""
    found = no_engine(settings)
    directory = _existing(settings.data_dir)
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        found.append(f"data_dir: {settings.data_dir} can not be written")
    protocols = settings.receivers.otlp.protocols
    for name, protocol in (("grpc", protocols.grpc), ("http", protocols.http)):
        if protocol.tls.cert_file:
            try:
                server_context(protocol.tls)
            except TlsError as error:
                found.append(f"receivers.otlp.protocols.{name}.tls: {error}")
    found += _unreadable(settings)
    try:
        ingest_needs_key(settings, keys=len(Keys(keys_file(settings.data_dir), settings.auth.keys)))
    except (KeysError, ExposureError) as error:
        found.append(f"auth: {error}")
    if find(settings.data_dir) is None:  # else it is the collector that runs who has the ports
        for door, endpoint in endpoints_of(settings).items():
            if endpoint and (why := _why_not(endpoint)):
                found.append(f"{'.'.join(DOORS[door])}: {endpoint}: {why}")
    return found


def _unreadable(settings: Settings) -> list[str]:
    """Files and directories of sinks that can not be used."""
    clients = {"clickhouse": settings.sinks.clickhouse.tls}
    clients |= {f"otlp.{name}": sink.tls for name, sink in settings.sinks.otlp.items()}
    found = [
        f"sinks.{sink}.tls.{name}: {file} can not be read"
        for sink, tls in clients.items()
        for name in ("ca_file", "cert_file", "key_file")
        if (file := getattr(tls, name)) and not os.access(file, os.R_OK)
    ]
    for name, jsonl in settings.sinks.jsonl.items():
        directory = _existing(jsonl.path)
        if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
            found.append(f"sinks.jsonl.{name}.path: {jsonl.path} can not be written")
    return found


def _existing(directory: Path) -> Path:
    """The directory, or the nearest above it that is there."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


def _why_not(endpoint: str) -> str:
    """Why the endpoint can not be listened on; "" if it can."""
    host, _, port = endpoint.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
        except OSError as error:
            return error.strerror or str(error)
    return ""
