"""From one span to one event. Never raises: a span that nobody understands is an event of kind OTHER."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from mappers.conventions import BUILTIN, Convention
from mappers.conventions.fields import text
from mappers.conventions.plan import Traits
from mappers.conventions.reading import FlatFamily
from mappers.conventions.registry import Registry
from mappers.cost import Prices
from mappers.explain import Explanation, explain
from mappers.handoff import target_in_arguments, target_in_name
from mappers.loops import history
from mappers.loops.evaluator import Engine
from mappers.loops.history import may_repeat
from mappers.loops.signs import signs_of
from mappers.messages import asked_text, first_text, last_text
from mappers.messages.arguments import arguments_of, result_of
from mappers.messages.document import compact, hash64, parse, written
from mappers.messages.requests import requests_of, tool_requests
from mappers.model import (
    ERROR,
    HANDOFF,
    LLM,
    RETRIEVER,
    TOOL,
    AttributeValue,
    Event,
    Kind,
    Resource,
    Scope,
    Span,
    Status,
    StatusCode,
    ToolRequest,
)
from mappers.outcome import BROKEN_OFF, MAX_MESSAGE, TELLING, settle_outcome
from mappers.usage import make_inclusive

MAPPER_VERSION = 1
"""Grows when the same span gives another event than before."""
PREVIEW = 500
"""Characters of input and output that an event keeps, but for what tools were asked and said."""
TOOL_TEXT = 8_000
"""Characters of a tool's arguments and of its result that an event keeps: what loops are found by."""
TOOL_TAIL = 2_000
"""Of these, how many are its end, if it is longer."""
MAX_ATTEMPTS = 1_000
"""More attempts than this within one call are damage."""

_MODEL_CALLS = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.RERANKER})
_HASHED = _MODEL_CALLS | {Kind.RETRIEVER}
_REDACTED = b"__REDACTED__"
_EMPTY = frozenset({"[]", "{}"})


class Normalizer:
    """Reads spans by conventions. Used from one thread; give each thread its own.

    Args:
        conventions: those that come with the package by default; whoever loads plugins adds theirs. A faulty
            one is left out and counted.
        prices: what calls cost that do not say so; list prices by default.
        loops: what looks for loops in the histories that calls are given; with usual thresholds by default.
    """

    def __init__(
        self,
        conventions: Iterable[Convention] = BUILTIN,
        prices: Prices | None = None,
        loops: Engine | None = None,
    ) -> None:
        self.loops = loops or Engine()
        self._registry = Registry(conventions)
        self._price = (prices or Prices()).price
        self._resource: Resource | None = None
        self._service = self._environment = self._instance = ""
        self._scope: Scope | None = None
        self._scope_plans = self._registry.scope_plans(Scope())

    def explain(self, span: Span) -> Explanation:
        """Why `normalize` reads a span as it does."""
        told = explain(self._registry, span)
        if self.normalize(span).kind != told.kind:
            told.corrected(HANDOFF, "the name of its tool hands over to another agent")
        return told

    @property
    def faults(self) -> Counter[str]:
        """Failures by convention id; under "" the spans that could not be read at all."""
        return self._registry.faults

    def normalize(self, span: Span) -> Event:
        """The event of a span: everything but the fields that only the whole run can settle."""
        event = Event(run_id=span.trace_id, span_id=span.span_id)
        event.parent_span_id = span.parent_span_id
        event.trace_id = span.trace_id
        event.tenant = span.tenant
        event.project = span.project
        event.name = span.name
        event.start_ns = span.start_ns
        event.end_ns = span.end_ns
        event.is_root = not span.parent_span_id
        event.scope = span.scope.name
        event.source = span.source
        event.mapper_version = MAPPER_VERSION
        if span.status_code == StatusCode.ERROR:
            event.status = ERROR
            event.error_message = span.status_message[:MAX_MESSAGE]
        elif not span.end_ns:
            event.status = Status.RUNNING
        if span.links:
            event.links = tuple(dict.fromkeys(link.trace_id for link in span.links))
        try:
            if span.resource is not self._resource:
                self._enter_resource(span.resource)
            event.service = self._service
            event.instance = self._instance
            event.environment = self._environment
            self._interpret(span, event)
        except Exception:  # Hostile input must cost no more than its own meaning.
            self.faults[""] += 1
        return event

    def content(self, span: Span) -> tuple[Any, Any]:
        """(what it read, what it wrote) as one value each, whole; None where it tells nothing."""
        layout = self._registry.scope_plans(span.scope).layout(span)
        kind = layout.plan.traits(span).kind
        values = layout.plan.fields[kind].read(span, layout.families)
        if kind in (TOOL, HANDOFF):
            return values.get("arguments"), values.get("result")
        sides = (_told(values, "input_messages", "input"), _told(values, "output_messages", "output"))
        read, wrote = (content if messages is None else messages.value() for messages, content in sides)
        return read, wrote

    def _enter_resource(self, resource: Resource) -> None:
        get = resource.attributes.get
        self._service = text(get("service.name")) or ""
        self._environment = (
            text(get("deployment.environment.name")) or text(get("deployment.environment")) or ""
        )
        self._instance = _instance(get)
        self._resource = resource

    def _interpret(self, span: Span, event: Event) -> None:
        if span.scope is not self._scope:
            self._scope_plans = self._registry.scope_plans(span.scope)
            self._scope = span.scope
        layout = self._scope_plans.layout(span)
        plan = layout.plan
        event.convention = plan.convention
        traits = plan.traits(span)
        values = plan.fields[traits.kind].read(span, layout.families)
        event.kind = traits.kind
        event.is_setup = traits.setup
        if (
            event.status == ERROR
            or span.events
            or not values.keys().isdisjoint(TELLING)
            or values.get("finish_reasons") == BROKEN_OFF
        ):
            settle_outcome(span, event, values)
        if traits.kind in _MODEL_CALLS:
            _tell_model_call(event, values, traits)
            if event.cost_usd is None:
                self._price(event)
        if traits.kind is TOOL or traits.kind is HANDOFF:
            _tell_tool_call(event, values, traits)
        else:
            _tell_content(event, values, self.loops)
        if "documents" in values:
            event.documents = values["documents"]
        event.agent = values.get("agent", "")
        event.session_id = values.get("session_id", "")
        if not event.session_id and "conversation_id" in values:
            event.session_id, event.session_is_weak = values["conversation_id"], True
        event.user_id = values.get("user_id", "")
        event.operation = values.get("operation", "")
        if "tags" in values:
            event.tags = values["tags"]
        if "metadata" in values:
            event.metadata = values["metadata"]


