"""What must not be stored is taken out of what was decoded, before anything else sees it.

Secrets always, personal data and content as the project's rules say. All records of a batch are looked through as
bytes for the marks of secrets (`marks`). Only where one is found, or a project masks personal data, are values
touched, and of these only the texts that have one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from google.protobuf.message import DecodeError

from collector.config import RedactionRules, RedactionSettings
from collector.otlp.messages import LogsRequest, TracesRequest, serialized
from collector.pipeline.marks import Marks, MarkSearch, marked
from collector.telemetry.telemetry import about
from mappers.content import Content
from mappers.conventions.base import Convention
from mappers.model import Event, LogRecord, Span, SpanEvent, SpanLink
from mappers.records import taken_out
from mappers.redact import (
    Mask,
    PersonalData,
    mask_personal,
    mask_secrets,
    redact_attributes,
    redact_value,
)

log = logging.getLogger(__name__)

MAX_PROJECTS = 1_024
"""Projects whose rules are remembered."""

Item = Span | LogRecord
_GEN_AI_OUTPUTS = ("gen_ai.choice", "gen_ai.assistant.message")


def _mask_message(message: Any, mask: Mask) -> None:
    """Masks every text of a protobuf message, in place."""
    for kind, value in message.ListFields():
        if kind.type == kind.TYPE_STRING:
            setattr(message, kind.name, mask(value))
        elif kind.name == "bytes_value":
            message.bytes_value = _masked_bytes(value, mask)
        elif kind.type == kind.TYPE_MESSAGE:
            if kind.message_type.GetOptions().map_entry:
                _mask_map(value, mask)
            else:
                for part in value if kind.is_repeated else [value]:
                    _mask_message(part, mask)


def _mask_map(values: Any, mask: Mask) -> None:
    for key in list(values):
        _mask_message(values[key], mask)
        if (masked := mask(key)) != key:
            values[masked].CopyFrom(values.pop(key))


def _masked_bytes(value: bytes, mask: Mask) -> bytes:
    return mask(value.decode("latin-1")).encode("latin-1", "replace")


def masking(settings: RedactionSettings) -> Callable[[bytes], bytes]:
    """What may be kept of bytes that nobody can read, whosever they are: masked as any project's rules say, and
    nothing at all where one does not want its content stored."""
    rules = [_compiled(one) for one in (settings, *settings.projects.values())]
    mask = _both(mask_secrets, frozenset[PersonalData]().union(*(one.personal for one in rules)))
    if any(one.hidden for one in rules):
        return lambda damaged: b""
    return lambda damaged: _masked_bytes(damaged, mask)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one project."""

    personal: frozenset[PersonalData]
    hidden: tuple[str, ...]
    """Sides of the content that are not stored."""

    def mask(self, text: str) -> str:
        """The text without secrets and what personal data the project wants masked."""
        return mask_personal(mask_secrets(text), self.personal)


class ProjectRules:
    """The rules of each project, for all who redact by the same settings."""

    def __init__(self, settings: RedactionSettings) -> None:
        self.take_over(settings)

    def take_over(self, settings: RedactionSettings) -> None:
        """Others hold from now on. May be called from any thread."""
        self._holding: tuple[RedactionSettings, dict[str, Rules]] = settings, {}

    @property
    def settings(self) -> RedactionSettings:
        return self._holding[0]

    @property
    def secrets_only(self) -> bool:
        """Whether no project has rules of its own, or others than that secrets are masked."""
        return _compiled(self.settings) == Rules(frozenset(), ()) and not self.settings.projects

    def of(self, project: str) -> Rules:
        settings, known = self._holding
        rules = known.get(project)
        if rules is None:
            if len(known) >= MAX_PROJECTS:
                known.clear()
            rules = known[project] = _compiled(_rules_of(settings, project))
        return rules


