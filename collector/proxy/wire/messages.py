"""Messages of a WebSocket as records of a wire capture.

Each is masked as a body is. What a provider says in pieces is looked through put together, too, member by member: where
a secret lies across messages, none of that direction's in the stretch shows its text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson

from collector.proxy.framelog import Frame, FrameTape
from collector.proxy.headers import by_name
from collector.proxy.wire.records import Content, Names, Record, Recorded, Rules
from mappers.redact import Mask


def records_of_frames(tape: FrameTape, names: Names, rules: Rules, *, exact: bool) -> Iterator[Record]:
    """A record for each message of a stretch, in order of time.

    Args:
        exact: payloads are the bytes as they passed, wherever nothing has to be masked in them.
    """
    yield from _Stretch(tape, names, rules, exact).records()


class _Stretch(Recorded):
    def __init__(self, tape: FrameTape, names: Names, rules: Rules, exact: bool) -> None:
        super().__init__(
            tape, names, rules, exact, by_name(tape.request_headers).get(b"user-agent", ""), None
        )
        self._frames = tape.frames
        self._about = {"connection_id": tape.connection}
        self._left_out = tape.left_out

    def records(self) -> Iterator[Record]:
        allowed = {True: self._rules.input, False: self._rules.output}
        told_together = {
            to_backend: allowed[to_backend] and self._has_secret_across(to_backend)
            for to_backend in (True, False)
        }
        for place, frame in enumerate(self._frames, 1):
            content = self._shown(frame, allowed[frame.to_backend], hidden=told_together[frame.to_backend])
            more: Record = {
                **self._about,
                "request_id": frame.call or self._about["connection_id"],
                "frame_number": frame.number,
                "opcode": "binary" if isinstance(frame.data, bytes) else "text",
            }
            if frame.data is None:
                del more["opcode"]
                more["truncated"] = True
            if self._left_out and place == len(self._frames):
                more["frames_left_out"] = self._left_out
            yield self._record(
                "ws_frame", frame.at_ns, content, frame.size, more, to_backend=frame.to_backend
            )

    def _shown(self, frame: Frame, allowed: bool, *, hidden: bool) -> Content:
        if frame.data is None:
            return Content(None)
        if hidden:
            return Content(None, is_masked=True)
        raw = _bytes(frame.data)
        return self._content(raw, raw, allowed)

    def _has_secret_across(self, to_backend: bool) -> bool:
        pieces: defaultdict[str, list[str]] = defaultdict(list)
        for frame in self._frames:
            if frame.to_backend is to_backend and frame.data is not None:
                _gather(frame.data, pieces)
        return any(_lies_across(texts, self._rules.mask) for texts in pieces.values())


def _bytes(data: str | bytes) -> bytes:
    return data if isinstance(data, bytes) else data.encode(errors="replace")


def _lies_across(texts: list[str], mask: Mask) -> bool:
    if len(texts) == 1:
        return False
    whole = "".join(texts)
    masked = mask(whole)
    return masked != whole and masked != "".join(map(mask, texts))


def _gather(data: str | bytes, pieces: defaultdict[str, list[str]]) -> None:
    """Adds the texts of a message, by the member that they are in; all of one that is no JSON."""
    try:
        document = orjson.loads(_bytes(data))
    except orjson.JSONDecodeError:
        pieces[""].append(data if isinstance(data, str) else data.decode("latin-1"))
        return
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            pieces[name].append(value)
        elif isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((name, item) for item in reversed(value))