def _instance(get: Callable[[str], AttributeValue]) -> str:
    """What tells a process from every other: its id, else its host and process id (conventions.md §2)."""
    named = text(get("service.instance.id"))
    if named:
        return named
    host = text(get("host.id")) or text(get("host.name")) or text(get("container.id")) or ""
    process = text(get("process.pid"))
    return f"{host}/{process}" if process else ""


def _tell_model_call(event: Event, values: dict[str, Any], traits: Traits) -> None:
    if "input_tokens" in values or "output_tokens" in values or "total_tokens" in values:
        make_inclusive(
            values,
            excludes_cache=traits.input_excludes_cache,
            excludes_reasoning=traits.output_excludes_reasoning,
            total_tells=not traits.total_is_own_sum,
        )
        event.input_tokens = values.get("input_tokens")
        event.output_tokens = values.get("output_tokens")
        event.cache_read_tokens = values.get("cache_read_tokens")
        event.cache_write_tokens = values.get("cache_write_tokens")
        event.cache_write_1h_tokens = values.get("cache_write_1h_tokens")
        event.reasoning_tokens = values.get("reasoning_tokens")
        event.audio_input_tokens = values.get("audio_input_tokens")
        event.audio_output_tokens = values.get("audio_output_tokens")
        if event.input_tokens is not None or event.output_tokens is not None:
            event.usage_source = "estimated" if traits.usage_is_estimate else "reported"
    event.web_searches = values.get("web_searches")
    event.provider = values.get("provider", "")
    event.request_model = values.get("request_model", "")
    event.response_model = values.get("response_model", "")
    event.response_id = values.get("response_id", "")
    event.service_tier = values.get("service_tier", "")
    event.finish_reasons = values.get("finish_reasons", ())
    if event.kind == LLM:
        event.tool_requests = _tool_requests(values)
        event.prompt_name = values.get("prompt_name", "")
        event.prompt_version = values.get("prompt_version", "")
        if "offered_tools" in values:
            event.offered_tools, event.offered_tools_hash = values["offered_tools"]
    if "parameters" in values:
        event.parameters = values["parameters"]
    event.embedding_dimensions = values.get("embedding_dimensions")
    event.http_status = values.get("http_status")
    event.streaming = values.get("streaming")
    if event.streaming is not False:
        # Of an answer that came as a whole, OpenLIT gives the call's duration.
        event.ttft_ms = values.get("ttft_ms")
    if "cost_usd" in values:
        event.cost_usd = values["cost_usd"]
        event.cost_source = "reported"
    if "resend_count" in values:
        event.attempts = min(values["resend_count"] + 1, MAX_ATTEMPTS)


def _tool_requests(values: dict[str, Any]) -> tuple[ToolRequest, ...]:
    """The requests of the answer: where the convention says, else in its messages, else in the whole."""
    messages, content = _told(values, "output_messages", "output")
    if messages is not None and messages.has_calls:
        found = requests_of(messages.calls()) or tool_requests(messages.value())
        if found:
            return found
    for answer in (values.get("tool_requests"), content):
        if answer is not None and (found := tool_requests(answer)):
            return found
    return ()


