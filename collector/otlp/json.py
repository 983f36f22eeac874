"""OTLP/JSON to protobuf, with a decoder of our own: the protobuf library's reads ids as base64 and is 20 times
slower than this one.

What differs from plain protobuf JSON, by the OTLP specification or seen from real exporters: ids are hex;
64-bit integers come as text or number; enums come as numbers, and tolerated as names; NaN comes as null; unknown
fields, null fields and snake_case names are fine. An item that does not fit is rejected alone.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

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
    signal_suffix,
    wrong_log_record,
    wrong_span,
)
from collector.otlp.limits import DEFAULT, Limits, TooManyError
from collector.otlp.longkeys import cut_keys, long_json_keys
from collector.otlp.mistaken import JSON_NAMES
from collector.otlp.signal import Signal
from collector.otlp.values import cut_values

_SURROGATES = re.compile("[\ud800-\udfff]")
_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRETCH = re.compile(rb'(?:[^"]*"[^"\\]*(?:\\.[^"\\]*)*"){1,4096}', re.DOTALL)
_STRUCTURE = b"{[,"
_BRACKETS_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_SPAN_KINDS = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS_CODES = {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

Document = dict[str, Any]


class _ItemError(ValueError):
    """One item can not be read; the message is its reason."""


def transcode(signal: Signal, body: bytes, limits: Limits = DEFAULT) -> Checked:
    """A JSON request as a protobuf one that holds what of it can be stored.

    Raises:
        NotOtlpError: the body is not JSON, or not a request of this signal.
        TooManyError: it has more parts than can be looked through.
    """
    _count_values(body, limits.json_values)
    document = _parse(body)
    if _is_deeper(body, document, limits.json_depth):
        raise NotOtlpError(f"the body is nested too deep: more than {limits.json_depth} levels")
    if not isinstance(document, dict):
        raise NotOtlpError(f"the body must be a JSON object, not {_kind(document)}")
    if other := _named_by_its_resources(document, signal):
        raise sent_as(signal, other)
    warnings = Counter({TWICE: _keys_given_twice(body, document) if _is_looked_through(body) else 0})
    suffix = signal_suffix(signal)
    resources = _list(document, JSON_NAMES[signal], NotOtlpError)
    if signal is Signal.METRICS:
        return Checked(b"", _data_points(resources), changes=+warnings)
    fill: Callable[[Document, Any, Limits], None]
    wrong: Callable[[Any], str]
    if signal is Signal.TRACES:
        request, item_name, fill, wrong = messages.TracesRequest(), "spans", _fill_span, wrong_span
    else:
        request, item_name, fill, wrong = (
            messages.LogsRequest(),
            "logRecords",
            _fill_log_record,
            wrong_log_record,
        )
    reasons: Counter[str] = Counter()
    accepted = scopes = 0
    rejected_trace_id = ""
    may_have_long_values = len(body) > limits.value_bytes
    may_have_indexes = b"trindex" in body
    has_long_keys = long_json_keys(limits.key_bytes).search(body) is not None
    if len(resources) > limits.resources:
        raise TooManyError(f"more than {limits.resources} resources in one request")
    for resource in resources:
        resource_message = getattr(request, f"resource_{suffix}").add()
        _envelope(resource, "resource", resource_message, limits)
        warnings[INDEXES] += may_have_indexes and _has_indexes(resource.get("resource"))
        for scope in _list(resource, f"scope{suffix.capitalize()}", NotOtlpError):
            scopes += 1
            if scopes > limits.scopes:
                raise TooManyError(f"more than {limits.scopes} scopes in one request")
            scope_message = getattr(resource_message, f"scope_{suffix}").add()
            _envelope(scope, "scope", scope_message, limits)
            warnings[INDEXES] += may_have_indexes and _has_indexes(scope.get("scope"))
            items = getattr(scope_message, _snake(item_name))
            for item in _list(scope, item_name, NotOtlpError):
                message = items.add()
                try:
                    fill(_object(item), message, limits)
                    reason = wrong(message)
                    if has_long_keys:
                        warnings[CUT_KEYS] += cut_keys(message, limits.key_bytes)
                    if accepted >= limits.items:
                        reason = f"more than {limits.items} items in one request"
                    elif may_have_long_values:
                        warnings[CUT_VALUES] += cut_values(message, limits.value_bytes)
                        if len(messages.serialized(message)) > limits.item_bytes:
                            reason = f"larger than {limits.item_bytes} bytes"
                except NotOtlpError:
                    raise
                except (_ItemError, ValueError, TypeError) as error:
                    reason = str(error) if isinstance(error, _ItemError) else "a value is out of range"
                if reason:
                    reasons[reason] += 1
                    rejected_trace_id = rejected_trace_id or shown_trace_id(message.trace_id)
                    del items[-1]
                else:
                    accepted += 1
                    warnings[ODD_PARENT] += has_odd_parent(message)
                    warnings[ENUM_NAMES] += isinstance(item.get("kind"), str)
                    warnings[TOO_MANY_PARTS] += _has_too_many(item, limits)
                    warnings[INDEXES] += may_have_indexes and _has_indexes(item)
    return Checked(messages.serialized(request), accepted, reasons, +warnings, rejected_trace_id)


def _named_by_its_resources(document: Document, signal: Signal) -> Signal | None:
    """The signal of which the request has resources, if it is another and has none of this one."""
    if _list(document, JSON_NAMES[signal], NotOtlpError):
        return None
    return next(
        (other for other, name in JSON_NAMES.items() if document.get(name) or document.get(_snake(name))),
        None,
    )


def _has_too_many(item: Document, limits: Limits) -> bool:
    """Whether the item itself has more parts than are kept."""
    return any(
        len(item.get(name) or ()) > limit
        for name, limit in (
            ("attributes", limits.attributes),
            ("events", limits.events),
            ("links", limits.links),
        )
    )


_INDEXES = frozenset({"keyStrindex", "key_strindex", "stringValueStrindex", "string_value_strindex"})


def _has_indexes(document: Any) -> bool:
    """Whether attributes or values in it are named by an index into the dictionary of profiles."""
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if _INDEXES & found.keys():
                return True
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return False


LOOKED_THROUGH = 16
"""One of so many requests is looked through for keys that are given twice: that would take a sixth of reading each, and
who writes such does so in all."""


def _is_looked_through(body: bytes) -> bool:
    """Whether it is the turn of this request, which some of its bytes say: so many that each trace id has one."""
    return zlib.crc32(body[::31]) % LOOKED_THROUGH == 0


def _keys_given_twice(body: bytes, document: Any) -> int:
    """How many keys of objects were given again, of which parsers tell nothing.

    What was parsed is written down: it has as many bytes as the body, or, where numbers, escapes and spaces are
    written in another way, as many keys, unless some are gone. Keys are told by what follows them, also in texts, which
    hold the same in both; not where the body has spaces before colons. Only then is the body read again, key by key.
    """
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError:  # a number that only the other parser takes
        return 0
    if len(written) == len(body) or _keys(body) <= _keys(written):
        return 0
    twice = 0

    def read(pairs: list[tuple[str, Any]]) -> Document:
        nonlocal twice
        found = dict(pairs)
        twice += len(pairs) - len(found)
        return found

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(body.decode("utf-8-sig", "replace"), strict=False, object_pairs_hook=read)
    return twice


def _keys(text: bytes) -> int:
    """How often something that looks like a key, or like one within a text, is in it."""
    return text.count(b'":') + text.count(b"\\u0022:")


def _count_values(body: bytes, limit: int) -> None:
    """Raises: TooManyError, before the parser makes a hundred bytes of every two."""
    if len(body) <= limit:
        return
    if sum(body.count(mark) for mark in _STRUCTURE) > limit:
        # What stands in texts does not count: prompts hold JSON, too. A stretch at a time, to stop in time.
        count = at = 0
        while at < len(body):
            stretch = _STRETCH.match(body, at)
            end = stretch.end() if stretch else len(body)
            bare = _TEXTS.sub(b"", body[at:end])
            count += sum(bare.count(mark) for mark in _STRUCTURE)
            if count > limit:
                raise TooManyError(f"more than {limit} JSON values in one request")
            at = end


def _is_deeper(body: bytes, document: Any, levels: int) -> bool:
    """Whether objects and lists lie deeper within each other than that.

    Brackets alone say so as a rule, at a tenth of what looking through the document costs: each round takes away those
    with nothing between them. Where texts hold some too, the document itself is looked through. Texts made to hide
    what is deep gain nothing: parsers end at a thousand levels, and values at `Limits.value_depth`.
    """
    brackets = body.translate(_BRACKETS_ALIKE, _NO_BRACKETS)
    for _ in range(levels):
        outer = brackets.replace(b"[]", b"")
        if not outer:
            return False
        if len(outer) == len(brackets):
            break
        brackets = outer
    level: list[Any] = [document] if isinstance(document, (dict, list)) else []
    for _ in range(levels):
        parts = (part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole))
        level = [part for part in parts if isinstance(part, (dict, list))]
    return bool(level)


def _parse(body: bytes) -> Any:
    """Raises: NotOtlpError."""
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Slower, and takes what exporters really send: a byte order mark, bare NaN, half of a surrogate pair.
    try:
        text = body.decode("utf-8-sig")
        document = json.loads(text, strict=False)
        return _repaired(document) if "\\u" in text else document
    except UnicodeDecodeError:
        raise NotOtlpError("the body is not UTF-8; is it protobuf sent as application/json?") from None
    except RecursionError:
        raise NotOtlpError("the body is nested too deep") from None
    except ValueError as error:
        raise NotOtlpError(f"the body is not JSON: {error}") from None


def _repaired(document: Any) -> Any:
    if isinstance(document, str):
        return _SURROGATES.sub("�", document)
    if isinstance(document, list):
        return [_repaired(item) for item in document]
    if isinstance(document, dict):
        return {_repaired(key): _repaired(item) for key, item in document.items()}
    return document


def _envelope(document: Any, name: str, message: Any, limits: Limits) -> None:
    """Resource or scope, with the schema URL that stands beside it."""
    if not isinstance(document, dict):
        raise NotOtlpError(f"a JSON object is expected around {name!r}, not {_kind(document)}")
    inner = document.get(name)
    target = getattr(message, name)
    try:
        message.schema_url = _text(document, "schemaUrl")
        if inner is not None:
            if name == "scope":
                target.name, target.version = _text(inner, "name"), _text(inner, "version")
            _fill_attributes(_object(inner), target.attributes, limits)
            if len(messages.serialized(target)) > limits.value_bytes:
                cut_values(target, limits.value_bytes)
    except (_ItemError, ValueError, TypeError) as error:
        raise NotOtlpError(f"{name}: {error}") from None


# --------------------------------------------------------------------------- items


def _fill_span(span: Document, message: Any, limits: Limits) -> None:
    get = span.get
    message.trace_id = _id(get("traceId") or get("trace_id"), 16)
    message.span_id = _id(get("spanId") or get("span_id"), 8)
    message.parent_span_id = _id(get("parentSpanId") or get("parent_span_id"), 8)
    message.name = get("name") or ""
    message.kind = _enum(get("kind"), _SPAN_KINDS)
    message.start_time_unix_nano = _integer(get("startTimeUnixNano") or get("start_time_unix_nano"))
    message.end_time_unix_nano = _integer(get("endTimeUnixNano") or get("end_time_unix_nano"))
    message.trace_state = get("traceState") or get("trace_state") or ""
    message.flags = _integer(get("flags"))
    for name in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        if dropped := get(_camel(name)) or get(name):
            setattr(message, name, _integer(dropped))
    message.dropped_attributes_count += _fill_attributes(span, message.attributes, limits)
    if status := get("status"):
        message.status.message = _text(status, "message")
        message.status.code = _enum(_object(status).get("code"), _STATUS_CODES)
    events, links = _list(span, "events", _ItemError), _list(span, "links", _ItemError)
    message.dropped_events_count += max(0, len(events) - limits.events)
    message.dropped_links_count += max(0, len(links) - limits.links)
    for event in events[: limits.events]:
        event_message = message.events.add()
        event_message.time_unix_nano = _integer(_field(event, "timeUnixNano"))
        event_message.name = _text(event, "name")
        _fill_attributes(event, event_message.attributes, limits)
    for link in links[: limits.links]:
        link_message = message.links.add()
        link_message.trace_id = _id(_field(link, "traceId"), 16)
        link_message.span_id = _id(_field(link, "spanId"), 8)
        link_message.trace_state = _text(link, "traceState")
        link_message.flags = _integer(_field(link, "flags"))
        _fill_attributes(link, link_message.attributes, limits)


def _fill_log_record(record: Document, message: Any, limits: Limits) -> None:
    message.time_unix_nano = _integer(_field(record, "timeUnixNano"))
    message.observed_time_unix_nano = _integer(_field(record, "observedTimeUnixNano"))
    message.trace_id = _id(_field(record, "traceId"), 16)
    message.span_id = _id(_field(record, "spanId"), 8)
    severity = _field(record, "severityNumber")
    message.severity_number = _integer(severity) if not isinstance(severity, str) or severity.isdigit() else 0
    message.severity_text = _text(record, "severityText")
    message.event_name = _text(record, "eventName")
    message.flags = _integer(_field(record, "flags"))
    message.dropped_attributes_count = _integer(_field(record, "droppedAttributesCount"))
    body = record.get("body")
    if body is not None:
        _fill_value(body, message.body, limits.value_depth)
    message.dropped_attributes_count += _fill_attributes(record, message.attributes, limits)


def _fill_attributes(owner: Document, target: Any, limits: Limits) -> int:
    """Returns how many were too many."""
    attributes = owner.get("attributes")
    if attributes is None:
        return 0
    if not isinstance(attributes, list):
        raise _ItemError("attributes must be a list of {key, value} objects")
    for pair in attributes[: limits.attributes]:
        try:
            key, found = pair.get("key") or "", pair.get("value")
        except AttributeError:
            raise _ItemError("an attribute is not a {key, value} object") from None
        target[key].Clear()  # makes the entry; of equal keys the last holds
        if found:
            text = found.get("stringValue") if found.__class__ is dict else None
            if text is not None:
                target[key].string_value = text
            else:
                _fill_value(found, target[key], limits.value_depth)
    return max(0, len(attributes) - limits.attributes)


def _fill_value(document: Any, message: Any, levels: int) -> None:
    """`levels` of lists and maps may lie in the value; one below that becomes JSON text."""
    if not isinstance(document, dict):
        raise _ItemError('a value is not an object such as {"stringValue": …}')
    if levels < 0:
        message.string_value = orjson.dumps(document).decode()
        return
    for name, found in document.items():
        setter = _VALUES.get(name)
        if setter is not None and found is not None:
            setter(found, message, levels)


def _set_string(found: Any, message: Any, levels: int) -> None:
    message.string_value = found


def _set_bool(found: Any, message: Any, levels: int) -> None:
    if not isinstance(found, bool):
        raise _ItemError("a boolValue is neither true nor false")
    message.bool_value = found


def _set_integer(found: Any, message: Any, levels: int) -> None:
    message.int_value = _integer(found)


def _set_double(found: Any, message: Any, levels: int) -> None:
    if isinstance(found, str):
        found = _NOT_FINITE.get(found, found)
    try:
        message.double_value = float(found)
    except (TypeError, ValueError):
        raise _ItemError("a doubleValue is not a number") from None


def _set_bytes(found: Any, message: Any, levels: int) -> None:
    try:
        plain = found.replace("-", "+").replace("_", "/").rstrip("=")
        message.bytes_value = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (AttributeError, binascii.Error):
        raise _ItemError("a bytesValue is not base64") from None


def _set_array(found: Any, message: Any, levels: int) -> None:
    target = message.array_value
    target.SetInParent()
    for item in _list(_object(found), "values", _ItemError):
        added = target.values.add()
        if item is not None:
            _fill_value(item, added, levels - 1)


def _set_map(found: Any, message: Any, levels: int) -> None:
    target = message.kvlist_value
    target.SetInParent()
    for pair in _list(_object(found), "values", _ItemError):
        entry = target.values[_text(pair, "key")]
        entry.Clear()
        if pair.get("value") is not None:
            _fill_value(pair["value"], entry, levels - 1)


_VALUES: dict[str, Callable[[Any, Any, int], None]] = {
    "stringValue": _set_string,
    "boolValue": _set_bool,
    "intValue": _set_integer,
    "doubleValue": _set_double,
    "bytesValue": _set_bytes,
    "arrayValue": _set_array,
    "kvlistValue": _set_map,
}


# --------------------------------------------------------------------------- fields


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _snake(name: str) -> str:
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), name)


_VALUES |= {_snake(name): setter for name, setter in _VALUES.items()}


def _field(document: Any, name: str) -> Any:
    found = _object(document).get(name)
    return document.get(_snake(name)) if found is None else found


def _object(document: Any) -> Document:
    if not isinstance(document, dict):
        raise _ItemError(f"an object is expected, not {_kind(document)}")
    return document


def _list(document: Any, name: str, error: type[ValueError]) -> list[Any]:
    found = document.get(name) if isinstance(document, dict) else document
    if found is None and isinstance(document, dict):
        found = document.get(_snake(name))
    if found is None:
        return []
    if not isinstance(found, list):
        raise error(f"{name} must be a list, not {_kind(found)}")
    return found


def _text(document: Any, name: str) -> str:
    found = _field(document, name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _ItemError(f"{name} is not text")
    return found


def _integer(found: Any) -> int:
    if found.__class__ is int:
        return int(found)
    if found is None or found == "":
        return 0
    try:
        if isinstance(found, float) and found.is_integer():
            return int(found)
        if isinstance(found, str):
            return int(found) if len(found) <= 20 else int(float(found))
    except (ValueError, OverflowError):
        pass
    raise _ItemError("an integer is not one")


def _enum(found: Any, names: dict[str, int]) -> int:
    return names.get(found, 0) if isinstance(found, str) and not found.isdigit() else _integer(found)


def _id(found: Any, size: int) -> bytes:
    """Bytes of a hex id; b"" for none. A wrong length is left to the check that both encodings share."""
    if not found:
        return b""
    try:
        return bytes.fromhex(found)
    except (TypeError, ValueError):
        pass
    if isinstance(found, str) and len(found) in (size * 4 // 3, -(-size // 3) * 4):
        raise _ItemError("an id looks like base64; OTLP/JSON has ids in hex")
    raise _ItemError("an id is not hex")


def _kind(found: Any) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(found), "a number")


def _data_points(resources: list[Any]) -> int:
    count = 0
    for resource in resources:
        for scope in _list(resource, "scopeMetrics", NotOtlpError):
            for metric in _list(scope, "metrics", NotOtlpError):
                for data in metric.values() if isinstance(metric, dict) else ():
                    if isinstance(data, dict):
                        count += len(_list(data, "dataPoints", NotOtlpError))
    return count
