from __future__ import annotations

import functools
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx._transports.default as httpx_transport
import pytest

from tests.server import KEY_NAME, NAMED_KEY, Server

gc.disable()  # until all tests are collected: what is there by then stays, and would be looked through again and again


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


# Neither what somebody configured for their own collector and programs, nor what lies in their home, changes a test.
# The suite may be run with workers, and some of it with more examples.
OF_TESTS = ("EDDYLINE_WORKERS", "EDDYLINE_EXAMPLES")
for name in [name for name in os.environ if name.startswith(("EDDYLINE_", "OTEL_")) and name not in OF_TESTS]:
    del os.environ[name]
NOBODYS = tempfile.TemporaryDirectory(prefix="eddyline-home-")
os.environ |= {"XDG_CONFIG_HOME": f"{NOBODYS.name}/config", "XDG_DATA_HOME": f"{NOBODYS.name}/data"}

# A hundred collectors are started: without bytecode each would compile all its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A request without a client of its own would read the certificates of all authorities anew: 25 ms of the processor.
httpx_transport.create_ssl_context = functools.cache(httpx_transport.create_ssl_context)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One collector for all tests that do not stop it. It knows one API key of a provider by name."""
    named_key = f"proxy.capture.named_keys={{{KEY_NAME}: {NAMED_KEY}}}"
    yield from running(tmp_path_factory, "--set", named_key)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector for the tests of one file: for those who send much, or look at all that was sent. `server =
    conftest.alone` in the file has its tests use it."""
    yield from running(tmp_path_factory)


def running(tmp_path_factory: pytest.TempPathFactory, *arguments: str) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("collector") / "data", *arguments).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
