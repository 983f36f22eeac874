"""Why a collector can not run, said to whoever started it by an exit code of sysexits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_TEMPFAIL = 75
EX_CONFIG = 78


class ServiceError(Exception):
    """The collector can not run here as it is configured. `exit_code` is one of sysexits."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def making(where: Path) -> Iterator[None]:
    """Raises: ServiceError, if what the block makes there can not be made."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ServiceError(f"{error.filename or where} can not be made: {why}", EX_CANTCREAT) from None
