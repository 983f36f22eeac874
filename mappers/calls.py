"""Model calls: the spans that tell one, and how often it was tried."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mappers.messages.document import remembered
from mappers.model import ERROR, OK, OTHER, PROXY_SCOPE, Event
from mappers.tree import MODEL_KINDS, Tree

_HTTP_CLIENTS = re.compile(
    r"instrumentation[./-](?:httpx|requests|urllib3?|aiohttp[._-]client|http|undici|fetch|node-fetch)(?:\b|$)"
)


@remembered(1_024)
def _is_http_client(scope: str) -> bool:
    return _HTTP_CLIENTS.search(scope) is not None


@dataclass(frozen=True, slots=True)
class Call:
    """A model call: the event that counts, and the twins that it stands for."""

    event: Event
    twins: Sequence[Event]
    requests: Sequence[Event] = ()
    """Spans that an HTTP client made below it."""

    @property
    def attempts(self) -> int:
        """Tries within this call: as reported, or as twins of one instrumentation or HTTP requests side by side of
        which one succeeded at most. The proxy's spans say how many tries were before, which are spans of their own:
        they are tries of this call only where it is another's span."""
        says = self.event.scope != PROXY_SCOPE or "attempts" in self.event.filled
        most = max([self.event.attempts if says else 1, *[twin.attempts for twin in self.twins]])
        if len(self.twins) > 1:
            beside: dict[tuple[str, str], list[Event]] = defaultdict(list)
            for twin in self.twins:
                beside[twin.parent_span_id, twin.scope].append(twin)
            for group in beside.values():
                if sum(twin.status == OK for twin in group) <= 1:
                    most = max(most, len(group))
        if len(self.requests) > 1 and sum(sent.status == OK for sent in self.requests) <= 1:
            most = max(most, len(self.requests))
        return most


def calls_of(tree: Tree) -> list[Call]:
    """The model calls that count, in order. Twins must be settled."""
    twins: dict[str, list[Event]] = defaultdict(list)
    requests: dict[str, list[Event]] = defaultdict(list)
    for event in tree.events:
        if event.duplicate_of:
            twins[event.duplicate_of].append(event)
        elif event.kind == OTHER and _is_http_client(event.scope):
            above = tree.parent(event)
            if above is not None and above.kind in MODEL_KINDS:
                requests[above.duplicate_of or above.span_id].append(event)
    return [
        Call(event, twins.get(event.span_id, ()), requests.get(event.span_id, ()))
        for event in tree.events
        if event.kind in MODEL_KINDS and not event.duplicate_of
    ]


def repeated(calls: Sequence[Call]) -> set[str]:
    """Span ids of calls that repeat a failed one which was a span of its own.

    That is the next call of the kind under the same parent, made after the failure, for the same model and
    with the same input as far as both are known.
    """
    found = set()
    failed: dict[tuple[str, str], Event] = {}
    for call in calls:
        event = call.event
        if not event.parent_span_id and event.source != "log":
            continue
        place = (event.parent_span_id, event.kind)
        before = failed.pop(place, None)
        if before is not None and repeats(event, before):
            found.add(event.span_id)
        if event.status == ERROR:
            failed[place] = event
    return found


def repeats(event: Event, before: Event) -> bool:
    """Whether a call that failed before was tried again in this one."""
    return (
        event.start_ns >= before.end_ns
        and (
            not event.request_model or not before.request_model or event.request_model == before.request_model
        )
        and (not event.args_hash or not before.args_hash or event.args_hash == before.args_hash)
    )
