"""A zip of all shapes with notes, for people and coding agents that look into runs away from the collector."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import orjson

from collector.exporting.formats import JsonLines
from collector.exporting.pipe import Pipe
from collector.exporting.shapes import Rows, Shape
from collector.exporting.summary import Summary
from mappers.model import Run

NOTES = resources.files(__package__).joinpath("notes.md").read_text(encoding="utf-8")
"""For whoever reads the files, in the archive."""

MEMBERS = (
    ("runs.jsonl", Shape.RUNS),
    ("events.jsonl", Shape.EVENTS),
    ("messages.jsonl", Shape.MESSAGES),
    ("spans.jsonl", Shape.SPANS),
)

ENOUGH = 1 << 16
"""Bytes that are sent at a time."""


def archive(runs: Callable[[], Iterator[Run]], rows: Rows, summary: Summary) -> Iterator[bytes]:
    """The zip, written as it is read. Each file goes through all runs."""
    written = Pipe()
    files: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("AGENTS.md", "README.md"):
            packed.writestr(_member(name), NOTES)
        for name, of in (
            *((name, lambda run, shape=shape: rows.of(run, shape)) for name, shape in MEMBERS),
            ("warnings.jsonl", rows.warnings),
        ):
            digest, count = hashlib.sha256(), 0
            with packed.open(_member(name), "w", force_zip64=True) as member:
                for run in runs():
                    for row in of(run):
                        line = JsonLines().rows([row])
                        digest.update(line)
                        member.write(line)
                        count += 1
                        if written.size > ENOUGH:
                            yield written.taken()
                    if written.size:  # whoever waits sees that it goes on
                        yield written.taken()
            files[name] = {"rows": count, "sha256": digest.hexdigest()}
        summary.rows = sum(file["rows"] for file in files.values())
        packed.writestr(_member("manifest.json"), orjson.dumps({"runs": summary.runs, "files": files}))
        yield written.taken()
    yield written.taken()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, time.gmtime()[:6])
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    return member
