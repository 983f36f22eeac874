"""A whole request, from its resources down to its items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from collector.otlp import messages
from collector.otlp.check import (
    CUT_KEYS,
    CUT_VALUES,
    ENUM_NAMES,
    INDEXES,
    ODD_PARENT,
    TOO_MANY_PARTS,
    TWICE,
    Checked,
    NotOtlpError,
    has_odd_parent,
    sent_as,
    shown_trace_id,
    wrong_log_record,
    wrong_span,
)
from collector.otlp.json.attributes import fill_attributes, has_indexes
from collector.otlp.json.body import is_looked_through, keys_given_twice, read
from collector.otlp.json.fields import Document, ItemError, as_object, kind_of, list_of, snake, text
from collector.otlp.json.items import fill_log_record, fill_span, has_too_many
from collector.otlp.limits import DEFAULT, Limits, TooManyError
from collector.otlp.longkeys import cut_keys, long_json_keys
from collector.otlp.mistaken import JSON_NAMES
from collector.otlp.signal import Signal
from collector.otlp.values import cut_values


def transcode(signal: Signal, body: bytes, limits: Limits = DEFAULT) -> Checked:
    """A JSON request as a protobuf one that holds what of it can be stored.

    Raises:
        NotOtlpError: the body is not JSON, or not a request of this signal.
        TooManyError: it has more parts than can be looked through.
    """
    document = read(body, limits)
    resources = list_of(document, JSON_NAMES[signal], NotOtlpError)
    if not resources and (other := _named_by_its_resources(document, signal)):
        raise sent_as(signal, other)
    twice = keys_given_twice(body, document) if is_looked_through(body) else 0
    if signal is Signal.METRICS:
        return Checked(b"", _data_points(resources), changes=+Counter({TWICE: twice}))
    request = _Request(_FORMS[signal], body, limits)
    request.warnings[TWICE] = twice
    request.add(resources)
    return request.checked()


class _Form(NamedTuple):
    """How a signal's items lie in its requests, and what they must be."""

    request: Callable[[], Any]
    resources: str
    scopes: str
    items: str
    """Fields of the message."""
    scopes_in_json: str
    items_in_json: str
    fill: Callable[[Document, Any, Limits], None]
    wrong: Callable[[Any], str]


_FORMS = {
    Signal.TRACES: _Form(
        messages.TracesRequest,
        "resource_spans",
        "scope_spans",
        "spans",
        "scopeSpans",
        "spans",
        fill_span,
        wrong_span,
    ),
    Signal.LOGS: _Form(
        messages.LogsRequest,
        "resource_logs",
        "scope_logs",
        "log_records",
        "scopeLogs",
        "logRecords",
        fill_log_record,
        wrong_log_record,
    ),
}


class _Request:
    """A request on its way, with what is told of it."""

    def __init__(self, form: _Form, body: bytes, limits: Limits) -> None:
        self._form = form
        self._limits = limits
        self._message = form.request()
        self._scopes = self._accepted = 0
        self._reasons: Counter[str] = Counter()
        self._rejected_trace_id = ""
        self.warnings: Counter[str] = Counter()
        # What the body can not have is not looked for in each item.
        self._may_have_long_values = len(body) > limits.value_bytes
        self._may_have_indexes = b"trindex" in body
        self._may_have_long_keys = long_json_keys(limits.key_bytes).search(body) is not None

    def checked(self) -> Checked:
        body = messages.serialized(self._message)
        return Checked(body, self._accepted, self._reasons, +self.warnings, self._rejected_trace_id)

    def add(self, resources: list[Any]) -> None:
        form, limits = self._form, self._limits
        if len(resources) > limits.resources:
            raise TooManyError(f"more than {limits.resources} resources in one request")
        added = getattr(self._message, form.resources)
        for resource in resources:
            message = added.add()
            self._envelope(resource, "resource", message)
            for scope in list_of(resource, form.scopes_in_json, NotOtlpError):
                self._scopes += 1
                if self._scopes > limits.scopes:
                    raise TooManyError(f"more than {limits.scopes} scopes in one request")
                scope_message = getattr(message, form.scopes).add()
                self._envelope(scope, "scope", scope_message)
                self._add_items(list_of(scope, form.items_in_json, NotOtlpError), scope_message)

    def _envelope(self, document: Any, name: str, message: Any) -> None:
        """Resource or scope, with the schema URL that stands beside it."""
        if not isinstance(document, dict):
            raise NotOtlpError(f"a JSON object is expected around {name!r}, not {kind_of(document)}")
        inner = document.get(name)
        target = getattr(message, name)
        value_bytes = self._limits.value_bytes
        try:
            message.schema_url = text(document, "schemaUrl")
            if inner is not None:
                if name == "scope":
                    target.name, target.version = text(inner, "name"), text(inner, "version")
                fill_attributes(as_object(inner), target.attributes, self._limits)
                if len(messages.serialized(target)) > value_bytes:
                    cut_values(target, value_bytes)
        except (ItemError, ValueError, TypeError) as error:
            raise NotOtlpError(f"{name}: {error}") from None
        if self._may_have_indexes and has_indexes(inner):
            self.warnings[INDEXES] += 1

    def _add_items(self, items: list[Any], scope_message: Any) -> None:
        """Adds those that can be stored, and counts why others can not."""
        form, limits, warnings = self._form, self._limits, self.warnings
        added = getattr(scope_message, form.items)
        for item in items:
            message = added.add()
            try:
                form.fill(as_object(item), message, limits)
                reason = form.wrong(message) or self._over(message)
            except (ItemError, ValueError, TypeError) as error:
                reason = str(error) if isinstance(error, ItemError) else "a value is out of range"
            if reason:
                self._reasons[reason] += 1
                self._rejected_trace_id = self._rejected_trace_id or shown_trace_id(message.trace_id)
                del added[-1]
                continue
            self._accepted += 1
            if has_odd_parent(message):
                warnings[ODD_PARENT] += 1
            if isinstance(item.get("kind"), str):
                warnings[ENUM_NAMES] += 1
            if has_too_many(item, limits):
                warnings[TOO_MANY_PARTS] += 1
            if self._may_have_indexes and has_indexes(item):
                warnings[INDEXES] += 1

    def _over(self, message: Any) -> str:
        """Cuts what is too long in an item. Why it is too much all the same; "" if it is not."""
        limits = self._limits
        if self._accepted >= limits.items:
            return f"more than {limits.items} items in one request"
        cut = []
        if self._may_have_long_keys and cut_keys(message, limits.key_bytes):
            cut.append(CUT_KEYS)
        if self._may_have_long_values:
            if cut_values(message, limits.value_bytes):
                cut.append(CUT_VALUES)
            if len(messages.serialized(message)) > limits.item_bytes:
                return f"larger than {limits.item_bytes} bytes"
        self.warnings.update(cut)
        return ""


def _named_by_its_resources(document: Document, signal: Signal) -> Signal | None:
    """The other signal of which the request has resources, if there is one."""
    for other, name in JSON_NAMES.items():
        if other is not signal and (document.get(name) or document.get(snake(name))):
            return other
    return None


def _data_points(resources: list[Any]) -> int:
    """How many data points are in a request of metrics, of which nothing is kept."""
    count = 0
    for resource in resources:
        for scope in list_of(resource, "scopeMetrics", NotOtlpError):
            for metric in list_of(scope, "metrics", NotOtlpError):
                for data in metric.values() if isinstance(metric, dict) else ():
                    if isinstance(data, dict):
                        count += len(list_of(data, "dataPoints", NotOtlpError))
    return count
