"""A file that is only written, and taken away as it grows."""

from __future__ import annotations

import io
from typing import Any


class Pipe(io.RawIOBase):
    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0
        self.size = 0
        """Bytes that were not taken yet."""

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, piece: Any) -> int:
        content = bytes(piece)
        self._pieces.append(content)
        self._at += len(content)
        self.size += len(content)
        return len(content)

    def taken(self) -> bytes:
        """What was written since it was last asked for."""
        pieces, self._pieces, self.size = self._pieces, [], 0
        return b"".join(pieces)
