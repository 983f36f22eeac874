"""What an export came to."""

from __future__ import annotations

from dataclasses import dataclass

from collector.exporting.formats import Format
from collector.exporting.shapes import Shape

Cursor = tuple[int | float, str]


@dataclass(slots=True)
class Summary:
    """What an export came to. While it runs, how far it is."""

    shape: Shape
    form: Format
    runs: int = 0
    rows: int = 0
    bytes: int = 0
    sha256: str = ""
    """Of all bytes but the last line that tells it, in hex."""
    cursor: Cursor | None = None
    """Where the next export goes on; None if there is nothing more."""
    is_complete: bool = False
