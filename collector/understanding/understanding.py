"""What telemetry means to this collector: its conventions and loop detectors with those of plugins, prices, and what
is masked before anything is stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from collector.config import ConfigError, Settings
from collector.config.meaning import not_understood
from collector.pipeline.marks import Marks
from collector.pipeline.redaction import ProjectRules, Redaction
from collector.understanding.plugins import load_conventions, load_detectors
from collector.understanding.prices import load_prices
from mappers.agent_logs import AGENTS
from mappers.conventions import BUILTIN
from mappers.cost import Prices
from mappers.loops.configure import configured
from mappers.normalize import Normalizer
from mappers.records import RecordReader


@dataclass(frozen=True, slots=True)
class Findings:
    """What is told of reading and masking."""

    conventions: Counter[str] = field(default_factory=Counter)
    """Faults by convention."""
    detectors: Counter[str] = field(default_factory=Counter)
    """Faults by loop detector."""
    masked: int = 0
    """Items whose values were looked through."""
    failures: int = 0
    """Those that could not be masked."""

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            self.conventions + other.conventions,
            self.detectors + other.detectors,
            self.masked + other.masked,
            self.failures + other.failures,
        )

    def __sub__(self, earlier: Findings) -> Findings:
        """What came since an earlier time."""
        return Findings(
            self.conventions - earlier.conventions,
            self.detectors - earlier.detectors,
            self.masked - earlier.masked,
            self.failures - earlier.failures,
        )


class Understanding:
    """Made once, from settings that `meaning.not_understood` has nothing against. Makes readers that agree."""

    def __init__(self, settings: Settings, prices: Prices) -> None:
        self.prices = prices
        plugged_in, self._unloaded_conventions = load_conventions()
        conventions = [*BUILTIN, *plugged_in]
        self._detectors, self._unloaded_detectors = load_detectors()
        self.engine = configured(settings.loops.detectors, settings.loops.disabled, self._detectors)
        self._conventions = {
            "traces": conventions,
            "logs": [*conventions, *(agent.convention() for agent in AGENTS)],
        }
        self.rules = ProjectRules(settings.redaction)
        """What is taken out of what is stored; one for all who do."""
        self._normalizers: list[Normalizer] = []
        self._redactions: list[Redaction] = []
        self._elsewhere = Findings()

    def take_over(self, settings: Settings) -> None:
        """Prices, thresholds and rules of redaction of other settings. Who watches for loops is to be given the new
        `engine`.

        Raises: ConfigError, and nothing is taken over.
        """
        if found := not_understood(settings):
            raise ConfigError("\n".join(found))
        self.prices.take_over(load_prices(settings.pricing.overrides))
        self.engine = configured(settings.loops.detectors, settings.loops.disabled, self._detectors)
        for normalizer in self._normalizers:
            normalizer.loops = self.engine
        self.rules.take_over(settings.redaction)

    def of_pipeline(self, signal: str) -> tuple[Normalizer, Redaction]:
        """What reads and masks in a pipeline. What it finds is told, and it learns of other settings."""
        normalizer, redaction = self.normalizer(), self.redaction(signal)
        self._normalizers.append(normalizer)
        self._redactions.append(redaction)
        return normalizer, redaction

    def found_elsewhere(self, findings: Findings) -> None:
        """Another process, which understands what this one does, has found this since it last told."""
        self._elsewhere += findings
        self.engine.faults.update(findings.detectors)

    def normalizer(self) -> Normalizer:
        """One that reads spans as those of the pipelines do; for one thread, like each."""
        return Normalizer(self._conventions["traces"], self.prices, self.engine)

    def record_reader(self, normalizer: Normalizer) -> RecordReader:
        return RecordReader(normalizer, self.prices)

    def redaction(self, signal: str, marks: Marks | None = None) -> Redaction:
        """What masks "traces" or "logs"; for one thread. `marks` knows already where secrets may be."""
        return Redaction(self.rules, self._conventions[signal], marks)

    def mappers(self) -> dict[str, Any]:
        """Faults by convention and by loop detector, and plugins that could not be loaded."""
        faults = sum((normalizer.faults for normalizer in self._normalizers), self._elsewhere.conventions)
        return {
            "faults": dict(faults),
            "not_loaded": self._unloaded_conventions,
            "detectors": {"faults": dict(self.engine.faults), "not_loaded": self._unloaded_detectors},
        }

    def masked(self) -> dict[str, Any]:
        """Spans and log records whose values were looked through, and those that could not be masked."""
        return {
            "masked": sum((redaction.masked for redaction in self._redactions), self._elsewhere.masked),
            "failures": sum((redaction.failures for redaction in self._redactions), self._elsewhere.failures),
        }
