"""Which Python `make` takes for its environment, where there are several."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "python.sh"
QUICK = f'exec "{sys.executable}" "$@"'
SLOW = f'exec "{sys.executable}" -X tracemalloc=1 "$@"'
"""Notes where each object was made, which takes several times as long."""
TOO_OLD = "exit 1"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="make and its shell are not there")


def chosen(folders: list[Path]) -> tuple[str, str]:
    """What the script names with these folders in PATH, and what it tells about it."""
    tools = folders[0].parent / "tools"
    tools.mkdir(exist_ok=True)
    readlink = shutil.which("readlink")
    assert readlink
    (tools / "readlink").symlink_to(readlink)
    found = subprocess.run(
        ["/bin/sh", SCRIPT],
        env={**os.environ, "PATH": os.pathsep.join(map(str, [*folders, tools]))},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip(), found.stderr


def python(path: Path, does: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


def test_one_that_is_much_quicker_is_taken_and_it_is_said(tmp_path: Path) -> None:
    slow = python(tmp_path / "first" / "python3", SLOW)
    quick = python(tmp_path / "second" / "python3.12", QUICK)
    name, told = chosen([slow.parent, quick.parent])
    assert name == str(quick)
    assert "PYTHON=python3" in told


def test_one_that_is_slower_is_left_alone(tmp_path: Path) -> None:
    quick = python(tmp_path / "first" / "python3", QUICK)
    python(tmp_path / "first" / "python3.11", SLOW)
    assert chosen([quick.parent]) == ("python3", "")


def test_one_that_will_do_is_taken_where_python3_is_too_old(tmp_path: Path) -> None:
    old = python(tmp_path / "first" / "python3", TOO_OLD)
    other = python(tmp_path / "first" / "python3.13", SLOW)
    assert chosen([old.parent]) == (str(other), "")


def test_where_none_will_do_python3_is_named_which_then_says_why(tmp_path: Path) -> None:
    old = python(tmp_path / "first" / "python3", TOO_OLD)
    assert chosen([old.parent]) == ("python3", "")
