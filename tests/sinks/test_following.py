"""Several collectors on one store: what one deletes or sets, the others take over."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from collector.config import ProxyPlugin
from collector.pipeline.stages import Derivation
from collector.pipeline.tombstones import Refusing, Tombstones
from collector.proxy.plugins import SETTING, PluginControl, Plugins
from collector.telemetry.operations import Operations
from collector.upkeep.erasure import Asked, Erasures, Places
from collector.upkeep.following import Following
from sinks.base import Batch, RetryableError, RunKey
from sinks.clickhouse import ClickHouseSink, Reader, RunFilter, Store, StoredSettings
from sinks.clickhouse.erasing import Eraser
from tests.sinks.test_clickhouse import full_event, full_run

RUN = "fa" * 16


class Collector:
    """What takes, stores and deletes, of one collector."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.reader = Reader(store)
        self.tombstones = Tombstones(Eraser(store).buried())
        self.sink = Refusing(ClickHouseSink(store), self.tombstones)
        self.forgotten: set[RunKey] = set()
        derivation = Derivation.__new__(Derivation)
        derivation.deleted = lambda *counts: None  # type: ignore[method-assign]  # totals are not counted here
        places = Places({}, directory / "letters", lambda record: "", self.forget, lambda: 0)
        self.erasures = Erasures(
            Eraser(store),
            self.reader,
            self.tombstones,
            derivation,
            None,  # type: ignore[arg-type]  # nothing is rewritten here
            places,
            Operations(),
        )

    def forget(self, keys: Collection[RunKey]) -> None:
        self.forgotten |= set(keys)

    def take(self) -> None:
        self.sink.write(Batch(events=[full_event(RUN)], runs=[full_run(RUN)]))


def test_a_deletion_reaches_the_others_and_what_they_stored_meanwhile_is_gone(
    store: Store, tmp_path: Path
) -> None:
    one, other = Collector(store, tmp_path), Collector(store, tmp_path)
    tenant = full_run(RUN).tenant
    one.take()
    deletion = one.erasures.ask(Asked(RunFilter(tenant=tenant, run_ids=(RUN,), include_all=True)))
    assert (tenant, RUN) in one.tombstones
    other.take()  # it does not know yet
    assert other.reader.run(tenant, RUN) is not None
    following = Following({"deletions": other.erasures.learn})
    following.look()
    assert other.forgotten == {(tenant, RUN)}
    other.take()
    assert other.reader.run(tenant, RUN) is None
    assert not any(Eraser(store).rows(deletion).values())
    assert (tenant, RUN) in Collector(store, tmp_path).tombstones


def test_plugins_reach_the_others_and_are_taken_back(store: Store) -> None:
    settings = StoredSettings(store)

    def control() -> PluginControl:
        def read() -> Any:
            kept = settings.get(SETTING)
            return kept.value if kept is not None else None

        return PluginControl(Plugins([]), read, lambda value, by: settings.put(SETTING, value, by))

    one, other = control(), control()
    following = Following({"plugins": other.learn})
    plugin = ProxyPlugin(id="hush", type="text-replace", find="secret", text="***")
    one.set([plugin], "")
    assert [*other.plugins.all] == []
    following.look()
    assert [found.id for found in other.plugins.all] == ["hush"]
    one.set(None, "")
    following.look()
    assert [*other.plugins.all] == []


def test_a_store_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def away() -> None:
        asked.append("away")
        raise RetryableError("no store")

    following = Following({"deletions": away, "plugins": lambda: asked.append("plugins")})
    for _ in range(2):
        following.look()
    assert asked == ["away", "plugins"] * 2
    assert caplog.text.count("no store") == 1
