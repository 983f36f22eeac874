"""A store in memory, as far as the deriver and the watch for loops need one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, replace

from collector.deriver.derived import Derived
from mappers.model import Event, Kind, Run, Warning

_CHANGEABLE = [
    field.name
    for field in fields(Event)
    if isinstance(getattr(Event(run_id="", span_id=""), field.name), (dict, list, set))
]


def copied(event: Event) -> Event:
    """As `deepcopy` does it, in a sixth of the time: most of what an event holds can not be changed."""
    return replace(event, **{name: deepcopy(getattr(event, name)) for name in _CHANGEABLE})


class Stored:
    """What was written, as a store gives it back: the newest row of each identity."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, int], Event] = {}
        self.runs: dict[str, Run] = {}
        self.warnings: dict[tuple[str, str], Warning] = {}

    def write(self, derived: Derived) -> None:
        for event in [*derived.events, *derived.resettled]:
            row = copied(event)
            known = self.events.get((event.run_id, event.span_id, event.seq))
            if known is not None and not row.input and not row.output:
                row.input, row.output = known.input, known.output
            self.events[event.run_id, event.span_id, event.seq] = row
        self.runs |= {run.run_id: deepcopy(run) for run in derived.runs}
        self.warnings |= {(warning.run_id, warning.warning_id): warning for warning in derived.warnings}

    def standing(self) -> list[Warning]:
        return [warning for warning in self.warnings.values() if warning.state != "retracted"]

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        found: dict[str, list[Event]] = {}
        for event in self.events.values():
            if event.run_id in run_ids:
                slim = copied(event)
                if not (slim.is_root or slim.source == "log" or slim.filled):
                    slim.input = slim.output = ""
                found.setdefault(event.run_id, []).append(slim)
        return found

    def runs_by_id(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Run]:
        return {run_id: deepcopy(self.runs[run_id]) for run_id in run_ids if run_id in self.runs}

    def runs_with_rows(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        return self.runs.keys() & set(run_ids)

    def newest_call_ns(self) -> int:
        return max((event.end_ns for event in self.events.values()), default=0)

    def runs_with_twins(self, tenant: str, calls: Sequence[Event]) -> Sequence[str]:
        return sorted({event.run_id for event in self.events.values() if event.kind == Kind.LLM})

    def texts_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[tuple[str, str, int], tuple[str, str]]:
        return {key: (event.input, event.output) for key, event in self.events.items() if key[0] in run_ids}

    def warnings_of(self, tenant: str, threads: Sequence[str]) -> Sequence[Warning]:
        return [warning for warning in self.standing() if warning.thread in threads]

    def session_runs(
        self, tenant: str, sessions: Sequence[str], since_ns: int, limit: int
    ) -> Mapping[tuple[str, str], Sequence[tuple[str, int]]]:
        found: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for run in sorted(self.runs.values(), key=lambda run: (run.start_ns, run.run_id), reverse=True):
            if run.session_id in sessions and run.start_ns >= since_ns and not run.setup_only:
                found.setdefault((run.project, run.session_id), []).append((run.run_id, run.counts.spans))
        return {key: run_ids[:limit] for key, run_ids in found.items()}
