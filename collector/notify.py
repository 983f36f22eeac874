"""Webhooks that hear of loops: one word for each incident and each change of it, signed, tried again, off by default.

The address is the operator's, but a name in it may come to point anywhere: it is resolved once, every address is
judged, and the connection goes to one that was judged. Redirects are not followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import queue
import random
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from collector.config import Webhook
from collector.documents.render import warning_document
from collector.loops import WarningKey
from collector.telemetry.telemetry import about
from mappers.model import Run, Warning

log = logging.getLogger(__name__)

NOTHING_SAID: Mapping[WarningKey, Warning] = MappingProxyType({})
SEVERITIES = ("info", "warning", "critical")
TIMEOUT_S = 10.0
ATTEMPTS = 6
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
MAX_QUEUED = 1_000
MAX_REMEMBERED = 20_000
RETRIED_STATUSES = frozenset({408, 425, 429, *range(500, 600)})


class AddressError(ValueError):
    """The webhook's address is not one that may be called."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a webhook is told."""

    change: str
    """opened | escalated | resolved | retracted"""
    warning: Warning
    run_name: str

    @property
    def delivery_id(self) -> str:
        """The same for the same word, so that who hears it twice can tell."""
        warning = self.warning
        parts = (warning.run_id, warning.warning_id, self.change, warning.severity)
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def document(self) -> dict[str, Any]:
        return {
            "type": "eddyline.warning",
            "change": self.change,
            "run": {"run_id": self.warning.run_id, "name": self.run_name, "project": self.warning.project},
            "warning": warning_document(self.warning),
        }

    def slack(self) -> dict[str, Any]:
        """A message for Slack's incoming webhooks and those who read the same form."""
        warning = self.warning
        head = f"{self.change.capitalize()}: {warning.type} in {self.run_name or warning.run_id}"
        facts = f"{warning.severity} · project {warning.project} · run {warning.run_id}"
        text = f"{warning.message}\n{warning.suggestion}".strip()
        return {
            "text": _slack_text(f"{head}: {warning.message}"),
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": head[:150]}},
                {"type": "section", "text": {"type": "mrkdwn", "text": _slack_text(text)[:2900]}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": _slack_text(facts)[:1900]}]},
            ],
        }


def _slack_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Notifier:
    """Sends notices from a thread of its own; what can not be sent is dropped and counted, never waited for.

    Args:
        send: instead of the sending over the network, for tests.
    """

    def __init__(
        self,
        webhooks: Sequence[Webhook],
        send: Callable[[Webhook, bytes, dict[str, str]], int] | None = None,
        *,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._webhooks: Sequence[Webhook] = ()
        self._send = send or post
        self._first_retry_s = first_retry_s
        self._last: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        """Severity and state that was last told, by tenant and incident."""
        self._queue: queue.Queue[tuple[Webhook, Notice] | None] = queue.Queue(MAX_QUEUED)
        self._stopping = threading.Event()
        self.sent = self.failed = self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)
        self.take_over(webhooks)

    def take_over(self, webhooks: Sequence[Webhook]) -> None:
        """From now on these are told."""
        self._webhooks = webhooks
        if webhooks and self._thread.ident is None:
            self._thread.start()

    def document(self) -> dict[str, int]:
        """What was sent, for the status."""
        return {
            "webhooks": len(self._webhooks),
            "sent": self.sent,
            "failed": self.failed,
            "dropped": self.dropped,
            "queued": self._queue.qsize(),
        }

    def tell(
        self,
        warnings: Iterable[Warning],
        runs: Iterable[Run],
        before: Mapping[WarningKey, Warning] = NOTHING_SAID,
    ) -> None:
        """Takes warnings that were just stored, and what was said of them before, which a restart does not make
        forgotten. Called from one thread at a time; does not wait."""
        if not self._webhooks:
            return
        names = {run.run_id: run.name for run in runs}
        warnings = list(warnings)
        # What is taken back from one run of a session and said of a later one has moved on.
        standing = {_identity(warning) for warning in warnings if warning.state != "retracted"}
        for warning in warnings:
            if warning.state == "retracted" and _identity(warning) in standing:
                continue
            change = self._change(warning, before.get(_identity(warning))) if warning.primary else None
            if change is None:
                continue
            notice = Notice(change, warning, names.get(warning.run_id, ""))
            for webhook in self._webhooks:
                if _wants(webhook, warning):
                    try:
                        self._queue.put_nowait((webhook, notice))
                    except queue.Full:
                        self.dropped += 1

    def close(self, timeout: float) -> None:
        """Sends what is queued, for at most `timeout` seconds."""
        if self._thread.ident is None:
            return
        deadline = time.monotonic() + timeout
        while not self._queue.empty() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(max(0.0, deadline - time.monotonic()) + 0.1)

    def _change(self, warning: Warning, stored: Warning | None) -> str | None:
        key = _identity(warning)
        before = self._last.get(key)
        if before is None and stored is not None:
            before = stored.severity, stored.state
        self._last[key] = warning.severity, warning.state
        self._last.move_to_end(key)
        while len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
        if before is None:
            return "opened" if warning.state == "active" else None
        severity, state = before
        if warning.state != state:
            return {"active": "opened"}.get(warning.state, warning.state)
        if SEVERITIES.index(warning.severity) > SEVERITIES.index(severity):
            return "escalated"
        return None

    # ------------------------------------------------------------------- sending

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._deliver(*job)
            except Exception:
                self.failed += 1
                log.exception("a notification could not be sent", extra=_subject(job[1]))

    def _deliver(self, webhook: Webhook, notice: Notice) -> None:
        document = notice.slack() if webhook.format == "slack" else notice.document()
        body = json.dumps(document, ensure_ascii=False).encode()
        pause = self._first_retry_s
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status = self._send(webhook, body, _headers(webhook, body, notice))
            except AddressError as error:
                log.error("webhook %s: %s", webhook.server, error, extra=_subject(notice))
                break
            except (OSError, http.client.HTTPException) as error:
                log.warning(
                    "webhook %s, attempt %d: %s", webhook.server, attempt, error, extra=_subject(notice)
                )
            else:
                if 200 <= status < 300:
                    self.sent += 1
                    return
                log.warning(
                    "webhook %s, attempt %d: status %d",
                    webhook.server,
                    attempt,
                    status,
                    extra=_subject(notice),
                )
                if status not in RETRIED_STATUSES:
                    break
            if attempt == ATTEMPTS or self._stopping.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  # jitter
                break
            pause = min(2 * pause, LONGEST_RETRY_S)
        self.failed += 1


