"""What the collector itself was busy with of late: how long requests, batches and other work took, and which
went wrong.

Of each kind of operation a few samples are kept for each class of latency, and the last ones that failed. A sample
holds numbers, the tenant and words of ours, never what was sent. The same record becomes the collector's own traces
where these are wanted (`tracing`), so that both always say the same.
"""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

from collector.telemetry.telemetry import harmless

CLASSES_S = {
    "up to 1 ms": 0.001,
    "up to 10 ms": 0.01,
    "up to 100 ms": 0.1,
    "up to 1 s": 1.0,
    "up to 10 s": 10.0,
}
LONGER = "longer"
_BOUNDS_S = tuple(CLASSES_S.values())
SAMPLES, FAILURES = 4, 16
"""Kept of a class of latency, and of what failed; the newest."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

OWN_SCOPE = "eddyline.operations"
"""Instrumentation scope of own spans, whichever collector tells them."""
_OWN = OWN_SCOPE.encode()


def tells_of_us(request: bytes) -> bool:
    """Whether a request, in protobuf, holds own spans of a collector. What became of such a one is never told in turn:
    it would go round in circles, however many others it passes through on its way."""
    return _OWN in request


class Kind(Enum):
    """What sort of operation it is, as far as who follows it is concerned."""

    WORK = "work"
    """Something that the collector does by itself."""
    ANSWER = "answer"
    """A request to the API."""
    REQUEST = "request"
    """A request that brings telemetry: there are very many of these."""
    UNTOLD = "untold"
    """Nobody is to hear of it: a probe, which is asked all the time, what the proxy makes calls of models of, or what
    telling it would bring about again."""


@dataclass(slots=True)
class Step:
    """A part of an operation."""

    name: str
    began_ns: int
    ended_ns: int
    told: Mapping[str, Any]
    error: str = ""


@dataclass(slots=True)
class Doing:
    """An operation that is under way, with the steps that it took. For one thread at a time."""

    began_ns: int = field(default_factory=time.time_ns)
    steps: list[Step] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    trace_id: bytes = field(default_factory=lambda: random.randbytes(16))  # noqa: S311  # no secret
    parent_id: bytes = b""
    """The span of somebody else within which it is done."""
    is_own: bool = False
    """It is about own spans of a collector, and nothing else."""
    is_wanted: bool = True
    """Nobody within whose trace it is done has decided against it."""

    @contextmanager
    def step(self, name: str, **told: Any) -> Iterator[None]:
        """What is done in the block."""
        began_ns, error = time.time_ns(), ""
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self.steps.append(Step(name, began_ns, time.time_ns(), told, error))

    def stepped(self, name: str, began_ns: int, **told: Any) -> None:
        """A step that ends now."""
        self.steps.append(Step(name, began_ns, time.time_ns(), told))


@dataclass(frozen=True, slots=True)
class Ended:
    """An operation that has ended, as it is told on."""

    name: str
    kind: Kind
    doing: Doing
    ended_ns: int
    told: Mapping[str, Any]
    error: str = ""


_Sample = tuple[float, float | None, Mapping[str, Any], list[Step]]
"""When it ended, how many seconds it took, if that is known, what is told of it, and its steps."""
_NO_STEPS: list[Step] = []


class Operation:
    """One kind of operation. May be told from any thread."""

    def __init__(self, name: str = "", kind: Kind = Kind.WORK) -> None:
        self.name = name
        self.kind = kind
        self.share = 0.0
        """How many of them are told on, of one."""
        self.tell: Callable[[Ended], None] = lambda ended: None
        """Told of these. Must neither fail nor wait."""
        self._lock = threading.Lock()
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._samples: list[deque[_Sample]] = [deque(maxlen=SAMPLES) for _ in self._counts]
        self._failed = 0
        self._failures: deque[_Sample] = deque(maxlen=FAILURES)

    def took(self, seconds: float, told: Mapping[str, Any], request: bytes | None = b"") -> None:
        """One went well that has no steps; `told` is kept as it is. `request` is what it was about, in protobuf, or
        None if that is not known: then it is not told on."""
        self._took(seconds, told, _NO_STEPS)
        if self.share and random.random() < self.share:  # noqa: S311  # no secret
            self._tell_single(seconds, told, request)

    def failed(
        self,
        seconds: float | None,
        error: str,
        told: Mapping[str, Any] = NOTHING,
        request: bytes | None = b"",
    ) -> None:
        """One did not; `error` says why, in words of ours."""
        self._failed_so(seconds, error, told, _NO_STEPS)
        if self.share and random.random() < self.share:  # noqa: S311  # no secret
            self._tell_single(seconds or 0.0, told, request, harmless(error))

    def done(self, doing: Doing, error: str = "") -> None:
        """One has ended; `error` says why it went wrong, if it did."""
        ended_ns = max(time.time_ns(), doing.began_ns)
        seconds = (ended_ns - doing.began_ns) / 1e9
        if error:
            self._failed_so(seconds, error, doing.told, doing.steps)
        else:
            self._took(seconds, doing.told, doing.steps)
        if (
            self.share
            and doing.is_wanted
            and not doing.is_own
            and (doing.parent_id or is_among(doing.trace_id, self.share))
        ):
            self.tell(Ended(self.name, self.kind, doing, ended_ns, doing.told, harmless(error)))

    @contextmanager
    def doing(self) -> Iterator[Doing]:
        """One is done in the block. What is raised there is its failure, by its kind alone."""
        doing = Doing()
        try:
            yield doing
        except BaseException as error:
            self.done(doing, type(error).__name__)
            raise
        self.done(doing)

    def _took(self, seconds: float, told: Mapping[str, Any], steps: list[Step]) -> None:
        place = bisect_left(_BOUNDS_S, seconds)
        with self._lock:
            self._counts[place] += 1
            self._samples[place].append((time.time(), seconds, told, steps))

    def _failed_so(
        self, seconds: float | None, error: str, told: Mapping[str, Any], steps: list[Step]
    ) -> None:
        with self._lock:
            self._failed += 1
            self._failures.append((time.time(), seconds, {**told, "error": harmless(error)}, steps))

    def _tell_single(
        self, seconds: float, told: Mapping[str, Any], request: bytes | None, error: str = ""
    ) -> None:
        if request is not None and not tells_of_us(request):
            ended_ns = time.time_ns()
            doing = Doing(ended_ns - int(seconds * 1e9))
            self.tell(Ended(self.name, self.kind, doing, ended_ns, told, error))

    def document(self) -> dict[str, Any]:
        with self._lock:
            counts, samples = [*self._counts], [[*some] for some in self._samples]
            failed, failures = self._failed, [*self._failures]
        return {
            "latency": {
                name: {"count": count, "samples": [_shown(sample) for sample in some]}
                for name, count, some in zip((*CLASSES_S, LONGER), counts, samples, strict=True)
                if count
            },
            "errors": {"count": failed, "samples": [_shown(sample) for sample in failures]},
        }


def is_among(trace_id: bytes, share: float) -> bool:
    """Whether a trace is among the share of all that is told on. As with the SDKs' sampler `traceidratio`, the trace's
    id decides, so that all who are asked about it say the same."""
    return int.from_bytes(trace_id[9:]) < share * (1 << 56)


class Operations:
    """All kinds, by name. Names are the collector's own, so that there is an end to them."""

    def __init__(self) -> None:
        self._kinds: dict[str, Operation] = {}
        self._lock = threading.Lock()
        self._shares: Mapping[Kind, float] = {}
        self._tell: Callable[[Ended], None] = lambda ended: None

    def of(self, name: str, kind: Kind = Kind.WORK) -> Operation:
        found = self._kinds.get(name)
        if found is not None:
            return found
        with self._lock:
            found = self._kinds.setdefault(name, Operation(name, kind))
            self._instruct(found)
        return found

    def tell_on(self, tell: Callable[[Ended], None], shares: Mapping[Kind, float]) -> None:
        """From now on this share of each kind is told on; of kinds that are not named nothing is. `tell` must neither
        fail nor wait."""
        with self._lock:
            self._tell, self._shares = tell, shares
            for operation in self._kinds.values():
                self._instruct(operation)

    def _instruct(self, operation: Operation) -> None:
        operation.tell, operation.share = self._tell, self._shares.get(operation.kind, 0.0)

    def document(self) -> dict[str, Any]:
        return {name: kind.document() for name, kind in sorted(dict(self._kinds).items())}


def _shown(sample: _Sample) -> dict[str, Any]:
    ended_s, seconds, told, steps = sample
    ended = datetime.fromtimestamp(ended_s, UTC).isoformat(timespec="milliseconds")
    took = {} if seconds is None else {"ms": round(seconds * 1000, 3)}
    shown = [
        {"name": step.name, "ms": round((step.ended_ns - step.began_ns) / 1e6, 3), **step.told}
        | ({"error": step.error} if step.error else {})
        for step in steps
    ]
    return {"ended": ended, **took, **told} | ({"steps": shown} if shown else {})
