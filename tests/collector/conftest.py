from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "traces")
    opened.open()
    yield opened
    opened.close()