def _identity(warning: Warning) -> WarningKey:
    return warning.tenant, warning.warning_id


def _wants(webhook: Webhook, warning: Warning) -> bool:
    return (
        warning.category in webhook.categories
        and SEVERITIES.index(warning.severity) >= SEVERITIES.index(webhook.min_severity)
        and (not webhook.projects or warning.project in webhook.projects)
    )


def _headers(webhook: Webhook, body: bytes, notice: Notice) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "eddyline",
        "X-Eddyline-Delivery": notice.delivery_id,
    }
    if webhook.secret:
        headers["X-Eddyline-Signature"] = signature(webhook.secret, body, int(time.time()))
    return headers


def signature(secret: str, body: bytes, at_s: int) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA-256 of `SECONDS.BODY` with the webhook's secret. The time is part of it so
    that a word which was overheard can not be said again later."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def post(webhook: Webhook, body: bytes, headers: dict[str, str]) -> int:
    """Sends one request; returns its status.

    Raises:
        AddressError: the address is not allowed.
        OSError, HTTPException: it can not be reached.
    """
    url = urlsplit(webhook.url)
    host, secure = url.hostname or "", url.scheme == "https"
    if url.scheme not in ("http", "https") or not host:
        raise AddressError("it is no http or https address")
    if not secure and not webhook.allow_private:
        raise AddressError("only https is spoken unless `allow_private` is set")
    port = url.port or (443 if secure else 80)
    address = _judged(host, port, allow_private=webhook.allow_private)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = _PinnedConnection(host, port, address, secure)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.read(4096)
        return response.status
    finally:
        connection.close()


def _judged(host: str, port: int, *, allow_private: bool) -> str:
    """An address that the name stands for. All of them must be public unless private ones are allowed."""
    addresses = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in addresses:
        ip = ipaddress.ip_address(str(address).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
            raise AddressError(f"it leads to {ip}, where no webhook is")
        if not ip.is_global and not allow_private:
            raise AddressError(f"it leads to {ip} within the network; set `allow_private` if that is meant")
    return str(addresses[0])


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to an address that was judged, under the name that was asked for."""

    def __init__(self, host: str, port: int, address: str, secure: bool) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S)
        self._address = address
        self._secure = secure

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _subject(notice: Notice) -> dict[str, str]:
    """What a log line about it is about."""
    return about(notice.warning.tenant, notice.warning.run_id)
