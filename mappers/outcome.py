"""Whether what a span tells of failed, and why (conventions.md §3, rule 8)."""

from __future__ import annotations

import re
from typing import Any

from mappers.conventions.fields import text
from mappers.messages.document import member, parse
from mappers.model import Event, Kind, Span, Status, StatusCode

MAX_MESSAGE = 500
"""Characters of an error's message, and of its type, that an event keeps."""
TELLING = frozenset({"outcome", "http_status", "error_type"})
"""Fields that can tell a failure which the span's own status does not."""

_CONTROL_FLOW = re.compile(r"(?:^|\.)(?:\w*ParentCommand|(?:Graph|Node)Interrupt|GraphBubbleUp)$")
_CONTROL_FLOW_MESSAGE = re.compile(
    r"(?:[\w.]{0,100}\.)?(?:Command|ParentCommand|GraphInterrupt|NodeInterrupt|GraphBubbleUp)\s*[:(]"
)
_EXCEPTION_IN_MESSAGE = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Timeout|Interrupt|Exit))\b")
_EXCEPTION_AS_MESSAGE = re.compile(
    r"""([A-Za-z_]\w*(?:Error|Exception|Timeout))\((["'])(.*?)\2(?:, .*?)?\)\s*(?:$|\n|Traceback)"""
)
"""An exception as Python writes it, which LangSmith gives as the message of an `Exception`."""
_UNNAMED = frozenset({"", "Exception"})
_STATUS_IN_MESSAGE = re.compile(
    r"(?:^\s*|(?:Error code|HTTP(?: status)?|status(?:_code)?|Status)[ :=]{1,3})([45]\d\d)\b"
)
"""The SDKs in JavaScript and Google's begin with the bare number."""
BROKEN_OFF = ("error",)
"""The finish reason of an answer that broke off (GenAI conventions; the AI SDK and what is built on it)."""
_FAILURES = frozenset({"error", "failure", "failed", "fail"})
_OUTSIDE = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.RERANKER, Kind.TOOL, Kind.HANDOFF, Kind.RETRIEVER})
"""Kinds whose spans end in a failure where they name one; others may tell that of something within."""
_FIRST_FAILURE = 400
_MAX_DEPTH = 2


def settle_outcome(span: Span, event: Event, values: dict[str, Any]) -> None:
    """Sets the event's status, error type, message and HTTP status from the span's status, its exceptions, what
    its convention says, and what the provider answered.

    Control flow of a graph that travels as an exception is no failure.
    """
    exception_type = exception_message = ""
    for found in span.events:
        if found.name == "exception":
            exception_type = text(found.attributes.get("exception.type")) or exception_type
            exception_message = text(found.attributes.get("exception.message")) or exception_message
    error_type = exception_type or values.get("error_type", "")
    is_control_flow = bool(
        _CONTROL_FLOW.search(error_type)
        or _CONTROL_FLOW_MESSAGE.match(span.status_message)
        or _CONTROL_FLOW_MESSAGE.match(exception_message)
    )
    if event.status == Status.ERROR:
        if is_control_flow:
            event.status = Status.OK if span.end_ns else Status.RUNNING
            event.error_message = ""
    elif not is_control_flow and _failed(span, event, values):
        event.status = Status.ERROR
    if event.status != Status.ERROR:
        return
    message = exception_message or values.get("error_message") or span.status_message
    answered_type, answered_message, status = _answered(message)
    if answered_message and message.lstrip()[:1] == "{":
        message = answered_message
    message = message.strip()
    if error_type in _UNNAMED and (written := _EXCEPTION_AS_MESSAGE.match(message[:MAX_MESSAGE])):
        error_type, message = written[1], written[3]
    event.error_message = message[:MAX_MESSAGE]
    if not error_type and (named := _EXCEPTION_IN_MESSAGE.match(message[:MAX_MESSAGE])):
        error_type = named[1]
    event.error_type = (error_type or answered_type)[:MAX_MESSAGE]
    if status is not None:
        values.setdefault("http_status", status)


def _failed(span: Span, event: Event, values: dict[str, Any]) -> bool:
    """Whether a span that does not call itself an error is one all the same. A span that calls itself a success
    is believed."""
    if values.get("outcome", "").lower() in _FAILURES or values.get("finish_reasons") == BROKEN_OFF:
        return True
    if span.status_code == StatusCode.OK or event.kind not in _OUTSIDE:
        return False
    return bool(values.get("error_type")) or (values.get("http_status") or 0) >= _FIRST_FAILURE


def _answered(message: str, depth: int = 0) -> tuple[str, str, int | None]:
    """(type, message, HTTP status) of a provider's error, where the message holds its body, or a message that does:
    OpenAI's Agents SDK gives the client's message below its own.

    Args:
        depth: how many messages this one lies in.
    """
    named = _STATUS_IN_MESSAGE.search(message[:MAX_MESSAGE])
    status = int(named[1]) if named else None
    start = message.find("{")
    body = parse(message[start:].strip()) if start >= 0 else None
    if not isinstance(body, dict):
        return "", "", status
    inner = body.get("error", member(body, ("data", "error")))
    kind, told, within = "", "", None
    if isinstance(inner, str) and depth < _MAX_DEPTH:
        kind, told, within = _answered(inner, depth + 1)
    error = inner if isinstance(inner, dict) else body
    if not kind:
        kind = next((text(error[key]) or "" for key in ("type", "code", "status") if error.get(key)), "")
    if not told:
        told = text(error.get("message")) or (inner if isinstance(inner, str) else "")
    if status is None and isinstance(error.get("code"), int) and _FIRST_FAILURE <= error["code"] < 600:
        status = error["code"]
    return kind, told, within if status is None else status
