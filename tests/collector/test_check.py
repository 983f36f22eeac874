"""`eddyline check` against a real collector that holds captured runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from collector.check.check import Outcome, Violation
from collector.check.reports import junit, sarif
from collector.cli import main
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import TOKEN, Server

LOOPING, STRAIGHT = "check-looping", "check-straight"


@pytest.fixture(scope="module", autouse=True)
def _runs(server: Server) -> None:
    for project, name in ((LOOPING, "loop"), (STRAIGHT, "tools")):
        for scenario in select(f"openinference/langchain/{name}"):
            for file in scenario.traces if scenario.name.endswith(f"/{name}") else ():
                http_protobuf(server, renamed(file.read_bytes(), 78), project)
    server.settled()


def checked(server: Server, *arguments: str) -> Result:
    address = ["--url", server.endpoints["api"], "--token", TOKEN]
    return CliRunner().invoke(main, ["check", *address, *arguments])


def test_a_run_without_loops_passes(server: Server) -> None:
    result = checked(server, "--project", STRAIGHT)
    assert (result.exit_code, result.output) == (0, "1 run checked, 0 failed\n")


def test_a_looping_run_fails_with_what_to_do_about_it(server: Server) -> None:
    result = checked(server, "--project", LOOPING)
    assert result.exit_code == 1
    assert "exact_repeat: `get_weather` was called 6 times" in result.output
    assert checked(server, "--project", LOOPING, "--fail-on", "never").exit_code == 0


@pytest.mark.parametrize(
    ("budget", "exit_code"),
    [
        (("--max-tokens", "10"), 1),
        (("--max-tokens", "1000000"), 0),
        (("--max-steps", "2"), 1),
        (("--max-steps", "50"), 0),
        (("--max-duration", "0.000001"), 1),
        (("--max-duration", "3600"), 0),
        (("--max-cost", "1000"), 0),
    ],
)
def test_budgets_are_kept_or_broken(server: Server, budget: tuple[str, ...], exit_code: int) -> None:
    assert checked(server, "--project", STRAIGHT, *budget).exit_code == exit_code


def test_reports_say_what_failed(server: Server, tmp_path: Path) -> None:
    files = tmp_path / "junit.xml", tmp_path / "check.sarif"
    result = checked(server, "--project", LOOPING, "--junit", str(files[0]), "--sarif", str(files[1]))
    assert result.exit_code == 1
    suite = ET.fromstring(files[0].read_bytes())
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    failure = suite.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("type") == "exact_repeat"
    (run,) = json.loads(files[1].read_text())["runs"]
    assert [found["ruleId"] for found in run["results"]] == ["exact_repeat"]
    assert run["results"][0]["level"] in ("warning", "error")


def test_nothing_to_check_is_no_success(server: Server) -> None:
    assert checked(server, "--project", "there-is-none").exit_code == 2
    assert checked(server, "0" * 32).exit_code == 2
    assert CliRunner().invoke(main, ["check", "--url", "http://127.0.0.1:9", "--token", "x"]).exit_code == 2


def test_two_loops_of_one_kind_are_two_findings() -> None:
    run = {"run_id": "r", "name": "n", "project": "p", "duration_ms": 1}
    loops = [Violation("same_error", "warning", "m", identity=identity) for identity in ("w1", "w2")]
    (told,) = sarif([Outcome(run, loops)], "1.0.0")["runs"]
    assert [rule["id"] for rule in told["tool"]["driver"]["rules"]] == ["same_error"]
    assert len({str(result["partialFingerprints"]) for result in told["results"]}) == 2


def test_what_xml_can_not_say_is_replaced() -> None:
    run: dict[str, Any] = {"project": "p", "name": "a\x00b", "run_id": "1", "duration_ms": None}
    outcome = Outcome(run, [Violation("exact_repeat", "critical", "\ud800 & <again>")])
    case = ET.fromstring(junit([outcome])).find("testsuite/testcase")
    assert case is not None
    assert case.get("name") == "a\ufffdb (1)"
