"""The collector of a short soak (`make soak`) lowers bounds by their names: that one is renamed has to be noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_bounds_that_a_short_soak_lowers_are_there(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos.forgetful", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"HEAP_FILE": str(tmp_path / "heap")},
    )
    assert ran.returncode == 0, ran.stderr
