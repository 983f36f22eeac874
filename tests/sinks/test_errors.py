"""Which of the engine's errors are worth another try."""

from __future__ import annotations

import pytest

from sinks.base import PermanentError, RetryableError, WrongStoreError
from sinks.clickhouse.errors import translated

RETRYABLE = (159, 202, 209, 210, 241, 242, 243, 252, 285, 319, 425, 999, 1002)
"""Time-outs, too many queries or parts, the network, memory, space, replicas, a state that nobody knows."""
PERMANENT = (27, 38, 41, 53, 117, 131)
"""A row that does not fit."""
WRONG_STORE = (16, 47, 60, 62, 81, 497, 516)
"""No row of any batch would be taken: the tables, the user or the rights are wrong."""


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, RetryableError) for code in RETRYABLE),
        *((code, PermanentError) for code in PERMANENT),
        *((code, WrongStoreError) for code in WRONG_STORE),
    ],
)
def test_an_error_of_the_engine_is_of_its_kind(code: int, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, translated():
        raise RuntimeError(f"HTTPDriver returned response code 500\n Code: {code}. DB::Exception: text")
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("reset"), RetryableError),
        (TimeoutError("silent"), RetryableError),
        (RuntimeError("HTTP 429: too many"), RetryableError),
        (RuntimeError("502 Bad Gateway"), RetryableError),
        (TypeError("an int is wanted"), PermanentError),
        (OverflowError("too large"), PermanentError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_an_error_on_the_way_to_it_is_worth_another_try_and_one_of_a_row_is_not(
    error: Exception, kind: type[Exception]
) -> None:
    with pytest.raises(kind), translated():
        raise error
