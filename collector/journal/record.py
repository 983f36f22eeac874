"""One record: a varint length, then one protobuf message made of our header fields and the request's own bytes.

Header fields have numbers from 1000 up, which OTLP never uses. So a segment is at once our log and a stream of
length-delimited OTLP requests, which ClickHouse can read by itself (its `Protobuf` format).

    1001 fixed32  CRC-32 of everything after this field; always first
    1002 fixed64  sequence number
    1003 fixed64  time of arrival, nanoseconds
    1004 string   tenant; absent if it is the default
    1005 string   project that the request named; absent if none
    1006 string   transport: http | grpc | proxy
    1007 fixed32  spans or log records in the request
    1008 fixed64  spans and log records in all records before this one

With the last field the number of items between two places is a subtraction, however large the backlog, and what
damage has cost is known exactly.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

_FIXED64, _LENGTH, _FIXED32 = 1, 2, 5


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


CRC_TAG = _tag(1001, _FIXED32)
_SEQUENCE_TAG = _tag(1002, _FIXED64)
_RECEIVED_TAG = _tag(1003, _FIXED64)
_TEXT_TAGS = {_tag(1004, _LENGTH): "tenant", _tag(1005, _LENGTH): "project", _tag(1006, _LENGTH): "transport"}
_ITEMS_TAG = _tag(1007, _FIXED32)
_BEFORE_TAG = _tag(1008, _FIXED64)
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
TAG_SIZE = len(CRC_TAG)
HEAD_SIZE = TAG_SIZE + 4
"""Bytes of a message before what its checksum covers."""
MAX_LENGTH_SIZE = 5
MAX_RECORD_BYTES = 1 << 30
UNLOCKED_FROM_BYTES = 512 << 10
"""Of a body: from here on Python's lock is worth leaving while its checksum is made."""
LOCKED_BYTES = 5 << 10
"""Up to here zlib keeps the lock."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a request beside its body."""

    received_ns: int
    tenant: str = ""
    project: str = ""
    transport: str = ""
    items: int = 0
    """Spans or log records in the request."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records: the segment (by its first sequence), the byte in it, the next sequence, and
    how many items all records before it have."""

    segment: int
    offset: int
    sequence: int
    items: int = 0


NOWHERE = Position(0, 0, 0)
"""Before all that there can be."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records between two places."""

    begin: Position
    end: Position

    @property
    def items(self) -> int:
        return self.end.items - self.begin.items

    @property
    def records(self) -> int:
        return self.end.sequence - self.begin.sequence

    def holds(self, sequence: int) -> bool:
        """Whether the record of that number is one of them."""
        return self.begin.sequence <= sequence < self.end.sequence


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cursor is, as it is told to another process."""

    position: Position
    counts: bool
    """Whether what it has not passed is what the journal waits for."""


@dataclass(frozen=True, slots=True)
class Record:
    """A request as it was journalled; `body` is OTLP in protobuf."""

    sequence: int
    header: Header
    body: bytes
    before: int = 0
    """Items in all records before this one."""


class CorruptError(ValueError):
    """There is no valid record here."""


def encode(sequence: int, header: Header, body: bytes, *, before: int = 0) -> list[bytes]:
    """The record as pieces to write one after the other; the body is not copied."""
    fields = [_SEQUENCE_TAG, _U64.pack(sequence), _RECEIVED_TAG, _U64.pack(header.received_ns)]
    for tag, name in _TEXT_TAGS.items():
        if text := getattr(header, name).encode():
            fields += (tag, varint(len(text)), text)
    fields += (_ITEMS_TAG, _U32.pack(header.items), _BEFORE_TAG, _U64.pack(before))
    head = b"".join(fields)
    checksum = _checksum(body, zlib.crc32(head))
    length = HEAD_SIZE + len(head) + len(body)
    return [varint(length) + CRC_TAG + _U32.pack(checksum) + head, body]


def _checksum(body: bytes, before: int) -> int:
    """The CRC-32 of what was before and the body. While batches are worked on, to get Python's lock back takes longer
    than the checksum of most bodies: 0.2 ms each time, and all records of a group would wait for it."""
    if len(body) >= UNLOCKED_FROM_BYTES:
        return zlib.crc32(body, before)
    view = memoryview(body)
    for start in range(0, len(body), LOCKED_BYTES):
        before = zlib.crc32(view[start : start + LOCKED_BYTES], before)
    return before


def frame(buffer: bytes, start: int) -> tuple[int, int] | None:
    """Where the message at `start` begins and ends; None if the buffer ends before that can be told.

    Raises:
        CorruptError: no record starts here.
    """
    length = shift = 0
    for at in range(start, min(start + MAX_LENGTH_SIZE, len(buffer))):
        byte = buffer[at]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if not HEAD_SIZE < length <= MAX_RECORD_BYTES:
                raise CorruptError
            begin = at + 1
            if len(buffer) >= begin + TAG_SIZE and not buffer.startswith(CRC_TAG, begin):
                raise CorruptError
            return begin, begin + length
    if len(buffer) - start >= MAX_LENGTH_SIZE:
        raise CorruptError
    return None


def decode(message: bytes) -> Record:
    """Raises: CorruptError."""
    view = memoryview(message)
    covered = view[HEAD_SIZE:]
    if not message.startswith(CRC_TAG) or zlib.crc32(covered) != _U32.unpack_from(message, TAG_SIZE)[0]:
        raise CorruptError
    sequence_at = HEAD_SIZE + len(_SEQUENCE_TAG)
    received_at = sequence_at + 8 + len(_RECEIVED_TAG)
    texts = {}
    at = received_at + 8
    while (name := _TEXT_TAGS.get(message[at : at + TAG_SIZE])) is not None:
        at += TAG_SIZE
        length = shift = 0
        while True:
            byte = message[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        texts[name] = message[at : at + length].decode()
        at += length
    items = _U32.unpack_from(message, at + TAG_SIZE)[0]
    before_at = at + TAG_SIZE + 4 + TAG_SIZE
    header = Header(_U64.unpack_from(message, received_at)[0], **texts, items=items)
    return Record(
        _U64.unpack_from(message, sequence_at)[0],
        header,
        message[before_at + 8 :],
        _U64.unpack_from(message, before_at)[0],
    )
