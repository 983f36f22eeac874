"""What of an event stays in memory once its row is stored, so that a hundred thousand of them fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mappers.model import ERROR, Event
from mappers.tree import MODEL_KINDS

MOST_TEXTS = 10_000
"""Texts that later events may share; after these it begins anew."""
NOTHING: Mapping[str, str] = {}
"""In place of an empty dict of its own, which takes 80 bytes."""


class Compacting:
    """Makes stored events small. Those of a process say the same again and again, each in texts of its own: names,
    models, tools, sessions. With these kept once, and without empty dicts, one takes 1,130 bytes instead of 1,600."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def compact(self, events: Iterable[Event]) -> None:
        """Drops, in place, what only the stored row needs. A root keeps its preview: it is the run's; so do parts, for
        the events that they fill, and these, and calls that failed, which have nothing else to be known again by."""
        if len(self._texts) > MOST_TEXTS:
            self._texts.clear()
        shared = self._texts.setdefault
        for event in events:
            event.run_id = shared(event.run_id, event.run_id)
            if event.trace_id == event.run_id:
                event.trace_id = event.run_id
            event.parent_span_id = shared(event.parent_span_id, event.parent_span_id)
            event.name = shared(event.name, event.name)
            event.session_id = shared(event.session_id, event.session_id)
            event.user_id = shared(event.user_id, event.user_id)
            event.provider = shared(event.provider, event.provider)
            event.request_model = shared(event.request_model, event.request_model)
            event.response_model = shared(event.response_model, event.response_model)
            event.tool = shared(event.tool, event.tool)
            if not (event.is_root or event.filled or event.source == "log" or _is_failed_call(event)):
                event.input = event.output = ""
                event.metadata = event.parameters = NOTHING
                event.offered_tools = event.documents = ()


def _is_failed_call(event: Event) -> bool:
    return event.status == ERROR and event.kind in MODEL_KINDS
