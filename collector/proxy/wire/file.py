"""The file that records go to: buffered, rotated, and never larger in all than it may be."""

from __future__ import annotations

import glob
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collector.config import LoggingSettings
from collector.proxy.wire.encoding import SUFFIX

log = logging.getLogger(__name__)

LEVEL = 3
"""Of zstd, for rotated files: histories of agents repeat themselves, and shrink to a fortieth."""


class WireFile:
    """Takes encoded records from one thread or many. After a failure it takes none, and says so once.

    Files are their owner's alone (0600), and so are the directories that are made for them (0700). The file is rotated
    to `FILE.1.zst`, the older ones to higher numbers.
    """

    def __init__(self, settings: LoggingSettings) -> None:
        self.path = Path(settings.capture_file)
        self._buffer_size = settings.capture_buffer_size
        self._max_entries = settings.capture_max_entries_per_flush
        self._max_files = settings.capture_max_files
        self._total = settings.capture_total_max_bytes
        # A file and what becomes of it are there at the same time for a moment.
        self._max_bytes = min(settings.capture_max_bytes, self._total // 2)
        self._is_binary = settings.capture_format == "cbor"
        self._lock = threading.Lock()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._descriptor = -1
        self._size = 0
        self.written = 0
        self.dropped = 0
        """Records that were not written: too large, or after a failure."""
        self.error = ""
        """Why nothing is written any more."""
        self._closing = threading.Event()
        with self._lock:
            self._guarded(self._open)
        self._thread = threading.Thread(
            target=self._flush_now_and_then,
            args=(settings.capture_flush_interval,),
            name="wire-capture",
            daemon=True,
        )
        self._thread.start()

    def write(self, records: Sequence[bytes]) -> None:
        """Takes records; they are in the file after the next flush."""
        with self._lock:
            for record in records:
                if self.error or len(record) > self._max_bytes:
                    self.dropped += 1
                    continue
                self._held.append(record)
                self._held_bytes += len(record)
                if self._held_bytes >= self._buffer_size or len(self._held) >= self._max_entries:
                    self._guarded(self._flush)

    def flush(self) -> None:
        with self._lock:
            self._guarded(self._flush)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        with self._lock:
            self._guarded(self._flush)
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {
            "file": str(self.path),
            "written": self.written,
            "dropped": self.dropped,
            "error": self.error or None,
        }

    # ------------------------------------------------------------------- with the lock held

    def _flush_now_and_then(self, interval: float) -> None:
        while not self._closing.wait(interval):
            self.flush()

    def _guarded(self, act: Any) -> None:
        """Runs a step; a failure ends the capture."""
        if self.error:
            return
        try:
            act()
        except OSError as error:
            self.error = error.strerror or str(error)
            self.dropped += len(self._held)
            self._held, self._held_bytes = [], 0
            log.error("the wire capture ends: %s: %s; calls pass on as before", self.path, self.error)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.path.exists() and self._can_not_go_on():
            self._rotate_closed()
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(self._descriptor, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _can_not_go_on(self) -> bool:
        """Whether a crash may have cut the last record short: nothing behind it could be read."""
        with self.path.open("rb") as stream:
            if not stream.seek(0, os.SEEK_END):
                return False
            stream.seek(-1, os.SEEK_CUR)
            return self._is_binary or stream.read(1) != b"\n"

    def _flush(self) -> None:
        if self._held and not self.path.exists():  # somebody took it away, to begin anew
            os.close(self._descriptor)
            self._open()
        while self._held:
            batch, size = self._fitting()
            if not batch:
                self._rotate()
                continue
            self._make_room(size)
            block = memoryview(b"".join(batch))
            while block:
                done = os.write(self._descriptor, block)
                self._size += done
                block = block[done:]
            self.written += len(batch)
            self._held = self._held[len(batch) :]
            self._held_bytes -= size

    def _fitting(self) -> tuple[list[bytes], int]:
        """The records that the file still has room for; the first one always goes into an empty file."""
        batch: list[bytes] = []
        size = 0
        for record in self._held:
            if self._size + size + len(record) > self._max_bytes:
                break
            batch.append(record)
            size += len(record)
        return batch, size

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        self._rotate_closed()
        self._open()

    def _rotate_closed(self) -> None:
        if not self._max_files:
            self.path.unlink()
            return
        self._make_room(self.path.stat().st_size)  # until the file is gone, both are there
        for number, file in reversed(self._rotated()):
            if number >= self._max_files:
                file.unlink()
            else:
                file.rename(self._numbered(number + 1))
        import zstandard

        target = self._numbered(1)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with self.path.open("rb") as source, os.fdopen(descriptor, "wb") as compressed:
            zstandard.ZstdCompressor(LEVEL).copy_stream(source, compressed)
        self.path.unlink()

    def _make_room(self, size: int) -> None:
        """Deletes the oldest files until so many bytes more are within the total."""
        rotated = self._rotated()
        current = self.path.stat().st_size
        used = current + sum(file.stat().st_size for _, file in rotated)
        while rotated and used + size > self._total:
            _, oldest = rotated.pop()
            used -= oldest.stat().st_size
            oldest.unlink()

    def _rotated(self) -> list[tuple[int, Path]]:
        """(number, file), the newest first."""
        found = []
        for file in self.path.parent.glob(f"{glob.escape(self.path.name)}.*{SUFFIX}"):
            number = file.name[len(self.path.name) + 1 : -len(SUFFIX)]
            if number.isdigit():
                found.append((int(number), file))
        return sorted(found)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}{SUFFIX}")
