"""Whatever is sent is answered in OTLP, and what is taken can be decoded, mapped and stored.

`make fuzz` asks the same of as many requests as there is time for; what it finds becomes a file in `corpus/`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from unittest.mock import Mock

import pytest

from tests.fuzz.cases import Case, found, seeds
from tests.fuzz.findings import Findings
from tests.fuzz.holding import holds
from tests.fuzz.mutation import mutated

FOUND = found()


@pytest.mark.parametrize("name", FOUND)
def test_T11_what_was_hard_once_holds(name: str) -> None:
    holds(FOUND[name])


def test_T11_requests_that_were_captured_and_changed_hold() -> None:
    chance = Random(1)
    pool = list(seeds(every=8))
    for case in pool:
        holds(mutated(case, pool, chance))


def test_a_case_is_read_as_it_was_written() -> None:
    for case in FOUND.values():
        assert Case.of(case.data) == case


def test_what_was_found_is_made_anew_by_the_command_that_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    case = next(iter(FOUND.values()))
    fails = Mock(agree=Mock(side_effect=ArithmeticError), spec=["agree", "close"])
    Findings(tmp_path / "lost", fails).send(case)
    [command] = [line for line in capfd.readouterr().out.splitlines() if line.startswith("echo ")]
    (tmp_path / "tests/fuzz/corpus").mkdir(parents=True)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    [file] = (tmp_path / "tests/fuzz/corpus").iterdir()
    assert file.read_bytes() == case.data
