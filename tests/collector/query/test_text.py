"""The search language says what people mean, and where it does not understand them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.query import QueryError, read_text
from collector.query.text import MAX_DEPTH, MAX_TERMS
from sinks.filter import ALWAYS, Compare, Condition, Either, Every, Not


def is_(field: str, value: str, *, pattern: bool = False) -> Compare:
    return Compare(field, "=", value, pattern=pattern)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", ALWAYS),
        ("  \n", ALWAYS),
        ("model:gpt-4o", is_("model", "gpt-4o")),
        ("model:gpt-4o*", is_("model", "gpt-4o*", pattern=True)),
        ('model:"gpt-4o*"', is_("model", "gpt-4o*")),
        ("model=gpt-4o", is_("model", "gpt-4o")),
        ("model!=gpt-4o", Not(is_("model", "gpt-4o"))),
        ("tool:search,fetch", Either([is_("tool", "search"), is_("tool", "fetch")])),
        ('tool:"a b","c,d"', Either([is_("tool", "a b"), is_("tool", "c,d")])),
        ("cost>0.05", Compare("cost", ">", 0.05)),
        ("cost>=$0.05", Compare("cost", ">=", 0.05)),
        ("dur>30s", Compare("duration", ">", 30_000.0)),
        ("duration<=1.5h", Compare("duration", "<=", 5_400_000.0)),
        ("duration:250", Compare("duration", "=", 250.0)),
        ("tokens>12k", Compare("tokens", ">", 12_000.0)),
        ("cost:*", Compare("cost", "=", "*", pattern=True)),
        ("warn:exact_repeat", is_("warning", "exact_repeat")),
        ("env:prod", is_("environment", "prod")),
        ("attr.customer.tier:gold", is_("attr.customer.tier", "gold")),
        ("attr.http.status_code:500", is_("attr.http.status_code", "500")),
        ('"exact words"', is_("text", "exact words")),
        ("weather", is_("text", "weather")),
        ("weath*", is_("text", "weath*", pattern=True)),
        ("天气", is_("text", "天气")),
        ("الطقس", is_("text", "الطقس")),
        ("https://example.com/a", is_("text", "https://example.com/a")),
        (r'"say \"hi\" \\"', is_("text", 'say "hi" \\')),
        ("-tag:test", Not(is_("tag", "test"))),
        ("NOT tag:test", Not(is_("tag", "test"))),
        ("well-known", is_("text", "well-known")),
        ("id:895b*", is_("id", "895b*", pattern=True)),
        ("895B2786", Either([is_("text", "895B2786"), is_("id", "895b2786*", pattern=True)])),
        (
            "895b2786-0b38-c6f1-fef5-c8eaf92cffdb",
            Either(
                [
                    is_("text", "895b2786-0b38-c6f1-fef5-c8eaf92cffdb"),
                    is_("id", "895b27860b38c6f1fef5c8eaf92cffdb*", pattern=True),
                ]
            ),
        ),
        ('"895b2786"', is_("text", "895b2786")),
        ("895b278", is_("text", "895b278")),
        ("status:failed tool:search", Every([is_("status", "failed"), is_("tool", "search")])),
        ("status:failed AND tool:search", Every([is_("status", "failed"), is_("tool", "search")])),
        (
            "status:failed OR tool:search cost>1",
            Either([is_("status", "failed"), Every([is_("tool", "search"), Compare("cost", ">", 1.0)])]),
        ),
        (
            "(status:failed OR tool:search) cost>1",
            Every([Either([is_("status", "failed"), is_("tool", "search")]), Compare("cost", ">", 1.0)]),
        ),
        ("-(a b)", Not(Every([is_("text", "a"), is_("text", "b")]))),
    ],
)
def test_a_text_means(text: str, meaning: Condition) -> None:
    assert read_text(text) == meaning


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("status:failed modle:gpt-4o", 14, "did you mean 'model'"),
        ("status:faild", 7, "did you mean 'failed'"),
        ("status:failed,faild", 14, "did you mean 'failed'"),
        ("cost>cheap", 5, "number"),
        ("dur>3parsecs", 4, "unit"),
        ("model>gpt", 6, "text"),
        ("model:", 6, "nothing"),
        ("model: gpt", 6, "nothing"),
        ("tool:a,", 7, "nothing"),
        ('"never closed', 0, "closed"),
        ('tool:search "', 12, "closed"),
        ('name:""', 5, "nothing"),
        ("(a", 0, "closed"),
        ("a (b", 2, "closed"),
        ("a)", 1, "close"),
        ("()", 1, "missing"),
        ("a OR", 4, "missing"),
        ("OR a", 0, "between"),
        ("a AND OR b", 6, "between"),
        ("NOT", 3, "missing"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH, "deeper"),
        ("-" * (MAX_DEPTH + 1) + "a", MAX_DEPTH, "deeper"),
        ("a " * (MAX_TERMS + 1), 2 * MAX_TERMS, "terms"),
        ("a" * 5_000, 4_000, "longer"),
    ],
)
def test_an_error_names_the_character_at_which_it_is(text: str, at: int, says: str) -> None:
    with pytest.raises(QueryError) as raised:
        read_text(text)
    assert raised.value.at == at
    assert says in raised.value.detail


@given(st.text(alphabet=st.sampled_from('ab:,"()- *<>=!$\\.0') | st.characters(), max_size=60))
def test_any_text_is_a_filter_or_an_error_with_its_place(text: str) -> None:
    place: int | None = 0
    try:
        read_text(text)
    except QueryError as error:
        place = error.at
    assert place is not None
    assert 0 <= place <= len(text)
