"""A wheel, installed where nothing of the repository is, serves the page. Run by `make test-install`: it needs the
registry, and a minute."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.server import Server

ROOT = Path(__file__).parents[2]


def ran(*command: object, cwd: Path) -> str:
    ended = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_an_installed_wheel_serves_the_page_with_all_its_files(tmp_path: Path) -> None:
    elsewhere = tmp_path / "venv"
    ran(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    [wheel] = tmp_path.glob("eddyline-*.whl")
    ran(sys.executable, "-m", "venv", elsewhere, cwd=tmp_path)
    python = elsewhere / "bin" / "python"
    ran(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    found = ran(python, "-c", "import collector; print(collector.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(elsewhere)

    server = Server(tmp_path / "data", command=[str(elsewhere / "bin" / "eddyline")]).start()
    try:
        index = httpx.get(server.endpoints["api"]).text
        files = re.findall(r'(?:src|href)="(/static/[^"]+)"', index)
        assert len(files) > 30
        for file in files:
            assert httpx.get(server.endpoints["api"] + file).status_code == 200, file
    finally:
        server.stop()
