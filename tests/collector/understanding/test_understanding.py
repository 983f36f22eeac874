"""What telemetry means can change while the collector runs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from collector.config import ConfigError, load
from collector.understanding.prices import load_prices
from collector.understanding.understanding import Understanding
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of

CALL = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "ours",
    "llm.token_count.prompt": 1_000_000,
    "llm.token_count.completion": 0,
}


def cost(normalizer: Normalizer) -> Decimal | None:
    return normalizer.normalize(span_of(CALL)).cost_usd


def test_prices_and_thresholds_are_taken_over_where_they_are_used(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("- {model: ours, input: 1, output: 1}\n")
    prices = load_prices(file)
    understanding = Understanding(load(sets=[f"pricing.overrides={file}"]), prices)
    normalizer = understanding.of_pipeline("traces")[0]
    assert cost(normalizer) == 1
    file.write_text("- {model: ours, input: 2, output: 2}\n")
    before = understanding.engine
    understanding.take_over(load(sets=[f"pricing.overrides={file}", "loops.disabled=[budgets]"]))
    assert (cost(normalizer), cost(understanding.normalizer())) == (2, 2)
    assert "budgets" in before.rank
    assert "budgets" not in understanding.engine.rank
    assert normalizer.loops is understanding.engine


def test_what_is_wrong_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("- {model: ours, input: 1, output: 1}\n")
    understanding = Understanding(load(sets=[f"pricing.overrides={file}"]), load_prices(file))
    before = understanding.engine
    file.write_text("- {model: ours}\n")
    for wrong in (f"pricing.overrides={file}", "loops.disabled=[nonsense]"):
        with pytest.raises(ConfigError):
            understanding.take_over(load(sets=[wrong]))
    assert cost(understanding.of_pipeline("traces")[0]) == 1
    assert understanding.engine is before
