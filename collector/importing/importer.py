"""Takes a file piece by piece, tells its form, and hands on what it says as OTLP requests."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from collector.importing.calls import Calls, is_call, is_record
from collector.importing.documents import READINGS, NotImportableError, is_trailer, why_not
from collector.importing.looplens import LoopLens, is_event
from collector.intake.intake import Submission
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import Checked, NotOtlpError, Signal, check, transcode
from collector.otlp.limits import Limits, TooManyError

TRANSPORT = "import"
MAX_LINE = 64 << 20
BATCH_BYTES = 1 << 20
BATCH_ITEMS = 1000
MAX_REJECTS = 1000
"""Rejected lines that are named; more are counted."""
BUSY_S = 60.0
RETRY_S = 0.25
GZIP = b"\x1f\x8b"

FORMATS = ("auto", "jsonl", "otlp-json", "otlp-proto", "looplens", "calls", "wire-capture")


class RefusedError(Exception):
    """The collector takes nothing more now; what was taken stays."""


@dataclass(slots=True)
class Report:
    """What became of a file."""

    form: str = ""
    lines: int = 0
    """Lines, or frames, with something in them."""
    accepted: int = 0
    """Spans and log records."""
    rejected_items: int = 0
    rejected_lines: int = 0
    rejects: list[tuple[int, str]] = field(default_factory=list)
    """(line or frame, counted from 1, and why), the first of them."""

    def reject(self, line: int, why: str, items: int = 0) -> None:
        self.rejected_lines += 1
        self.rejected_items += items
        if len(self.rejects) < MAX_REJECTS:
            self.rejects.append((line, why))


class Importer:
    """Used from one thread at a time.

    Args:
        form: one of `FORMATS`.
        take: takes a request, and tells how that ended, as `Intake.take`; None: nothing is taken (a dry run).
        tenant, project: whose all of it is; "": the project that a line or its resource names.
    """

    def __init__(
        self,
        form: str,
        take: Callable[[Submission, Callable[[Outcome], None]], None] | None,
        limits: Limits,
        *,
        tenant: str = "",
        project: str = "",
    ) -> None:
        self.report = Report("" if form == "auto" else form)
        self._take = take
        self._limits = limits
        self._tenant, self._project = tenant, project
        self._inflate: Any = None
        self._begun = False
        self._number = 0
        """Of the line or frame that is read, counted from 1."""
        self._rest = b""
        self._looplens = LoopLens()
        self._calls = Calls(tenant, project)
        self._whole = False
        self._batches: dict[tuple[Signal, str], tuple[list[bytes], int]] = {}

    def feed(self, piece: bytes) -> None:
        """More of the file.

        Raises: RefusedError.
        """
        if not self._begun and piece:
            self._begun = True
            if piece.startswith(GZIP):
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while piece:
            self._rest += self._inflate.decompress(piece, MAX_LINE) if self._inflate else piece
            piece = self._inflate.unconsumed_tail if self._inflate else b""
            self._read()

    def end(self) -> Report:
        """The file is at its end.

        Raises: RefusedError.
        """
        if self._is_lines():
            self._number += 1
            if self._rest.strip():
                self._line(self._rest)
        elif self._rest:
            self._frame(self._rest, "is no OTLP request, or the file ends within it")
        self._rest = b""
        for request in self._looplens.rest():
            self._document(self._number, Signal.TRACES, request, "")
        for spans in self._calls.rest():
            self._spans(self._number, spans)
        for key in list(self._batches):
            self._send(key)
        return self.report

    # ------------------------------------------------------------------- pieces

    def _read(self) -> None:
        if not self.report.form and not self._detect():
            return
        if self._whole:
            self._bounded()
            return
        if not self._is_lines():
            for frame in self._frames():
                self._frame(frame)
            return
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._number += 1
            if line.strip():
                self._line(line)
        self._bounded()

    def _is_lines(self) -> bool:
        return self.report.form != "otlp-proto"

    def _bounded(self) -> None:
        if len(self._rest) > MAX_LINE:
            self.report.reject(self._number + 1, f"is longer than {MAX_LINE} bytes")
            self._rest = b""

    def _detect(self) -> bool:
        """Whether the form is known now."""
        begin = self._rest.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not begin:
            return False
        if not begin.startswith((b"{", b"[")):
            self.report.form = "otlp-proto"
            return True
        line, newline, _ = begin.partition(b"\n")
        if not newline:
            return False
        try:
            self.report.form = _form_of(orjson.loads(line))
        except ValueError:
            # A document over several lines.
            self.report.form, self._whole = "otlp-json", True
        return True

    def _frames(self) -> Iterator[bytes]:
        """Requests after their length, or else the whole as one request."""
        while len(self._rest) >= 4:
            (length,) = struct.unpack_from(">I", self._rest)
            if length > MAX_LINE:
                return
            if len(self._rest) < 4 + length:
                return
            frame, self._rest = self._rest[4 : 4 + length], self._rest[4 + length :]
            yield frame

    def _frame(self, frame: bytes, why: str = "") -> None:
        self.report.lines += 1
        self._number += 1
        best: Checked | None = None
        of = Signal.TRACES
        for signal in (Signal.TRACES, Signal.LOGS):
            try:
                checked = check(signal, frame, self._limits)
            except (NotOtlpError, TooManyError) as error:
                why = why or str(error)
                continue
            if checked.accepted and (best is None or checked.rejected < best.rejected):
                best, of = checked, signal
        if best is None:
            self.report.reject(self._number, why or "holds no spans and no log records")
        else:
            self._checked(self._number, of, best, "")

    def _line(self, line: bytes) -> None:
        self.report.lines += 1
        number = self._number
        try:
            document = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except ValueError as error:
            self.report.reject(number, f"is no JSON: {error}")
            return
        if not isinstance(document, dict):
            self.report.reject(number, "is no JSON object")
            return
        self.report.form = self.report.form or _form_of(document)
        try:
            if is_trailer(document):
                self.report.lines -= 1
            elif is_event(document) and self.report.form in ("looplens", "auto"):
                for request in self._looplens.take(document):
                    self._document(number, Signal.TRACES, request, "")
            elif is_call(document) or is_record(document):
                taken = self._calls.take if is_call(document) else self._calls.take_record
                for spans in taken(document):
                    self._spans(number, spans)
            else:
                self._taken(number, document)
        except NotImportableError as error:
            self.report.reject(number, str(error))

    def _taken(self, number: int, document: dict[str, Any]) -> None:
        """Raises: NotImportableError."""
        for is_it, read in READINGS.values():
            if is_it(document):
                for signal, request, project in read(document):
                    self._document(number, signal, request, project)
                return
        raise NotImportableError(why_not(document))

    def _spans(self, number: int, request: bytes) -> None:
        """Spans that were made of calls."""
        self._checked(number, Signal.TRACES, check(Signal.TRACES, request, self._limits), "")

    def _document(self, number: int, signal: Signal, request: dict[str, Any], project: str) -> None:
        try:
            checked = transcode(signal, orjson.dumps(request), self._limits)
        except (NotOtlpError, TooManyError) as error:
            self.report.reject(number, str(error))
            return
        self._checked(number, signal, checked, project)

    # ------------------------------------------------------------------- on their way

    def _checked(self, number: int, signal: Signal, checked: Checked, project: str) -> None:
        if checked.rejected:
            self.report.reject(number, checked.reasons, checked.rejected)
        if not checked.accepted:
            return
        self.report.accepted += checked.accepted
        key = signal, self._project or project
        bodies, items = self._batches.get(key, ([], 0))
        self._batches[key] = [*bodies, checked.body], items + checked.accepted
        bodies, items = self._batches[key]
        if items >= BATCH_ITEMS or sum(map(len, bodies)) >= BATCH_BYTES:
            self._send(key)

    def _send(self, key: tuple[Signal, str]) -> None:
        """Requests of protobuf side by side are one request. Raises: RefusedError."""
        bodies, items = self._batches.pop(key)
        if self._take is None or not bodies:
            return
        signal, project = key
        waited = 0.0
        while True:
            ended = threading.Event()
            outcomes: list[Outcome] = []

            def done(
                outcome: Outcome, outcomes: list[Outcome] = outcomes, ended: threading.Event = ended
            ) -> None:
                outcomes.append(outcome)
                ended.set()

            self._take(
                Submission(signal, b"".join(bodies), TRANSPORT, tenant=self._tenant, project=project), done
            )
            ended.wait()
            outcome = outcomes[0]
            if outcome.verdict is Verdict.ACCEPTED:
                return
            if outcome.verdict is not Verdict.REFUSED or waited > BUSY_S:
                self.report.accepted -= items
                raise RefusedError(outcome.message)
            threading.Event().wait(RETRY_S)
            waited += RETRY_S


def _form_of(document: Any) -> str:
    """The form of lines like this one; "jsonl" if it is of no known kind."""
    if isinstance(document, dict):
        for form, (is_it, _) in READINGS.items():
            if is_it(document):
                return form
        if is_event(document):
            return "looplens"
        if is_call(document):
            return "calls"
        if is_record(document):
            return "wire-capture"
    return "jsonl"
