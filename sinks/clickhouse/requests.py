"""Trace requests that the engine decodes by itself: no attribute passes through Python.

They go into the table `trace_requests`, whose view makes the rows of `otel_traces` (`schema/0041_trace_requests.sql`).
What is declared here is what is kept; fields that are not are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

MESSAGE = "Request"
COLUMNS = ("tenant", "resource_spans")
CHUNK_BYTES = 1 << 20

PROTO = """syntax = "proto3";
message Request { repeated ResourceSpans resource_spans = 1; string tenant = 1004; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; string project = 1005; }
message Resource { map<string, Value> attributes = 1; }
message ScopeSpans { Scope scope = 1; repeated Span spans = 2; }
message Scope { string name = 1; string version = 2; map<string, Single> attributes = 3; }
message Span {
  bytes trace_id = 1;
  bytes span_id = 2;
  string trace_state = 3;
  bytes parent_span_id = 4;
  string name = 5;
  int32 kind = 6;
  fixed64 start_time_unix_nano = 7;
  fixed64 end_time_unix_nano = 8;
  map<string, Value> attributes = 9;
  repeated Event events = 11;
  repeated Link links = 13;
  Status status = 15;
}
message Event { fixed64 time_unix_nano = 1; string name = 2; map<string, Single> attributes = 3; }
message Link { bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; map<string, Single> attributes = 4; }
message Status { string message = 2; int32 code = 3; }
message Value {
  oneof value {
    string string_value = 1;
    bool bool_value = 2;
    int64 int_value = 3;
    double double_value = 4;
    Items array_value = 5;
    bytes bytes_value = 7;
  }
}
message Single {
  oneof value {
    string string_value = 1;
    bool bool_value = 2;
    int64 int_value = 3;
    double double_value = 4;
    bytes bytes_value = 7;
  }
}
message Items { repeated Single values = 1; }
"""

REQUEST_SETTINGS: dict[str, Any] = {
    "input_format_protobuf_oneof_presence": 1,  # fills the columns that say which form a value has
    "output_format_json_escape_forward_slashes": 0,
}


def framed(requests: Iterable[bytes]) -> Iterator[bytes]:
    """One after the other, each with its length before it. In chunks: memory for all at once would have to be asked of
    the system anew for each batch."""
    pieces: list[bytes] = []
    size = 0
    for request in requests:
        pieces += (_varint(len(request)), request)
        size += len(request)
        if size >= CHUNK_BYTES:
            yield b"".join(pieces)
            pieces.clear()
            size = 0
    yield b"".join(pieces)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
