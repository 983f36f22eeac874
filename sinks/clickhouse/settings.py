"""Settings that are changed at run time and hold over restarts, and on every replica of one store.

A setting is a name and one JSON document: who owns the name knows what the document means and checks it, when it is
written as when it is read. What the configuration file says is not here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mappers.model import DEFAULT_TENANT
from sinks.clickhouse.columns import TEXT, arrow_array
from sinks.clickhouse.store import Store


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    value: Any
    """The document, as `json.loads` gives it; never null."""
    updated_at: datetime
    updated_by: str
    """Name of the key that changed it."""


class StoredSettings:
    """The settings of one store. May be used from any number of threads; of two writes the later one holds.

    Raises: RetryableError, if the store can not be reached.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, name: str, tenant: str = DEFAULT_TENANT) -> Setting | None:
        """The setting of this name, None if it was never set or was taken back."""
        return self.all(tenant).get(name)

    def all(self, tenant: str = DEFAULT_TENANT) -> dict[str, Setting]:
        """Every setting by its name."""
        rows = self._store.query(
            """
            SELECT Name, Value, UpdatedBy, UpdatedAt FROM
            (SELECT * FROM otel.settings WHERE Tenant = {tenant:String} ORDER BY UpdatedAt DESC LIMIT 1 BY Name)
            WHERE Value != 'null' ORDER BY Name
            """,
            {"tenant": tenant},
        )
        return {
            name: Setting(name, json.loads(value), updated_at.replace(tzinfo=UTC), updated_by)
            for name, value, updated_by, updated_at in rows
        }

    def put(self, name: str, value: Any, by: str = "", tenant: str = DEFAULT_TENANT) -> None:
        """Sets it, or with None takes it back. It holds once this returns."""
        row = {"Tenant": tenant, "Name": name, "Value": json.dumps(value, sort_keys=True), "UpdatedBy": by}
        columns = {column: arrow_array(TEXT, [text]) for column, text in row.items()}
        self._store.insert_latest("settings", columns, "UpdatedAt")
