"""Protobuf messages of OTLP, in a form of our own that is equal to the standard one on the wire.

Attributes are declared as `map<string, AnyValue>`, which is encoded just like `repeated KeyValue`: upb then
finds a key without Python touching the others (about 0.1 µs a look-up; building a dict costs 6 µs a span). Entries that
have more than a key and a value are left out of such a map, wherefore `together` and `check` look for them. Of maps in
values nobody would, so these are declared as they are.
Enums are plain integers, so that unknown ones are kept. Field numbers: opentelemetry-proto 1.11.

Values within values need a `never` that nobody can send, and so do lists outside of spans and resources. A request that
has them is never complete: `plain` learns that from the serializer, which looks through everything anyway. Serialize
whatever else by `serialized`.

The `One…` messages declare every level of a request once, so that its items are merged into one: see `together`.

The `…Skeleton` requests leave resources, scopes and items undecoded, so that one of them can be judged, or
dropped, without touching the rest. A resource that comes twice is two parts of one.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import EncodeError

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "double": _Field.TYPE_DOUBLE,
    "fixed32": _Field.TYPE_FIXED32,
    "fixed64": _Field.TYPE_FIXED64,
}
_PACKAGE = "eddyline.otlp"


def _value(*, array: str) -> dict[str, tuple[int, str]]:
    return {
        "string_value": (1, "oneof string"),
        "bool_value": (2, "oneof bool"),
        "int_value": (3, "oneof int64"),
        "double_value": (4, "oneof double"),
        "array_value": (5, f"oneof {array}"),
        "kvlist_value": (6, "oneof KeyValueList"),
        "bytes_value": (7, "oneof bytes"),
    }


_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "AnyValue": _value(array="ArrayValue"),
    "SingleValue": _value(array="InnerArray"),
    "ArrayValue": {"values": (1, "repeated SingleValue")},
    "InnerArray": {"values": (1, "repeated SingleValue"), "never": (1000, "required Never")},
    "KeyValueList": {"values": (1, "repeated KeyValue"), "never": (1000, "required Never")},
    "KeyValue": {"key": (1, "string"), "value": (2, "AnyValue")},
    "Never": {"never": (1, "required Never")},
    "Resource": {"attributes": (1, "map")},
    "InstrumentationScope": {
        "name": (1, "string"),
        "version": (2, "string"),
        "attributes": (3, "map SingleValue"),
    },
    "Status": {"message": (2, "string"), "code": (3, "int32")},
    "Event": {"time_unix_nano": (1, "fixed64"), "name": (2, "string"), "attributes": (3, "map SingleValue")},
    "Link": {
        "trace_id": (1, "bytes"),
        "span_id": (2, "bytes"),
        "trace_state": (3, "string"),
        "attributes": (4, "map SingleValue"),
        "flags": (6, "fixed32"),
    },
    "Span": {
        "trace_id": (1, "bytes"),
        "span_id": (2, "bytes"),
        "trace_state": (3, "string"),
        "parent_span_id": (4, "bytes"),
        "name": (5, "string"),
        "kind": (6, "int32"),
        "start_time_unix_nano": (7, "fixed64"),
        "end_time_unix_nano": (8, "fixed64"),
        "attributes": (9, "map"),
        "dropped_attributes_count": (10, "uint32"),
        "events": (11, "repeated Event"),
        "dropped_events_count": (12, "uint32"),
        "links": (13, "repeated Link"),
        "dropped_links_count": (14, "uint32"),
        "status": (15, "Status"),
        "flags": (16, "fixed32"),
    },
    "ScopeSpans": {
        "scope": (1, "InstrumentationScope"),
        "spans": (2, "repeated Span"),
        "schema_url": (3, "string"),
    },
    "ResourceSpans": {
        "resource": (1, "Resource"),
        "scope_spans": (2, "repeated ScopeSpans"),
        "schema_url": (3, "string"),
        "project": (1005, "string"),
    },
    "TracesRequest": {"resource_spans": (1, "repeated ResourceSpans"), "tenant": (1004, "string")},
    "LogRecord": {
        "time_unix_nano": (1, "fixed64"),
        "severity_number": (2, "int32"),
        "severity_text": (3, "string"),
        "body": (5, "AnyValue"),
        "attributes": (6, "map"),
        "dropped_attributes_count": (7, "uint32"),
        "flags": (8, "fixed32"),
        "trace_id": (9, "bytes"),
        "span_id": (10, "bytes"),
        "observed_time_unix_nano": (11, "fixed64"),
        "event_name": (12, "string"),
    },
    "ScopeLogs": {
        "scope": (1, "InstrumentationScope"),
        "log_records": (2, "repeated LogRecord"),
        "schema_url": (3, "string"),
    },
    "ResourceLogs": {
        "resource": (1, "Resource"),
        "scope_logs": (2, "repeated ScopeLogs"),
        "schema_url": (3, "string"),
        "project": (1005, "string"),
    },
    # Tenant and project are only said of spans; here they are declared since one skeleton serves both signals.
    "LogsRequest": {"resource_logs": (1, "repeated ResourceLogs"), "tenant": (1004, "string")},
    "ScopeSkeleton": {
        "scope": (1, "repeated bytes"),
        "items": (2, "repeated bytes"),
        "schema_url": (3, "repeated bytes"),
    },
    "ResourceSkeleton": {
        "resource": (1, "repeated bytes"),
        "scopes": (2, "repeated ScopeSkeleton"),
        "schema_url": (3, "repeated bytes"),
        "project": (1005, "string"),
    },
    "RequestSkeleton": {"resources": (1, "repeated ResourceSkeleton"), "tenant": (1004, "string")},
}

_MERGED = (
    *("Span", "ScopeSpans", "ResourceSpans", "TracesRequest"),
    *("LogRecord", "ScopeLogs", "ResourceLogs", "LogsRequest"),
)


def _merged(field: str, declaration: str) -> str:
    type_name = declaration.split()[-1]
    if type_name in _MERGED:
        return f"One{type_name}"
    return "repeated bytes" if field in ("trace_id", "span_id", "parent_span_id") else declaration


_MESSAGES |= {
    f"One{name}": {
        field: (number, _merged(field, declaration))
        for field, (number, declaration) in _MESSAGES[name].items()
    }
    for name in _MERGED
}


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="eddyline/otlp.proto",
        package=_PACKAGE,
        syntax="editions",
        edition=descriptor_pb2.EDITION_2023,
    )
    # As proto3, but for the fields that are required.
    file.options.features.field_presence = descriptor_pb2.FeatureSet.IMPLICIT
    for message_name, declared in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, declaration) in declared.items():
            *modifiers, type_name = declaration.split()
            if modifiers == ["map"]:
                modifiers, type_name, of = [], "map", type_name
            else:
                of = "AnyValue"
            field = message.field.add(name=field_name, number=number, label=_Field.LABEL_OPTIONAL)
            if type_name == "map":
                entry = message.nested_type.add(name=field_name.capitalize() + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
                entry.field.add(
                    name="value",
                    number=2,
                    type=_Field.TYPE_MESSAGE,
                    label=_Field.LABEL_OPTIONAL,
                    type_name=f".{_PACKAGE}.{of}",
                )
                modifiers.append("repeated")
                type_name = f"{message_name}.{entry.name}"
            if type_name in _SCALARS:
                field.type = _SCALARS[type_name]
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{type_name}"
            if "repeated" in modifiers:
                field.label = _Field.LABEL_REPEATED
            if "required" in modifiers:
                field.options.features.field_presence = descriptor_pb2.FeatureSet.LEGACY_REQUIRED
            if "oneof" in modifiers:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


AnyValue = _message("AnyValue")
Resource = _message("Resource")
InstrumentationScope = _message("InstrumentationScope")
Span = _message("Span")
LogRecord = _message("LogRecord")
TracesRequest = _message("TracesRequest")
LogsRequest = _message("LogsRequest")
OneTracesRequest = _message("OneTracesRequest")
OneLogsRequest = _message("OneLogsRequest")
ScopeSkeleton = _message("ScopeSkeleton")
RequestSkeleton = _message("RequestSkeleton")


def serialized(message: Any) -> bytes:
    """Any of these messages on the wire."""
    found: bytes = message.SerializePartialToString()
    return found


def plain(message: Any) -> bytes | None:
    """The message on the wire; None if values lie within its values, other than lists of texts, numbers and bytes of
    spans and resources."""
    try:
        found: bytes = message.SerializeToString()
    except EncodeError:
        return None
    return found
