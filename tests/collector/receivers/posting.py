"""Requests given to OTLP/HTTP's application itself, as a server would give them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from google.rpc.status_pb2 import Status

from collector.intake.intake import Intake
from collector.otlp.status import JSON
from collector.receivers.http import HttpReceiver


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def posted(intake: Intake, body: bytes, *, path: str = "/v1/traces", **headers: str) -> Answer:
    """A request given to the application itself, as a server would give it."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "client": ("127.0.0.1", 1),
        "headers": [
            (name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(HttpReceiver(intake)(scope, receive, send))
    start, content = sent
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], answered, content["body"])


def said(answer: Answer) -> str:
    """The message of a Status in the answer's encoding."""
    if answer.headers["content-type"] == JSON:
        return str(json.loads(answer.body)["message"])
    return str(Status.FromString(answer.body).message)
