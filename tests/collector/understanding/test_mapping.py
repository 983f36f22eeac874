from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.cli import main
from tests import forked
from tests.corpus import captured, select
from tests.otlp_json import to_json
from tests.sending import http_protobuf
from tests.server import COMMAND, Server

TOOLS = next(select("openinference/langchain/tools")).traces[0]
LOGS = next(scenario for scenario in select("gen_ai/openai-v2-events/tools") if scenario.logs)


def mapped(*arguments: str, stdin: bytes | None = None) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["map", "--format", "json", *arguments], input=stdin)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_file_is_explained_in_every_form_it_may_have(tmp_path: Path) -> None:
    body = TOOLS.read_bytes()
    as_json = to_json(ExportTraceServiceRequest.FromString(body))
    document = mapped(str(TOOLS))
    assert [run["counts"]["llm_calls"] for run in document["runs"]] == [3]
    assert {span["kind"] for span in document["spans"]} >= {"LLM", "TOOL", "WORKFLOW"}
    for name, content in {
        "a.json": as_json,
        "a.pb.gz": gzip.compress(body),
        "a.json.gz": gzip.compress(as_json),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert [s["fields"] for s in mapped(str(tmp_path / name))["spans"]] == [
            s["fields"] for s in document["spans"]
        ]
    lines = mapped("-", stdin=as_json + b"\n" + as_json + b"\n")
    assert len(lines["spans"]) == 2 * len(document["spans"])
    assert len(lines["runs"]) == 1


def test_log_records_join_the_calls_they_tell_of() -> None:
    document = mapped(*(str(file) for file in (*LOGS.traces, *LOGS.logs)))
    assert {record["tells"] for record in document["logs"]} == {"input", "output"}
    assert any(entry["input"] for run in document["runs"] for entry in run["timeline"])


def test_a_call_that_two_traces_tell_counts_once() -> None:
    (scenario,) = (found for found in captured() if found.name == "openlit/openai/stream@usage")
    document = mapped(*(str(file) for file in (*scenario.traces, *scenario.logs)))
    counted = [run for run in document["runs"] if run["duplicate_of"] is None]
    assert [run["counts"]["llm_calls"] for run in counted] == [1]
    assert len(document["runs"]) == 2


def test_log_records_without_their_span_make_no_run() -> None:
    document = mapped(*map(str, LOGS.logs))
    assert document["runs"] == []
    assert {record["tells"] for record in document["logs"]} == {"input", "output"}


def test_a_table_says_the_same_in_words() -> None:
    result = CliRunner().invoke(main, ["map", "--format", "table", str(TOOLS)])
    assert result.exit_code == 0
    assert "from llm.token_count.prompt" in result.output
    assert "openinference.span.kind = LLM" in result.output
    assert "3 LLM calls, 2 tool calls" in result.output


@pytest.mark.parametrize("content", [b"", b"no", b"{}", b'{"resourceSpans": 3}', b"\x1f\x8bno", b"\xff" * 9])
def test_a_file_that_holds_nothing_is_refused(content: bytes) -> None:
    result = CliRunner().invoke(main, ["map", "-"], input=content)
    assert result.exit_code == 65
    assert result.stderr.startswith("eddyline: ")


def test_it_is_a_command_of_its_own() -> None:
    output = forked.run([*COMMAND, "map", str(TOOLS)], check=True).stdout
    assert json.loads(output)["runs"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("mapping") / "data").start()
    http_protobuf(started, TOOLS.read_bytes(), "p")
    started.settled()
    yield started
    assert started.stop() == 0


def test_a_stored_span_is_explained_as_a_sent_one(server: Server) -> None:
    for span in mapped(str(TOOLS))["spans"]:
        stored = server.get(f"/spans/{span['trace_id']}/{span['span_id']}/mapping")
        for part in ("kind", "kind_rule", "conventions", "quirks", "entries", "no_entry"):
            assert stored[part] == span[part]
        assert set(stored["unread"]) == set(span["unread"])
        assert {name: f["source"] for name, f in stored["fields"].items()} == {
            name: f["source"] for name, f in span["fields"].items()
        }


def test_a_span_that_is_not_there_is_not_found(server: Server) -> None:
    run = server.runs()[0]["run_id"]
    assert server.api.get(f"/api/v1/spans/{run}/{'0' * 16}/mapping").status_code == 404
    assert server.api.get(f"/api/v1/spans/{'1' * 32}/{'0' * 16}/mapping").status_code == 404
