"""A webhook hears of each incident once, and of each change of it, and can tell that it was us."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from collector.config import Webhook
from collector.notify import AddressError, Notifier, post
from mappers.model import Run, Warning
from tests.waiting import PATIENCE_S, until

WARNING = Warning(
    warning_id="w" * 32,
    run_id="ab" * 16,
    project="shop",
    type="exact_repeat",
    category="loop",
    severity="warning",
    state="active",
    count=5,
    message="`fetch` was called 5 times in the same way.",
    suggestion="Stop <it>.",
    primary=True,
)
RUN = Run(run_id="ab" * 16, name="agent")


class Hook:
    """A webhook's server."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.heard.append((dict(self.headers), body))
                self.send_response(hook.answers.pop(0) if hook.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/services/T0?key=1"


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    thread = Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()


@contextmanager
def notifier(hook: Hook, **settings: Any) -> Iterator[Notifier]:
    webhook = Webhook(url=hook.url, **({"allow_private": True} | settings))
    notifier = Notifier([webhook], first_retry_s=0.01)
    yield notifier
    notifier.close(PATIENCE_S)


def changes(hook: Hook) -> list[str]:
    return [json.loads(body)["change"] for _, body in hook.heard]


def test_one_word_for_each_incident_and_change(hook: Hook) -> None:
    with notifier(hook) as target:
        for warning in (
            WARNING,
            replace(WARNING, count=6),
            replace(WARNING, warning_id="x", primary=False),
            replace(WARNING, category="waste"),
            replace(WARNING, severity="critical", count=9),
            replace(WARNING, severity="critical", state="resolved"),
            replace(WARNING, severity="critical", state="retracted"),
        ):
            target.tell([warning], [RUN])
    assert changes(hook) == ["opened", "escalated", "resolved", "retracted"]
    assert json.loads(hook.heard[0][1])["run"] == {"run_id": "ab" * 16, "name": "agent", "project": "shop"}


def test_what_was_said_before_a_restart_is_not_said_again(hook: Hook) -> None:
    grown = replace(WARNING, warning_id="y", severity="critical")
    before = {("", WARNING.warning_id): WARNING, ("", "y"): replace(grown, severity="info")}
    with notifier(hook) as target:
        target.tell([replace(WARNING, count=7), grown], [RUN], before)
    assert changes(hook) == ["escalated"]


def test_a_loop_that_moves_on_with_its_session_is_no_other_one(hook: Hook) -> None:
    with notifier(hook) as target:
        target.tell([WARNING], [RUN])
        for number in range(3):
            before = replace(WARNING, run_id=f"{number}" * 32 if number else "ab" * 16, state="retracted")
            target.tell([before, replace(WARNING, run_id=f"{number + 1}" * 32, count=6)], [RUN])
        target.tell([replace(WARNING, run_id="3" * 32, state="retracted")], [RUN])
    assert changes(hook) == ["opened", "retracted"]


def test_who_is_told_can_change(hook: Hook) -> None:
    notifier = Notifier([])
    notifier.tell([WARNING], [RUN])
    notifier.take_over([Webhook(url=hook.url, allow_private=True)])
    notifier.tell([replace(WARNING, warning_id="v" * 32, incident_id="v" * 32)], [RUN])
    notifier.close(PATIENCE_S)
    assert [json.loads(body)["warning"]["warning_id"] for _, body in hook.heard] == ["v" * 32]


def test_it_is_signed(hook: Hook) -> None:
    with notifier(hook, secret="shared") as target:
        target.tell([WARNING], [RUN])
    ((headers, body),) = hook.heard
    at, _, digest = headers["X-Eddyline-Signature"].removeprefix("t=").partition(",v1=")
    assert digest == hmac.new(b"shared", at.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert abs(time.time() - int(at)) < 60


def test_failures_are_tried_again_under_the_same_delivery_id(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.answers = [503, 429, 200]
    with notifier(hook) as target:
        target.tell([WARNING], [RUN])
        until(lambda: target.sent == 1)
    assert len({headers["X-Eddyline-Delivery"] for headers, _ in hook.heard}) == 1
    assert len(hook.heard) == 3
    assert [vars(line)["trace_id"] for line in caplog.records] == [WARNING.run_id] * 2


def test_a_refusal_is_final_and_a_redirect_is_not_followed(hook: Hook) -> None:
    hook.answers = [400, 302]
    with notifier(hook) as target:
        target.tell([WARNING], [RUN])
        until(lambda: target.failed == 1)
        target.tell([replace(WARNING, severity="critical")], [RUN])
        until(lambda: target.failed == 2)
    assert len(hook.heard) == 2


def test_slack_gets_a_message_that_can_not_be_read_as_markup(hook: Hook) -> None:
    with notifier(hook, format="slack") as target:
        target.tell([WARNING], [RUN])
    message = json.loads(hook.heard[0][1])
    assert message["text"].startswith("Opened: exact_repeat in agent")
    assert "Stop &lt;it&gt;." in message["blocks"][1]["text"]["text"]


@pytest.mark.parametrize(
    "wants", [{"min_severity": "critical"}, {"projects": ["other"]}, {"categories": ["waste"]}]
)
def test_a_webhook_hears_only_what_it_wants(hook: Hook, wants: dict[str, Any]) -> None:
    with notifier(hook, **wants) as target:
        target.tell([WARNING], [RUN])
    assert hook.heard == []


@pytest.mark.parametrize(
    ("url", "allow_private"),
    [
        ("http://example.com/", False),
        ("https://127.0.0.1/", False),
        ("https://[::1]/", False),
        ("https://10.0.0.8/", False),
        ("https://[::ffff:10.0.0.8]/", False),
        ("https://169.254.169.254/latest/meta-data", True),
        ("https://0.0.0.0/", True),
        ("file:///etc/passwd", True),
    ],
)
def test_addresses_within_the_network_are_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(AddressError):
        post(Webhook(url=url, allow_private=allow_private), b"", {})


def test_secrets_are_not_shown() -> None:
    webhook = Webhook(url="https://hooks.example.com/services/T0/SECRET", secret="shared")
    assert "SECRET" not in repr(webhook)
    assert "shared" not in repr(webhook)
