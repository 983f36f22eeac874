"""How large the parts of a request may be. What is over is cut with its count, or costs its own item alone;
only a request that could not be looked through within bounds is refused whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts and bytes. The defaults are the specification's (4.3)."""

    items: int = 100_000
    """Spans or log records in a request; further ones are rejected."""
    resources: int = 10_000
    scopes: int = 10_000
    """Entries of a request; one with more is refused."""
    item_bytes: int = 8 << 20
    """Of a span or log record, once its long values are cut; a larger one is rejected."""
    attributes: int = 1_024
    events: int = 1_024
    links: int = 256
    """Of a span; what is over is dropped and counted in `dropped_*_count`."""
    key_bytes: int = 256
    """Of the key of an attribute; a marker says how long it was."""
    value_bytes: int = 1 << 20
    """Of a text or byte value; the rest is cut off, and a marker says how long it was."""
    value_depth: int = 16
    """Levels of lists and maps in a value; deeper ones become JSON text. Of protobuf it is `decode` that sees to it."""
    json_depth: int = 128
    """Levels of a JSON body; a deeper one is refused."""
    json_values: int = 1_000_000
    """Objects, lists and commas of a JSON body, texts aside; 150 bytes of memory each. One with more is refused."""
    inflate_ratio: int = 200
    """How many times its size a compressed body may take, beyond the first MiB: zeros pack a thousand to one in gzip
    and thirty thousand to one in zstd, traces a few dozen to one."""


DEFAULT = Limits()

MAX_ELEMENTS = 500_000
"""Values, events and links within the items of a request that are larger than 64 KiB. Each may be two bytes long
and takes up to ninety times that in memory, so they are counted before they are parsed."""


class TooManyError(ValueError):
    """The request has too many parts to be looked through within bounds; the message says which."""
