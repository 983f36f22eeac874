"""Processes of our own program, each begun afresh: nothing of this one's threads, locks and engine goes along."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


def spawned(program: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """Runs a module with descriptors as its arguments, which it inherits; one below 0 stands for none.

    Raises: OSError, if there is no room for another process.
    """
    return subprocess.Popen(
        # What is importable there is what is here, and not what lies in the directory it runs in.
        [sys.executable, "-P", "-m", program, *map(str, descriptors)],
        pass_fds=[descriptor for descriptor in descriptors if descriptor >= 0],
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
