"""What is told to a process that maps, and what it tells back, as plain values for the line between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from collector.apart.columns import read, written
from collector.config import LoopSettings, PricingSettings, RedactionSettings, Settings
from collector.journal import Header, Record
from collector.pipeline.mapped import Outcome
from collector.understanding.understanding import Findings

READY = "ready"
"""The first that a process says."""


class Start(NamedTuple):
    """The first that a process hears: what telemetry means here."""

    settings: str
    """JSON of what of the settings decides that."""
    prices: str
    """The version of the prices of one's own that must be found there."""
    levels: int
    """As `decode.keep_levels` takes it."""
    log_level: str


def start_of(settings: Settings, prices_version: str) -> Start:
    told = settings.model_dump_json(include={"redaction", "loops", "pricing"})
    levels = settings.receivers.otlp.limits.attribute_value_depth
    return Start(told, prices_version, levels, settings.service.telemetry.log_level)


def settings_of(start: Start) -> Settings:
    """With all else as it comes."""
    told = orjson.loads(start.settings)
    return Settings.model_construct(
        redaction=RedactionSettings.model_validate(told["redaction"]),
        loops=LoopSettings.model_validate(told["loops"]),
        pricing=PricingSettings.model_validate(told["pricing"]),
    )


def work_of(records: Sequence[Record], has_mark: Sequence[bool]) -> list[Any]:
    """Records to be mapped, and which of them may hold a secret."""
    return [
        (record.header.received_ns, record.header.tenant, record.header.project, record.body, bool(mark))
        for record, mark in zip(records, has_mark, strict=True)
    ]


def records_of(work: list[Any]) -> list[Record]:
    return [
        Record(0, Header(received_ns, tenant, project), body)
        for received_ns, tenant, project, body, _ in work
    ]


def marks_of(work: list[Any]) -> list[bool]:
    return [mark for *_, mark in work]


class Answer(NamedTuple):
    """To one piece."""

    outcome: Outcome
    findings: Findings
    cpu_s: float
    """What the process has used of the processor. Both since the answer before, the first since the start."""


def answer_of(answer: Answer) -> Any:
    """Raises: UnfitError, TypeError, AttributeError: an event has no plain form."""
    outcome, findings, cpu_s = answer
    return (
        list(outcome.faults),
        list(outcome.requests),
        len(outcome.events),
        written(outcome.events),
        (dict(findings.conventions), dict(findings.detectors), findings.masked, findings.failures),
        cpu_s,
    )


def read_answer(told: Any, records: int) -> Answer:
    """Raises: LookupError, TypeError, ValueError: it is none to so many records."""
    faults, requests, count, columns, (conventions, detectors, masked, failures), cpu_s = told
    if not len(faults) == len(requests) == records:
        raise ValueError(f"of {records} records {len(faults)} are answered")
    return Answer(
        Outcome(faults, requests, read(columns, count)),
        Findings(Counter(conventions), Counter(detectors), masked, failures),
        cpu_s,
    )
