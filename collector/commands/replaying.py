"""`eddyline replay`: a run, sent again to another place."""

from __future__ import annotations

import http.client
import ipaddress
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click

from collector.commands.client import Client
from collector.commands.failing import FINDING, NO_CONNECTION, NOT_FOUND, fail
from collector.commands.options import asking
from collector.commands.run_ids import whole_id

TIMEOUT_S = 120.0
_DROPPED = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--to", "target", required=True, metavar="URL", help="Where to: of OTLP/HTTP, or of the provider."
)
@click.option(
    "--http", "as_http", is_flag=True, help="The calls that the proxy relayed, instead of the spans."
)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Send it along, such as a key."
)
@click.option("--really", is_flag=True, help="Let calls go to another machine, which may cost money.")
@asking
def replay(
    run_id: str, target: str, as_http: bool, headers: tuple[str, ...], really: bool, client: Client
) -> None:
    """Send a run again: its spans and log records by OTLP/HTTP, or the calls that the proxy relayed.

    Calls go to this machine only, such as to `eddyline mock-llm`, unless --really says otherwise. What stands for a
    secret is not sent.
    """
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f"--to is no http address: {target}")
    if as_http and not really and not _is_here(parts.hostname):
        raise click.UsageError(
            f"{parts.hostname} is another machine, and calls to a provider may cost money: say --really"
        )
    given = {
        name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in headers)
    }
    sent = failed = 0
    run_id = whole_id(client, run_id)
    for path, sent_headers, body, label in (_calls if as_http else _requests)(client, run_id):
        status = _send(target, path, {**sent_headers, **given}, body)
        sent += 1
        if status >= 400:
            failed += 1
        click.echo(f"{status}  {label}", err=not as_http)
    if not sent:
        fail(
            f"the run {run_id} has no {'calls of the proxy' if as_http else 'spans or log records'}",
            NOT_FOUND,
        )
    click.echo(f"{sent} requests were sent, {failed} were refused", err=True)
    if failed:
        raise SystemExit(FINDING)


Piece = tuple[str, dict[str, str], bytes, str]
"""(path, headers, body, what it is for people)"""


def _requests(client: Client, run_id: str) -> Iterator[Piece]:
    client.get(f"/runs/{run_id}")
    query = {"shape": "spans", "format": "otlp-json", "run": run_id, "include": "all"}
    _, pieces = client.file("/export", query, "X-Eddyline-Export")
    for line in b"".join(pieces).splitlines():
        if not line.strip():
            continue
        signal = "traces" if b'"resourceSpans"' in line[:64] else "logs"
        yield f"/v1/{signal}", {"content-type": "application/json"}, line, f"{signal}, {len(line)} bytes"


def _calls(client: Client, run_id: str) -> Iterator[Piece]:
    found = list(client.rows("/exchanges", {"run": run_id}, None))
    for summary in reversed(found):  # as they happened
        call = client.get(f"/exchanges/{summary['id']}")
        body = call["req"].get("body")
        if body is None:
            continue
        headers = {
            name: value
            for name, value in call["req"]["headers"].items()
            if name not in _DROPPED and "[redacted" not in value
        }
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        yield call["path"], headers, content, f"{call['method']} {call['path']}  {call['model'] or ''}"


def _send(target: str, path: str, headers: dict[str, str], body: bytes) -> int:
    parts = urlsplit(target)
    kind: Any = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT_S)
    base = parts.path.rstrip("/").removesuffix(path)
    try:
        connection.request("POST", base + path, body=body, headers=headers)
        response = connection.getresponse()
        response.read()
        return int(response.status)
    except (OSError, http.client.HTTPException) as error:
        fail(f"{target}: {error or type(error).__name__}", NO_CONNECTION)
    finally:
        connection.close()


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
