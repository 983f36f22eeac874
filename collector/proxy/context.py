"""What a client says about a call beside the call: X-Loop headers, their aliases, and the W3C trace context."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from collector.doors.gate import ANYBODY, Caller

MAX_PROJECT = 128
MAX_VALUE = 512
MAX_LABELS = 64

_HEX = re.compile(r"[0-9a-fA-F]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_LEVELS = {"full": 2, "meta": 1, "off": 0}
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


@dataclass(slots=True)
class Context:
    """ "" and empty where the client said nothing."""

    project: str = ""
    tenant: str = ""
    """Of the key that came along."""
    trace_id: str = ""
    """32 hex digits, given or made of what was given."""
    external_trace: str = ""
    """What was given, if it was no trace id."""
    parent_id: str = ""
    """16 hex digits."""
    external_parent: str = ""
    link: tuple[str, str] | None = None
    """(trace id, span id) of the W3C context, where `X-Loop-TraceID` overrides it."""
    from_traceparent: bool = False
    session: str = ""
    user: str = ""
    run_name: str = ""
    capture: str = "full"
    """full | meta | off: what the client lets us keep."""
    labels: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """What nothing is shared beyond: the project, within its tenant."""
        return f"{self.tenant}\0{self.project}" if self.tenant else self.project


def read_context(
    headers: Iterable[tuple[bytes, bytes]],
    default_project: str = "",
    default_trace: str = "",
    caller: Caller = ANYBODY,
) -> Context:
    """The context of a request. Precedence of the trace: `X-Loop-TraceID`, then `traceparent`, then the default; of
    the project: the key's, then `X-Loop-Project`, then the default."""
    context = Context(project=default_project, tenant=caller.tenant)
    given_trace = given_parent = traceparent = ""
    for name, value in headers:
        if name == b"traceparent":
            traceparent = value.decode("latin-1").strip()
        elif name.startswith((b"x-loop-", b"x-eddyline-")):
            word = name.partition(b"loop-" if name.startswith(b"x-loop-") else b"eddyline-")[2]
            text = value.decode("utf-8", "replace").strip()[:MAX_VALUE]
            if word == b"project" and text:
                context.project = text[:MAX_PROJECT]
            elif word == b"traceid":
                given_trace = text
            elif word == b"parentid":
                given_parent = text
            elif word == b"custom-label":
                _add_labels(context, text)
            elif word == b"session":
                context.session = text
            elif word == b"user":
                context.user = text
            elif word == b"run-name":
                context.run_name = text
            elif word == b"capture":
                context.capture = _lower(context.capture, text.lower())
        elif name.startswith(b"helicone-"):
            _read_alias(context, name[9:], value.decode("utf-8", "replace").strip()[:MAX_VALUE])
    context.project = caller.project or context.project
    _place(context, given_trace, given_parent, traceparent)
    context.trace_id = context.trace_id or default_trace
    return context


def _place(context: Context, given_trace: str, given_parent: str, traceparent: str) -> None:
    match = _TRACEPARENT.fullmatch(traceparent)
    remote = (match[1], match[2]) if match and match[1] != _NO_TRACE and match[2] != _NO_SPAN else None
    if given_trace:
        context.trace_id = trace_id_of(given_trace, context.project)
        if context.trace_id != given_trace.lower():
            context.external_trace = given_trace
        context.link = remote
    elif remote:
        context.trace_id, context.parent_id = remote
        context.from_traceparent = True
    if given_parent:
        context.parent_id = span_id_of(given_parent, context.trace_id)
        if context.parent_id != given_parent.lower():
            context.external_parent = given_parent


def trace_id_of(given: str, project: str) -> str:
    """32 hex digits as they are, an UUID without its dashes, anything else hashed with the project."""
    plain = given.replace("-", "") if _UUID.fullmatch(given) else given
    if len(plain) == 32 and _HEX.fullmatch(plain) and plain != _NO_TRACE:
        return plain.lower()
    return sha256(f"{project}\0{given}".encode()).hexdigest()[:32]


def span_id_of(given: str, trace_id: str) -> str:
    """16 hex digits as they are, anything else hashed with the trace."""
    if len(given) == 16 and _HEX.fullmatch(given) and given != _NO_SPAN:
        return given.lower()
    return sha256(f"{trace_id}\0{given}".encode()).hexdigest()[:16]


def _add_labels(context: Context, text: str) -> None:
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and key and len(context.labels) < MAX_LABELS:
            context.labels[key] = value
        elif key and not equals and len(context.tags) < MAX_LABELS:
            context.tags.append(key)


def _lower(level: str, asked: str) -> str:
    """Capture can only be reduced; what nobody knows changes nothing."""
    return asked if _LEVELS.get(asked, 3) < _LEVELS[level] else level


def _read_alias(context: Context, word: bytes, text: str) -> None:
    """Headers of Helicone, read so that its users can try us without a change."""
    if word == b"session-id":
        context.session = context.session or text
    elif word == b"session-name":
        context.run_name = context.run_name or text
    elif word == b"user-id":
        context.user = context.user or text
    elif word.startswith(b"property-") and len(context.labels) < MAX_LABELS:
        context.labels.setdefault(word[9:].decode("latin-1"), text)
    elif word in (b"omit-request", b"omit-response") and text.lower() == "true":
        context.capture = _lower(context.capture, "meta")
