from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sinks.clickhouse import Store, StoredSettings


@pytest.fixture
def settings(store: Store) -> StoredSettings:
    return StoredSettings(store)


def test_what_was_put_is_read_until_it_is_taken_back(settings: StoredSettings) -> None:
    assert settings.get("plugins") is None
    settings.put("plugins", {"items": [{"find": "a\"b'\\ \n", "on": True, "times": 2.5}]}, by="ops")
    found = settings.get("plugins")
    assert found is not None
    assert found.value == {"items": [{"find": "a\"b'\\ \n", "on": True, "times": 2.5}]}
    assert found.updated_by == "ops"
    assert abs(datetime.now(UTC) - found.updated_at) < timedelta(minutes=1)
    settings.put("plugins", None)
    assert settings.get("plugins") is None


def test_the_latest_word_holds_before_and_after_a_merge(settings: StoredSettings, store: Store) -> None:
    for days in range(1, 6):
        settings.put("retention", {"days": days})
        found = settings.get("retention")
        assert found is not None
        assert found.value == {"days": days}
    rows = store.query("SELECT Value FROM otel.settings FINAL WHERE Name = 'retention'")
    assert list(rows) == [('{"days": 5}',)]


def test_the_latest_word_holds_although_the_clock_was_set_back(
    settings: StoredSettings, store: Store
) -> None:
    store.command(
        "INSERT INTO otel.settings (Name, Value, UpdatedAt)"
        """ SELECT 'clock', '{"days": 1}', now64(6) + toIntervalHour(2)"""
    )
    for days in (2, 3):
        settings.put("clock", {"days": days})
        found = settings.get("clock")
        assert found is not None
        assert found.value == {"days": days}
    settings.put("clock", None)
    assert settings.get("clock") is None


def test_a_document_without_content_is_one(settings: StoredSettings) -> None:
    settings.put("empty", {})
    settings.put("none", [])
    assert {name: found.value for name, found in settings.all().items() if name in ("empty", "none")} == {
        "empty": {},
        "none": [],
    }


def test_a_tenant_has_settings_of_its_own(settings: StoredSettings) -> None:
    settings.put("retention", {"days": 7}, tenant="acme")
    settings.put("retention", {"days": 8}, tenant="shop")
    assert {name: found.value for name, found in settings.all("acme").items()} == {"retention": {"days": 7}}
