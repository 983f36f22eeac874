"""The page in a real browser, against a real collector. Run by `make test-page`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.server import TOKEN, Server

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
STATIC = ROOT / "collector" / "web" / "static"
SCENARIOS = (
    "signIn",
    "liveList",
    "liveRun",
    "reload",
    "tabs",
    "noStream",
    "transcript",
    "find",
    "prompt",
    "timeline",
    "compare",
    "session",
    "sessions",
    "pointer",
    "notes",
    "exported",
    "pictures",
    "lesserKey",
    "settings",
    "status",
    "keyboard",
    "search",
    "hostile",
    "offline",
    "layout",
)


def played(server: Server, scenario: str, timeout_s: float = 110) -> str:
    ended = subprocess.run(
        ["node", "scenarios.mjs", scenario],
        cwd=HERE,
        env=os.environ
        | {
            "EDDYLINE_HTTP": server.endpoints["http"],
            "EDDYLINE_API": server.endpoints["api"],
            "EDDYLINE_TOKEN": TOKEN,
        },
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_first_visit(data_dir: Path) -> None:
    server = Server(data_dir).start()
    try:
        played(server, "firstVisit")
    finally:
        server.stop()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(server: Server, scenario: str) -> None:
    played(server, scenario)


@pytest.mark.timeout(600)
def test_accessible(server: Server) -> None:
    played(server, "accessible", 580)


@pytest.mark.timeout(900)
def test_large_runs(server: Server) -> None:
    print(played(server, "large", 880))


def test_types_and_style() -> None:
    tools = HERE / "node_modules"
    for command in (
        [tools / ".bin/tsc", "-p", HERE / "jsconfig.json"],
        [tools / ".bin/eslint", "-c", HERE / "eslint.config.mjs", "--ignore-pattern", "**/vendor/**", STATIC],
    ):
        checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
        assert checked.returncode == 0, checked.stdout + checked.stderr
