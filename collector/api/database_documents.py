"""What the database holds and does, as JSON documents."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from collector.documents.models import Time, described
from collector.documents.render import rfc3339
from collector.upkeep import jobs


class Table(TypedDict):
    table: str
    rows: int
    bytes: int
    parts: int


class Database(TypedDict):
    """What the database holds and does."""

    schema_version: int
    bytes: int
    merges: int
    mutations: int
    tables: list[Table]


@described
class RetentionPolicy(TypedDict, total=False):
    """How long what is kept, in days since it was written; null: for ever."""

    spans_days: int | None
    logs_days: int | None
    events_days: int | None
    exchanges_days: int | None
    runs_days: int | None
    """Of runs and warnings."""
    max_bytes: int | None
    """Of all tables; beyond that the oldest spans, logs, events and exchanges go."""


class ExpiredRows(TypedDict, total=False):
    """How many rows of each kind."""

    spans: int
    logs: int
    events: int
    exchanges: int
    runs: int


class RetentionRound(TypedDict):
    """What retention did last."""

    at: Time
    deleted: ExpiredRows
    error: str | None


@described
class Retention(TypedDict):
    """How long what is kept. Pinned runs are not asked."""

    policy: RetentionPolicy
    bytes: int
    """What the tables take now."""
    would_delete: ExpiredRows
    last: RetentionRound | None


class RedactionOfProject(TypedDict):
    """What is masked and not stored."""

    mask: list[Literal["email", "phone", "card"]]
    """Personal data, beside secrets, which always are."""
    capture_input: bool
    capture_output: bool


class Redaction(RedactionOfProject):
    """What is masked and not stored, by the configuration."""

    projects: dict[str, RedactionOfProject]
    """By name or pattern; the first that fits holds alone."""


@described
class Job(TypedDict):
    """Long work on the database."""

    job_id: str
    kind: Literal["compact", "remap"]
    state: Literal["running", "done", "stopped"]
    done: int
    """Tables, or runs."""
    total: int
    error: str | None
    began_at: Time
    ended_at: Time | None


class LastJob(TypedDict):
    job: Job | None


class WantedRemap(TypedDict):
    """Which runs to map anew: those that began since then."""

    since: str


def job_document(job: jobs.Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "error": job.error,
        "began_at": rfc3339(int(job.began_at_s * 10**9)),
        "ended_at": rfc3339(int(job.ended_at_s * 10**9)) if job.ended_at_s is not None else None,
    }
