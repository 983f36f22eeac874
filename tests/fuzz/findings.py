"""Requests for which something does not hold."""

from __future__ import annotations

import base64
import gzip
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.cases import Case
from tests.fuzz.engine import BothWays
from tests.fuzz.holding import holds, judged

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
        self._cases = self._judged = 0
        self._slowest_s = 0.0
        signal.signal(signal.SIGVTALRM, self._give_up)

    def __len__(self) -> int:
        return len(self._kinds)

    def __str__(self) -> str:
        return (
            f"{self._cases} requests, and {self._judged} only judged, {len(self)} findings; "
            f"the slowest answer took {self._slowest_s:.2f} s"
        )

    def close(self) -> None:
        self._engine.close()

    def send(self, case: Case) -> None:
        self._cases += 1
        self._look(case, self._whole_way)

    def judge(self, case: Case) -> None:
        """Only what is quickly looked at, of many more requests."""
        self._judged += 1
        self._look(case, judged)

    def _whole_way(self, case: Case) -> None:
        took_s = holds(case, self._engine.agree)
        self._slowest_s = max(self._slowest_s, took_s)
        if took_s > SLOWEST_S:
            self._keep(case, f"slow {case.signal} as {case.content_type}")

    def _look(self, case: Case, at: Callable[[Case], None]) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
        try:
            at(case)
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
        packed = base64.b64encode(gzip.compress(case.data, mtime=0)).decode()
        print(f"{file}: {kind}", flush=True)
        print(f"echo {packed} | base64 -d | gunzip > tests/fuzz/corpus/{file.name}", flush=True)
        if sys.exc_info()[0] is not None:
            traceback.print_exc()

    @staticmethod
    def _give_up(*_: Any) -> None:
        raise TimeoutError(f"not done after {PATIENCE_S:.0f} s")
