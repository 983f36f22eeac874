from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.understanding.plugins import DETECTORS, MAPPERS, load_conventions, load_detectors
from mappers.conventions.base import Convention, KindByValue
from mappers.loops.configure import configured
from mappers.loops.detectors import Hit
from mappers.loops.evaluator import Evaluator
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind
from mappers.model import Kind, Span
from mappers.normalize import Normalizer
from tests.corpus import select
from tests.mappers.spans import captured_spans
from tests.sending import http_protobuf
from tests.server import Server

ACME = Convention(
    id="acme",
    priority=50,
    keys=("acme.kind",),
    kinds=(KindByValue("acme.kind", {"model": Kind.LLM}),),
    fields={"request_model": ["acme.model"]},
)


@pytest.fixture(autouse=True)
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with conventions, good and bad."""
    module = ModuleType("acme_eddyline")
    module.__dict__.update(one=ACME, several=[ACME, ACME], wrong=object())
    monkeypatch.setitem(sys.modules, "acme_eddyline", module)


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, MAPPERS)


def test_a_convention_of_another_package_is_read() -> None:
    conventions, failures = load_conventions([entry("acme", "acme_eddyline:one")])
    assert (conventions, failures) == ([ACME], {})
    span: Span = captured_spans(next(select("openinference/openai/chat")))[0]
    span.attributes = {"acme.kind": "model", "acme.model": "acme-1"}
    event = Normalizer(conventions).normalize(span)
    assert (event.kind, event.request_model, event.convention) == (Kind.LLM, "acme-1", "acme")


def test_an_entry_point_may_bring_several() -> None:
    assert load_conventions([entry("acme", "acme_eddyline:several")]) == ([ACME, ACME], {})


def test_a_faulty_plugin_is_left_out_and_named() -> None:
    conventions, failures = load_conventions(
        [
            entry("gone", "no_such_package:x"),
            entry("wrong", "acme_eddyline:wrong"),
            entry("good", "acme_eddyline:one"),
        ]
    )
    assert conventions == [ACME]
    assert set(failures) == {"gone", "wrong"}
    assert "not a Convention" in failures["wrong"]


def test_nothing_is_installed_here() -> None:
    assert load_conventions() == ([], {})


PACKAGE = """
from mappers.conventions.base import Computed, Convention, KindByValue
from mappers.model import Kind

def broken(get):
    raise RuntimeError("no")

def kind(name):
    return KindByValue("acme.kind", {name: Kind.LLM})

good = Convention(id="acme", priority=5, keys=("acme.kind",), kinds=(kind("model"),),
                  fields={"response_model": [Computed(broken, ("acme.kind",)), "acme.model"]})
bad = Convention(id="acme-bad", priority=5, kinds=(kind("x"),), fields={"no_such_field": ["acme.model"]})
"""


def test_a_running_collector_reads_by_plugins_and_names_the_faulty(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    metadata = packages / "acme-1.0.dist-info"
    metadata.mkdir(parents=True)
    (packages / "acme_plugin.py").write_text(PACKAGE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{MAPPERS}]\ngood = acme_plugin:good\nbad = acme_plugin:bad\ngone = acme_gone:x\n"
    )
    path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
    server = Server(tmp_path / "data", environ={"PYTHONPATH": path}).start()
    try:
        request = ExportTraceServiceRequest()
        span = (
            request.resource_spans.add()
            .scope_spans.add()
            .spans.add(
                trace_id=b"\x05" * 16,
                span_id=b"\x05" * 8,
                name="x",
                start_time_unix_nano=1,
                end_time_unix_nano=2,
            )
        )
        for key, value in {"acme.kind": "model", "acme.model": "acme-1"}.items():
            span.attributes.add(key=key).value.string_value = value
        http_protobuf(server, request.SerializeToString(), "p")
        status = server.settled()
        (run,) = server.runs()
    finally:
        assert server.stop() == 0
    assert run["models"] == ["acme-1"]
    assert run["counts"]["llm_calls"] == 1
    assert list(status["mappers"]["not_loaded"]) == ["gone"]
    assert status["mappers"]["faults"]["acme"] >= 1
    assert status["mappers"]["faults"]["acme-bad"] >= 1


class Loud:
    """A detector of another package: it finds every step."""

    name = "loud"
    category = "waste"
    suggestion = "Less of `{tool}`."
    kinds = frozenset(StepKind)

    def look(self, step: Step, recent: Recent) -> Hit | None:
        return Hit("", 1)

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"{count} steps"


def test_a_detector_of_another_package_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("acme_detectors")
    twin = Loud()
    twin.name = "exact_repeat"
    module.__dict__.update(loud=Loud(), twin=twin, wrong=object())
    monkeypatch.setitem(sys.modules, "acme_detectors", module)
    found = [
        EntryPoint(name, f"acme_detectors:{name}", DETECTORS) for name in ("loud", "twin", "wrong", "absent")
    ]
    detectors, failures = load_detectors(found)
    assert [detector.name for detector in detectors] == ["loud"]
    assert failures.keys() == {"twin", "wrong", "absent"}
    evaluator = Evaluator(configured({}, others=detectors))
    evaluator.feed(Step("1", StepKind.USER))
    assert [finding.detector.name for finding in evaluator.findings.values()] == ["loud"]
