"""Sends mutated requests for some minutes, and keeps those for which something does not hold.

    python -m tests.fuzz [--minutes 2] [--seed 1] [--into .fuzz]

Guided by the lines that are reached where atheris is installed, else at random. What is found lies in a file each,
which belongs into `corpus/` once it is mended; where the file is lost, the command that is printed makes it anew.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    from tests.fuzz.findings import Findings

    atheris = None
else:
    with atheris.instrument_imports(include=["collector", "mappers"]):
        from tests.fuzz.findings import Findings

from tests.fuzz.cases import Case, found, seeds
from tests.fuzz.engine import BothWays
from tests.fuzz.mutation import mutated

JUDGED = 10
"""Requests that are only judged, made of each that goes the whole way: what is rare is rarely met otherwise."""


def look_at(findings: Findings, case: Case, pool: Sequence[Case], chance: Random) -> None:
    findings.send(case)
    for _ in range(JUDGED):
        findings.judge(mutated(case, pool, chance))


def at_random(findings: Findings, pool: Sequence[Case], seed: int, until: float) -> None:
    chance = Random(seed)
    while time.monotonic() < until:
        look_at(findings, mutated(chance.choice(pool), pool, chance), pool, chance)


def guided(findings: Findings, pool: Sequence[Case], seed: int, until: float, folder: Path) -> None:
    """Ends the process: the fuzzer does not return. Of what it writes nothing is left in the folder."""
    cases = folder / "cases"
    cases.mkdir()
    chance = Random(seed)
    for number, case in enumerate(pool):
        (cases / str(number)).write_bytes(case.data)

    def send(data: bytes) -> None:
        if time.monotonic() > until:
            findings.close()
            shutil.rmtree(folder)
            print(findings, flush=True)
            os._exit(bool(findings))
        if data:  # the fuzzer begins with nothing
            look_at(findings, Case.of(data), pool, chance)

    def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
        chance = Random(seed)
        changed = mutated(Case.of(data) if data else chance.choice(pool), pool, chance).data
        return changed if len(changed) <= most_bytes else data

    options = [
        f"-seed={seed}",
        f"-max_len={1 << 20}",
        "-verbosity=0",
        f"-artifact_prefix={folder}/",
        str(cases),
    ]
    atheris.Setup([sys.argv[0], *options], send, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, default=Path(".fuzz"))
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        findings = Findings(given.into, BothWays(Path(folder)))
        pool = [*seeds(), *found().values()]
        until = time.monotonic() + 60 * given.minutes
        if atheris is not None:
            guided(findings, pool, given.seed, until, Path(folder))
        at_random(findings, pool, given.seed, until)
        findings.close()
    print(findings)
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