class Redaction:
    """Redacts the items of one signal's pipeline; give each its own.

    Args:
        rules: what holds; others may follow at any time.
        conventions: they say which attributes hold content.
        marks: finds the records that may hold a secret.
    """

    def __init__(
        self, rules: ProjectRules, conventions: Iterable[Convention], marks: Marks | None = None
    ) -> None:
        self._rules = rules
        self._content = Content(conventions)
        self._marks = marks or MarkSearch()
        self._seen: list[Sequence[Item]] = []
        self.masked = 0
        """Items that were looked through value by value."""
        self.failures = 0
        """Items that could not be masked; they were stored without what they held."""

    @property
    def settings(self) -> RedactionSettings:
        return self._rules.settings

    @property
    def secrets_only(self) -> bool:
        """Whether nothing but secrets is masked, in any project: what has no mark of one stays as it is."""
        return self._rules.secrets_only

    def saw(self, body: bytes, items: Sequence[Item]) -> None:
        """Remembers what was decoded from a record, until `mask`."""
        self._marks.add(body)
        self._seen.append(items)

    def mask(self) -> list[bool]:
        """Masks, in place, what `saw` was told of since the last time. Returns for each record whether some of it may
        be changed, by this or by `hide`."""
        texts = [
            _texts(items) if has_mark else _Texts()
            for items, has_mark in zip(self._seen, self._marks.found(), strict=True)
        ]
        marked_texts = _marked(set[str]().union(*(found.texts for found in texts)))

        def mask_marked(text: str) -> str:
            return mask_secrets(text) if text in marked_texts else text

        done: set[int] = set()
        changed = []
        secrets_only = self._rules.secrets_only
        for items, found in zip(self._seen, texts, strict=True):
            is_suspect = not (found.all and marked_texts.isdisjoint(found.texts))
            is_changed = is_suspect
            for item in items if is_suspect or not secrets_only else ():
                rules = self._rules.of(item.project)
                if rules.personal:
                    self._mask(item, _both(mask_marked, rules.personal), done)
                elif is_suspect:
                    self._mask(item, mask_marked, done)
                is_changed = is_changed or bool(rules.personal or rules.hidden)
            changed.append(is_changed)
        self.forget()
        return changed

    def forget(self) -> None:
        """As if it had seen nothing since `mask`."""
        self._seen.clear()
        self._marks.clear()

    def hide(self, items: Sequence[Item], events: Sequence[Event]) -> None:
        """Removes, in place, the content that projects do not want stored. The events were read from the items
        before, so that sizes, hashes and names of tools are known all the same."""
        if self._rules.secrets_only:
            return
        for event in events:
            hidden = self._rules.of(event.project).hidden
            if "input" in hidden:
                event.input = ""
            if "output" in hidden:
                event.output = ""
        for item in items:
            if hidden := self._rules.of(item.project).hidden:
                self._hide(item, hidden)

    def masked_request(self, signal: str, body: bytes, project: str) -> bytes:
        """A record's body with what looks like a secret masked, also one that nobody can decode."""
        mask = self._rules.of(project).mask
        message = TracesRequest if signal == "traces" else LogsRequest
        try:
            request = message.FromString(body)
        except DecodeError:
            return _masked_bytes(body, mask)
        _mask_message(request, mask)
        return serialized(request)

    # ------------------------------------------------------------------- one item

    def _mask(self, item: Item, mask: Mask, done: set[int]) -> None:
        self.masked += 1
        try:
            for name, value in _redacted(item, mask).items():
                setattr(item, name, value)
            for shared in (item.resource, item.scope):
                if id(shared) not in done:
                    done.add(id(shared))
                    shared.attributes = redact_attributes(shared.attributes, mask)
        except Exception:
            log.exception(
                "an item could not be masked; it is stored without its attributes",
                extra=about(item.tenant, item.trace_id),
            )
            self.failures += 1
            item.attributes = {}
            item.resource.attributes = item.scope.attributes = {}
            if isinstance(item, Span):
                item.name = item.status_message = item.trace_state = ""
                item.events, item.links = (), ()
            else:
                item.body = None

    def _hide(self, item: Item, hidden: tuple[str, ...]) -> None:
        without = self._content.without
        if isinstance(item, LogRecord):
            if (taken := taken_out(item.body)) is not None:
                item.body = {side: told for side, told in taken.items() if side not in hidden}
                item.attributes = without(item.attributes, hidden)
                return
            name = item.event_name or str(item.attributes.get("event.name") or "")
            side = "output" if name in _GEN_AI_OUTPUTS else "input"
            if not isinstance(item.body, str) or name.startswith("gen_ai."):
                item.body = None if side in hidden or len(hidden) == 2 else item.body
        else:
            for event in item.events:
                event.attributes = without(event.attributes, hidden)
        item.attributes = without(item.attributes, hidden)


def _rules_of(settings: RedactionSettings, project: str) -> RedactionRules:
    return next(
        (rules for pattern, rules in settings.projects.items() if fnmatchcase(project, pattern)), settings
    )


def _compiled(rules: RedactionRules) -> Rules:
    hidden = {"input": not rules.capture_input, "output": not rules.capture_output}
    return Rules(frozenset(rules.mask), tuple(side for side, off in hidden.items() if off))


def _both(mask: Mask, personal: frozenset[PersonalData]) -> Mask:
    return lambda text: mask_personal(mask(text), personal)


@dataclass(slots=True)
class _Texts:
    """What was found in the items of a record."""

    texts: set[str] = field(default_factory=set)
    all: bool = True
    """No item has texts that can not be collected."""


def _texts(items: Iterable[Item]) -> _Texts:
    found = _Texts()

    def collect(text: str) -> str:
        found.texts.add(text)
        return text

    for item in items:
        try:
            _redacted(item, collect)
            for shared in (item.resource, item.scope):
                redact_attributes(shared.attributes, collect)
        except Exception:  # masking it fails too, and says so
            log.debug("the texts of an item can not be collected", exc_info=True)
            found.all = False
    return found


def _marked(texts: Iterable[str]) -> frozenset[str]:
    """Those that have a mark: of a large request usually a few."""
    ordered = list(texts)
    found = marked([text.encode("utf-8", "surrogatepass") for text in ordered])
    return frozenset(text for text, has_mark in zip(ordered, found, strict=True) if has_mark)


def _redacted(item: Item, mask: Mask) -> dict[str, Any]:
    """What of an item can hold text, redacted, by field."""
    redacted: dict[str, Any] = {"attributes": redact_attributes(item.attributes, mask)}
    if isinstance(item, LogRecord):
        return redacted | {
            "body": redact_value(item.body, mask),
            "severity_text": mask(item.severity_text),
            "event_name": mask(item.event_name),
        }
    return redacted | {
        "name": mask(item.name),
        "status_message": mask(item.status_message),
        "trace_state": mask(item.trace_state),
        "events": [
            SpanEvent(event.time_ns, mask(event.name), redact_attributes(event.attributes, mask))
            for event in item.events
        ],
        "links": [
            SpanLink(
                link.trace_id,
                link.span_id,
                mask(link.trace_state),
                redact_attributes(link.attributes, mask),
            )
            for link in item.links
        ],
    }
