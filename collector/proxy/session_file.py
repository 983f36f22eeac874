"""What the session resolver remembers, in files, so that a conversation goes on in its run after a restart.

One JSON line for what a call changed: the session, and the marks by which it can be known, as hashes. Nothing that was
said is in it. Two files of a bounded size, of which the older one goes when the newer one is full; together they hold
about as many marks as the resolver does in memory. What a crash tears off is passed over.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from collector.proxy.exchange import Call
from collector.proxy.session import Open, Session

log = logging.getLogger(__name__)

MAX_BYTES = 32 << 20
"""Of each of the two files."""


class SessionFile:
    """Args:
    file: the newer one; the older one has `.1` at the end. Both are their owner's alone (0600).
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._older = file.with_name(file.name + ".1")
        self._lines: list[bytes] = []
        self._size: int | None = None
        """Of the newer file; None before it was opened."""
        self._descriptor = -1
        self._failed = False

    def read(self) -> Iterator[dict[str, Any]]:
        """What was noted, the oldest first."""
        for file in (self._older, self._file):
            try:
                lines = file.read_bytes().split(b"\n")
            except OSError:
                continue
            for line in lines:
                with contextlib.suppress(orjson.JSONDecodeError):
                    if line and isinstance(noted := orjson.loads(line), dict):
                        yield noted

    def note(self, changed: dict[str, Any]) -> None:
        """Takes a line; `flush` writes it."""
        self._lines.append(orjson.dumps(changed) + b"\n")

    def flush(self) -> None:
        """Writes what was noted. A file that can not be written is told of once, and costs nothing but the memory."""
        lines, self._lines = b"".join(self._lines), []
        if not lines or self._failed:
            return
        try:
            if self._size is None or self._size > MAX_BYTES:
                self._open()
            self._size = (self._size or 0) + os.write(self._descriptor, lines)
        except OSError as error:
            self._failed = True
            log.warning("%s can not be written (%s); sessions begin anew after a restart", self._file, error)

    def _open(self) -> None:
        if self._size is not None:
            os.close(self._descriptor)
            self._descriptor = -1
            self._file.replace(self._older)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._descriptor = os.open(self._file, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        if self._size:  # a line that a crash cut short ends here
            self._size += os.write(self._descriptor, b"\n")

    def close(self) -> None:
        self.flush()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._failed = True


def written(session: Session, marks: list[str]) -> dict[str, Any]:
    """A session as a line of the file, without what was said in it."""
    return {
        "id": session.id,
        "tenant": session.tenant,
        "trace": session.trace_id,
        "root": session.root_id,
        "name": session.name,
        "inferred": session.is_inferred,
        "seen": session.seen_ns,
        "whole": session.whole.trace_id if session.whole else None,
        "marks": marks,
    }


def read_into(sessions: dict[tuple[str, str], Session], noted: dict[str, Any]) -> Session:
    """The session of a line, by tenant and trace id among the `sessions` so far, with what the line adds to it.

    Raises:
        KeyError, TypeError, ValueError: the line is nothing of ours.
    """
    tenant, trace_id = noted["tenant"], noted["trace"]
    session = sessions.get((tenant, trace_id))
    if session is None:
        seen = int(noted["seen"])
        session = Session(noted["id"], trace_id, noted["root"], seen, seen, tenant=tenant, restored=True)
        sessions[tenant, trace_id] = session
        if noted["whole"] and (whole := sessions.get((tenant, noted["whole"]))):
            session.whole = whole
            session.open_calls, session.seen_results = whole.open_calls, whole.seen_results
    session.seen_ns, session.name = int(noted["seen"]), noted["name"]
    session.is_inferred, session.root_id = bool(noted["inferred"]), noted["root"]
    if session.whole is not None:
        session.whole.newest = session
    for key, call_id, name, of_trace, span_id, at_ns in noted.get("made", ()):
        session.open_call(key, Open(Call(call_id, name, None, 0), of_trace, span_id, int(at_ns)))
    for call_id in noted.get("answered", ()):
        session.note_result(call_id)
        session.open_calls.pop(call_id, None)
    session.answered.clear()
    return session
