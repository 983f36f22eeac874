"""The engine's errors as the kinds a sink has. Codes are ClickHouse's `ErrorCodes`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sinks.base import PermanentError, RetryableError, WrongStoreError

PERMANENT_CODES = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        44,  # ILLEGAL_COLUMN
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    }
)
WRONG_STORE_CODES = frozenset(
    {
        16,  # NO_SUCH_COLUMN_IN_TABLE
        47,  # UNKNOWN_IDENTIFIER
        50,  # UNKNOWN_TYPE
        60,  # UNKNOWN_TABLE
        62,  # SYNTAX_ERROR
        81,  # UNKNOWN_DATABASE
        115,  # UNKNOWN_SETTING
        164,  # READONLY
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
    }
)
UNREADABLE_CODES = frozenset(
    {
        36,  # BAD_ARGUMENTS
        436,  # PROTOBUF_BAD_CAST
        444,  # UNKNOWN_PROTOBUF_FORMAT
    }
)
"""What the engine says of requests that it can not read, as where a field has another form than is declared."""
_CODE = re.compile(r"\bCode: (\d+)")


@contextmanager
def translated(final: Collection[int] = ()) -> Iterator[None]:
    """Raises what the engine or its client raises as `RetryableError` or `PermanentError`; the latter also where the
    code is one of `final`.

    Whatever is not known to be final is worth another try: writing again changes nothing that is stored.
    """
    try:
        yield
    except (PermanentError, RetryableError):
        raise
    except Exception as error:
        found = _CODE.search(str(error))
        if found and int(found[1]) in WRONG_STORE_CODES:
            raise WrongStoreError(str(error)) from error
        if found and (int(found[1]) in PERMANENT_CODES or int(found[1]) in final):
            raise PermanentError(str(error)) from error
        if isinstance(error, (TypeError, ValueError, OverflowError)):
            raise PermanentError(f"a row does not fit: {error}") from error
        raise RetryableError(str(error)) from error


def kind_of(error: Exception) -> str:
    """An error as the engine's code or, if it has none, the kind of the fault: nothing of what was sent."""
    found = _CODE.search(str(error))
    return f"Code: {found[1]}" if found else type(error.__cause__ or error).__name__
