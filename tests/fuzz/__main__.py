"""Sends mutated requests for some minutes, and keeps those for which something does not hold.

    python -m tests.fuzz [--minutes 2] [--seed 1] [--into .fuzz]

Guided by the lines that are reached where atheris is installed, else at random. What is found lies in a file each,
which belongs into `corpus/` once it is mended.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

try:
    import atheris
except ImportError:
    from tests.fuzz.holding import holds

    atheris = None
else:
    with atheris.instrument_imports(include=["collector", "mappers"]):
        from tests.fuzz.holding import holds

from tests.fuzz.cases import Case, found, seeds
from tests.fuzz.engine import BothWays
from tests.fuzz.mutation import mutated

SLOWEST_S = 1.0
"""Of the processor, until a request is answered."""
PATIENCE_S = 20.0
"""Of the processor, for all that is looked at of a request."""


class Findings:
    """What did not hold, one of each kind.

    Args:
        folder: where they are kept.
        engine: what some of the requests are stored in.
    """

    def __init__(self, folder: Path, engine: BothWays) -> None:
        self._folder = folder
        self._engine = engine
        self._kinds: set[str] = set()
        self._cases = 0
        self._slowest_s = 0.0
        signal.signal(signal.SIGVTALRM, self._give_up)

    def __len__(self) -> int:
        return len(self._kinds)

    def __str__(self) -> str:
        return (
            f"{self._cases} requests, {len(self)} findings; the slowest answer took {self._slowest_s:.2f} s"
        )

    def close(self) -> None:
        self._engine.close()

    def send(self, case: Case) -> None:
        self._cases += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
        try:
            took_s = holds(case, self._engine.agree)
            self._slowest_s = max(self._slowest_s, took_s)
            if took_s > SLOWEST_S:
                self._keep(case, f"slow {case.signal} as {case.content_type}")
        except Exception as error:
            cause = error.__cause__ or error
            place = traceback.extract_tb(cause.__traceback__)[-1]
            self._keep(case, f"{type(cause).__name__} at {place.filename}:{place.lineno}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _keep(self, case: Case, kind: str) -> None:
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{len(self)}-{kind.split()[0]}"
        file.write_bytes(case.data)
        print(f"{file}: {kind}", flush=True)
        if sys.exc_info()[0] is not None:
            traceback.print_exc()

    @staticmethod
    def _give_up(*_: Any) -> None:
        raise TimeoutError(f"not done after {PATIENCE_S:.0f} s")


def at_random(findings: Findings, pool: Sequence[Case], seed: int, until: float) -> None:
    chance = Random(seed)
    while time.monotonic() < until:
        findings.send(mutated(chance.choice(pool), pool, chance))


def guided(findings: Findings, pool: Sequence[Case], seed: int, until: float, folder: Path) -> None:
    """Ends the process: the fuzzer does not return. Of what it writes nothing is left in the folder."""
    cases = folder / "cases"
    cases.mkdir()
    for number, case in enumerate(pool):
        (cases / str(number)).write_bytes(case.data)

    def send(data: bytes) -> None:
        if time.monotonic() > until:
            findings.close()
            shutil.rmtree(folder)
            print(findings, flush=True)
            os._exit(bool(findings))
        if data:  # the fuzzer begins with nothing
            findings.send(Case.of(data))

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
