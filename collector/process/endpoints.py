"""`endpoints.json` and `token` in the data directory: how other programs find a running collector."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Endpoints:
    """Where each door listens; None for one that is off. `grpc` is HOST:PORT, the others are URLs; those of OTLP may be
    `unix:/path`."""

    grpc: str | None
    http: str | None
    api: str | None
    proxy: str | None
    admin: str | None
    pid: int


def for_exporters(endpoints: Endpoints) -> tuple[str, str] | None:
    """`OTEL_EXPORTER_OTLP_ENDPOINT` and `…_PROTOCOL` of a program that is to send here; None if it can not.

    Exporters reach a Unix socket by gRPC only.
    """
    if endpoints.http and not endpoints.http.startswith("unix:"):
        return endpoints.http, "http/protobuf"
    if endpoints.grpc:
        target = endpoints.grpc
        return target if target.startswith("unix:") else f"http://{target}", "grpc"
    return None


def publish(directory: Path, endpoints: Endpoints) -> None:
    """Puts `endpoints.json` (0600) in place at once, so that a reader sees all of it or none."""
    staged = directory / "endpoints.json.new"
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(endpoints), indent=2) + "\n")
    staged.replace(directory / "endpoints.json")


def withdraw(directory: Path) -> None:
    (directory / "endpoints.json").unlink(missing_ok=True)


def find(directory: Path) -> Endpoints | None:
    """Endpoints of the collector that runs on this data directory; None if none does that we may know of."""
    try:
        document = json.loads((directory / "endpoints.json").read_text(encoding="utf-8"))
        endpoints = Endpoints(**document)
    except (OSError, ValueError, TypeError):
        return None
    try:
        os.kill(endpoints.pid, 0)
    except PermissionError:  # it is another user's
        return endpoints
    except (OSError, OverflowError, TypeError):
        return None
    return endpoints


def kept_token(directory: Path) -> str | None:
    """The API token of the collector on this data directory; None if there is none that we may read."""
    try:
        return (directory / "token").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def api_token(directory: Path, given: str | None = None) -> str:
    """The API token: `given` if any, else the one in the file `token`, else a new one.

    The file holds it afterwards, readable by its owner alone (0600).
    """
    file = directory / "token"
    token = given
    if token is None and file.exists():
        token = file.read_text(encoding="utf-8").strip()
    token = token or secrets.token_urlsafe(32)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(token + "\n")
    return token
