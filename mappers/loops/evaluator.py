"""Steps of one run in, findings out: incremental, bounded, and the same whenever it is replayed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mappers.loops.detectors import BUILTIN, Detector, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Novelty, Recent
from mappers.loops.step import Step, StepKind

ENGINE_VERSION = "3"
"""Grows when the same steps give other findings than before."""
MAX_FINDINGS = 8
"""Of one category in one run; further ones would say the same."""
HEAD, TAIL = 6, 6
"""Steps of evidence that are kept: up to the onset, and the newest after it."""


CALLS = frozenset({StepKind.CALL, StepKind.OUTPUT})


class Spent(NamedTuple):
    """What the run had cost up to a step, and how many model calls said so."""

    tokens: int
    tokens_known: int
    cost_nano_usd: int
    cost_known: int


@dataclass(slots=True)
class Finding:
    """What a detector has found in a run so far."""

    detector: Detector
    key: int | str
    tool: str
    agent: str
    count: int
    threshold: int
    """The count at which it was first found."""
    first: str
    """Id of the first step of its evidence."""
    onset: str
    """Id of the step at which the condition first held."""
    last: str
    head: Sequence[str]
    """Evidence up to the onset."""
    tail: deque[str]
    """The newest evidence after it."""
    first_ns: int
    onset_ns: int
    last_ns: int
    at_onset: Spent
    at_last: Spent
    progress: int
    """Progress of the run when it last held."""
    position: int
    """Tool steps of the run when it last held."""
    severity: str
    facts: Mapping[str, str]

    @property
    def evidence(self) -> list[str]:
        return list(dict.fromkeys([*self.head, *self.tail]))


class Engine:
    """What the evaluators of all runs share.

    Args:
        detectors: those to ask. One that fails costs what it would have found and is counted in `faults`.
    """

    def __init__(self, detectors: Sequence[Detector] = BUILTIN, novelty: Novelty | None = None) -> None:
        self.novelty = novelty or Novelty()
        self.faults: Counter[str] = Counter()
        self.rank = {detector.name: rank for rank, detector in enumerate(detectors)}
        """Which of several findings on the same steps is primary: the lowest."""
        across = [detector for detector in detectors if getattr(detector, "across", True)]
        self.looking = _by_kind(detectors)
        self.looking_across = _by_kind(across)
        self._detectors = detectors
        self._across = across
        self._of_calls = [detector for detector in across if not CALLS.isdisjoint(detector.kinds)]
        self._calls_matter = not {type(detector) for detector in self._of_calls} <= set(map(type, BUILTIN))

    def possible(self, outline: Outline, *, across: bool = False) -> bool:
        """Whether any detector could hold in such a thread; see `Detector.possible`."""
        return self._any(self._across if across else self._detectors, outline)

    def calls_matter(self, outline: Outline) -> bool:
        """Whether a detector that looks at model calls could hold in such a session, by its model calls alone. Of
        detectors of others it is not known whether these would tell."""
        return self._calls_matter or self._any(self._of_calls, outline)

    def _any(self, detectors: Sequence[Detector], outline: Outline) -> bool:
        for detector in detectors:
            try:
                if detector.possible(outline):
                    return True
            except AttributeError:
                if not hasattr(detector, "possible"):
                    return True
                self.faults[detector.name] += 1
            except Exception:  # as when a faulty plugin looks
                self.faults[detector.name] += 1
        return False


def _by_kind(detectors: Sequence[Detector]) -> dict[StepKind, Sequence[Detector]]:
    return {kind: [detector for detector in detectors if kind in detector.kinds] for kind in StepKind}


class Evaluator:
    """The state of one run, or of one session.

    Args:
        across: it is a session; detectors that speak of single runs are not asked.
    """

    __slots__ = ("_looking", "engine", "findings", "recent")

    def __init__(self, engine: Engine, *, across: bool = False) -> None:
        self.engine = engine
        self._looking = engine.looking_across if across else engine.looking
        self.recent = Recent(engine.novelty)
        self.findings: dict[tuple[str, int | str], Finding] = {}

    def feed(self, step: Step) -> None:
        """Takes the next step, in the order of `Step.order`."""
        recent = self.recent
        if not recent.meet(step):
            return
        recent.judge(step)
        for detector in self._looking[step.kind]:
            try:
                hit = detector.look(step, recent)
                if hit is not None:
                    self._keep(detector, hit, step)
            except Exception:  # a faulty plugin must not cost the others
                self.engine.faults[detector.name] += 1
        recent.remember(step)

    def feed_all(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.feed(step)

    def _keep(self, detector: Detector, hit: Hit, step: Step) -> None:
        identity = (detector.name, hit.key)
        finding = self.findings.get(identity)
        spent = self._spent()
        if finding is None:
            category = detector.category
            if sum(other.detector.category == category for other in self.findings.values()) >= MAX_FINDINGS:
                return
            before = [other.id for other in hit.before]
            self.findings[identity] = Finding(
                detector,
                hit.key,
                step.tool,
                step.agent,
                hit.count,
                hit.count,
                before[0] if before else step.id,
                step.id,
                step.id,
                [*before, step.id][-HEAD:],
                deque(maxlen=TAIL),
                hit.before[0].start_ns if hit.before else step.start_ns,
                step.end_ns or step.start_ns,
                step.end_ns or step.start_ns,
                spent,
                spent,
                self.recent.progress,
                self.recent.position,
                hit.severity,
                hit.facts,
            )
            return
        # The window forgets; what was counted stays counted.
        finding.count = max(hit.count, finding.count + hit.again)
        finding.last = step.id
        finding.tail.append(step.id)
        finding.last_ns = step.end_ns or step.start_ns
        finding.at_last = spent
        finding.progress = self.recent.progress
        finding.position = self.recent.position
        finding.severity = hit.severity
        finding.facts = hit.facts

    def _spent(self) -> Spent:
        recent = self.recent
        return Spent(recent.tokens, recent.tokens_known, recent.cost_nano_usd, recent.cost_known)