def _told(values: dict[str, Any], flattened: str, whole: str) -> tuple[FlatFamily | None, Any]:
    """(flattened messages, content as one value). Conventions of others may name messages that are not flattened:
    they are content."""
    messages, content = values.get(flattened), values.get(whole)
    if messages is None or isinstance(messages, FlatFamily):
        return messages, content
    return None, messages if content is None else content


def _tell_tool_call(event: Event, values: dict[str, Any], traits: Traits) -> None:
    event.tool = values.get("tool") or event.name
    event.tool_call_id = values.get("tool_call_id", "")
    arguments = None
    if (raw := values.get("arguments")) is not None:
        arguments = arguments_of(raw)
        event.input, event.args_hash, event.input_bytes = _digest(arguments, raw)
    if (raw := values.get("result")) is not None:
        event.output, event.result_hash, event.output_bytes = _digest(result_of(raw), raw)
        if event.result_hash:
            event.signs = signs_of(event.tool, event.output)
    target = target_in_name(event.tool)
    if target is None and traits.kind is TOOL:
        return
    event.kind = HANDOFF
    event.handoff_source = "tool_span" if traits.was_tool else "handoff_span"
    event.handoff_to = target or values.get("handoff_to") or target_in_arguments(arguments)
    if event.handoff_to == "unknown":
        event.handoff_to = ""


def _digest(value: Any, raw: Any) -> tuple[str, int, int]:
    """(preview, hash, size of what was captured in bytes) of arguments or a result."""
    whole = written(value)
    encoded = whole.encode(errors="replace")
    size = len(encoded) if value is raw else len(_whole(raw))
    return shortened(whole), 0 if encoded == _REDACTED else hash64(encoded), size


def shortened(text: str) -> str:
    """A tool's text as it is kept: whole, or its head and its end."""
    return text if len(text) <= TOOL_TEXT else f"{text[: TOOL_TEXT - TOOL_TAIL - 1]}\n{text[-TOOL_TAIL:]}"


def _tell_content(event: Event, values: dict[str, Any], loops: Engine) -> None:
    """Previews: of messages the end of the input and the start of the output, of texts their beginning.

    Messages are opened for model calls and roots only: the spans between them repeat what these hold.
    """
    opened = event.kind == LLM or event.is_root
    hashed = event.kind in _HASHED
    messages, content = _told(values, "input_messages", "input")
    if messages is not None or content is not None:
        whole = _whole(messages if content is None else content)
        event.input_bytes = len(whole)
        if hashed and whole != _REDACTED:
            event.args_hash = hash64(whole)
        if event.kind == LLM and (event.is_root or event.source == "log") and may_repeat(whole):
            event.history = history.look(content if messages is None else messages.value(), loops)
        shown = messages.last_text() if messages is not None else ""
        if opened and not shown:
            # A call reads up to its last message; an agent may tell all that was said as what it read.
            shown = last_text(content) if event.kind == LLM else asked_text(content)
        event.input = (shown or _plain(content, event))[:PREVIEW]
    messages, content = _told(values, "output_messages", "output")
    if messages is not None or content is not None:
        whole = _whole(messages if content is None else content)
        event.output_bytes = len(whole)
        shown = messages.first_text() if messages is not None else ""
        if opened and not shown:
            # Of several choices the first counts. A graph or an agent gives back its history: the end of that.
            shown = first_text(content) if event.kind == LLM else last_text(content)
        shown = shown or _plain(content, event)
        if hashed and shown and whole != _REDACTED:
            # Of what is shown, since the whole carries ids and times that never repeat.
            event.result_hash = hash64(shown.encode(errors="replace"))
        event.output = shown[:PREVIEW]
        if event.kind == RETRIEVER and event.result_hash:
            event.signs = signs_of(event.name, event.output)


def _plain(content: Any, event: Event) -> str:
    """Content in which no message says anything, as it is read best: a text without its quotes, arguments without
    their envelope, what a crew of CrewAI wrote without what it keeps beside it, nothing of what is empty."""
    is_quoted = isinstance(content, str) and content[:1] == '"'
    if is_quoted or event.is_root or event.kind == LLM:
        value = parse(content) if isinstance(content, str) else content
        if isinstance(value, list) and all(isinstance(item, dict) and "role" in item for item in value):
            return ""
        inner = arguments_of(value)
        if isinstance(inner, dict) and "tasks_output" in inner and isinstance(inner.get("raw"), str):
            inner = inner["raw"]
        if is_quoted or inner is not value:
            content = inner
    told = written(content)
    return "" if told in _EMPTY else told


def _whole(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode(errors="replace")
    return compact(content.value() if isinstance(content, FlatFamily) else content)
