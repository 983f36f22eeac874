"""What X-Loop headers and the W3C context say of a call."""

from __future__ import annotations

from hashlib import sha256

import pytest

from collector.proxy.context import read_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def context(**headers: str):
    return read_context(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    )


@pytest.mark.parametrize(
    ("given", "trace_id", "external"),
    [
        (TRACE, TRACE, ""),
        (TRACE.upper(), TRACE, ""),
        ("0af76519-16cd-43dd-8448-eb211c80319c", TRACE, "0af76519-16cd-43dd-8448-eb211c80319c"),
        ("order 7", sha256(b"shop\0order 7").hexdigest()[:32], "order 7"),
        ("0" * 32, sha256(b"shop\0" + b"0" * 32).hexdigest()[:32], "0" * 32),
    ],
)
def test_a_trace_id_may_be_anything(given: str, trace_id: str, external: str) -> None:
    found = context(x_loop_project="shop", x_loop_traceid=given)
    assert (found.trace_id, found.external_trace) == (trace_id, external)


def test_a_parent_may_be_anything() -> None:
    assert context(x_loop_traceid=TRACE, x_loop_parentid=SPAN.upper()).parent_id == SPAN
    found = context(x_loop_traceid=TRACE, x_loop_parentid="step 1")
    assert found.parent_id == sha256(f"{TRACE}\0step 1".encode()).hexdigest()[:16]
    assert found.external_parent == "step 1"


def test_traceparent_places_a_call() -> None:
    found = context(traceparent=PARENT)
    assert (found.trace_id, found.parent_id, found.from_traceparent) == (TRACE, SPAN, True)


def test_our_trace_id_comes_before_traceparent_which_is_linked() -> None:
    found = context(traceparent=PARENT, x_loop_traceid="1" * 32)
    assert (found.trace_id, found.parent_id, found.link) == ("1" * 32, "", (TRACE, SPAN))


@pytest.mark.parametrize(
    "broken", ["", "00", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", "zz" + PARENT]
)
def test_a_broken_traceparent_says_nothing(broken: str) -> None:
    assert context(traceparent=broken).trace_id == ""


def test_labels_are_pairs_or_words() -> None:
    found = read_context(
        [(b"x-loop-custom-label", b"team=a, urgent"), (b"x-loop-custom-label", b"k=v=w,,=x")]
    )
    assert (found.labels, found.tags) == ({"team": "a", "k": "v=w"}, ["urgent"])


@pytest.mark.parametrize(
    ("asked", "level"), [("off", "off"), ("META", "meta"), ("full", "full"), ("more", "full")]
)
def test_capture_can_be_reduced(asked: str, level: str) -> None:
    assert context(x_loop_capture=asked).capture == level


def test_headers_of_ours_and_of_helicone() -> None:
    found = context(
        x_eddyline_project=" p ", x_loop_user="u", helicone_session_id="s", helicone_property_app="a"
    )
    assert (found.project, found.user, found.session, found.labels) == ("p", "u", "s", {"app": "a"})
