"""The forms of a capture file: JSON lines, CBOR with the exact bytes, and text for people."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from collector.proxy.wire.records import Record

ARROWS = {
    "inbound_request": "client → proxy  ",
    "outbound_request": "proxy → backend ",
    "inbound_response": "backend → proxy ",
    "outbound_response": "proxy → client  ",
    "stream_start": "stream begins   ",
    "stream_chunk": "stream chunk    ",
    "stream_end": "stream ends     ",
    "ws_frame": "message         ",
}
SUFFIX = ".zst"
"""Of files that were rotated."""


class UnreadableError(ValueError):
    """The file is no capture that could be read."""


def to_jsonl(record: Record) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)


def to_cbor(record: Record) -> bytes:
    import cbor2

    encoded: bytes = cbor2.dumps(record)
    return encoded


def to_text(record: Record) -> bytes:
    """A line that says what passed, and its payload below it."""
    metadata = record["metadata"]
    said = [
        record["timestamp_iso"],
        ARROWS.get(record["direction"], record["direction"]),
        f"{record['source']} → {record['destination']}",
        f"{metadata.get('method', '')} {metadata.get('path', '')}".strip(),
    ]
    said += [f"{name}={record[name]}" for name in ("model", "session_id", "key_name") if record.get(name)]
    said += [
        f"{name}={metadata[name]}"
        for name in (
            "request_id",
            "http_status",
            "chunk_number",
            "frame_number",
            "outcome",
            "error",
            "redacted",
            "withheld",
            "truncated",
        )
        if metadata.get(name)
    ]
    said.append(f"{record['content_length']} bytes")
    lines = ["  ".join(said)]
    payload = record["payload"]
    if isinstance(payload, bytes):
        payload = payload.decode("utf-8", "backslashreplace")
    if isinstance(payload, str):
        lines += [f"    {line}" for line in payload.splitlines()]
    elif payload is not None:
        lines += [f"    {line}" for line in json.dumps(payload, indent=2, ensure_ascii=False).splitlines()]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


FORMATS: Mapping[str, Callable[[Record], bytes]] = {"jsonl": to_jsonl, "cbor": to_cbor, "text": to_text}


def read_records(file: Path) -> Iterator[Record]:
    """The records of a capture file, rotated or not. What a crash cut off at its end is left out.

    Raises:
        UnreadableError: it holds something else.
        OSError.
    """
    with file.open("rb") as stream:
        opened: BinaryIO = stream
        if file.suffix == SUFFIX:
            import zstandard

            opened = io.BufferedReader(
                zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
            )
        first = opened.peek(1)[:1] if isinstance(opened, io.BufferedReader) else b""
        yield from _cbor(opened, file) if first >= b"\x80" else _json_lines(opened, file)


def _json_lines(stream: BinaryIO, file: Path) -> Iterator[Record]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            if not line.endswith(b"\n"):
                return
            raise UnreadableError(f"{file}: line {number} is no JSON") from None
        if not _is_record(record):
            raise UnreadableError(f"{file}: line {number} is no record of a capture")
        yield record


def _cbor(stream: BinaryIO, file: Path) -> Iterator[Record]:
    import cbor2

    decoder = cbor2.CBORDecoder(stream)
    while True:
        try:
            record = decoder.decode()
        except cbor2.CBORDecodeEOF:
            return
        except cbor2.CBORDecodeError as error:
            raise UnreadableError(f"{file}: {error}") from None
        if not _is_record(record):
            raise UnreadableError(f"{file} holds CBOR, but no records of a capture")
        yield record


def _is_record(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("direction"), str) and "payload" in found
