"""What was acknowledged but can not be stored: kept, but for secrets, with the reason, in a file beside the journal."""

from __future__ import annotations

import base64
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson

from collector.journal import Record


class DeadLetters:
    """A file of JSON lines: `{"reason", "signal", "sequence", "received_ns", "tenant", "project", "body"}`.

    `body` is the request as protobuf, in base64. The file is created when it is needed (0600).

    Args:
        masked: takes secrets out of a body, given its project.
    """

    def __init__(self, file: Path, masked: Callable[[bytes, str], bytes]) -> None:
        self._file = file
        self._masked = masked
        self._lock = threading.Lock()
        self.items: Counter[str] = Counter()
        """Spans and log records kept by this process, by signal."""

    def keep(self, record: Record, signal: str, reason: str) -> None:
        """Writes the record down; durable when it returns.

        Raises:
            OSError: the file can not be written.
        """
        line = orjson.dumps(
            {
                "reason": reason,
                "signal": signal,
                "sequence": record.sequence,
                "received_ns": record.header.received_ns,
                "tenant": record.header.tenant,
                "project": record.header.project,
                "body": base64.b64encode(self._masked(record.body, record.header.project)).decode(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        with self._lock:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.items[signal] += record.header.items
