"""The OpenAPI document says what the API does."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from collector.api.app import routes_of
from collector.api.base import Api
from collector.api.parameters import Parameter, Parameters, Type
from collector.api.problems import Problem
from tests import contract
from tests.server import Server


def test_the_document_is_valid_and_names_every_route(server: Server) -> None:
    from openapi_spec_validator import validate

    document = server.get("/openapi.json")
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
        (route["method"], route["path"]) for route in server.get("")["routes"]
    }


def test_operations_have_names_of_their_own_and_a_purpose() -> None:
    routes = routes_of(Api.__new__(Api))
    assert [name for name, count in Counter(r.endpoint.__name__ for r in routes).items() if count > 1] == []
    assert [route.path for route in routes if not route.purpose.endswith(".")] == []


def test_an_answer_with_a_field_that_is_not_declared_is_noticed() -> None:
    request = httpx.Request("GET", "http://collector/api/v1/tokens")
    contract.check(httpx.Response(200, json={"data": []}, request=request))
    for wrong in ({"data": [], "more": 1}, {"data": [{}]}, {}):
        with pytest.raises(AssertionError, match="tokens"):
            contract.check(httpx.Response(200, json=wrong, request=request))
    with pytest.raises(AssertionError, match="418"):
        contract.check(httpx.Response(418, json={}, request=request))


def test_every_answer_has_an_id_that_problems_name(server: Server) -> None:
    first, second = server.api.get("/api/v1"), server.api.get("/api/v1/nothing")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert second.json()["request_id"] == second.headers["x-request-id"]
    refused = httpx.get(server.endpoints["api"] + "/api/v1")
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_methods_are_told_and_head_is_get_without_its_body(server: Server) -> None:
    options = server.api.options("/api/v1/tokens")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    refused = server.api.put("/api/v1/tokens")
    assert (refused.status_code, refused.headers["allow"]) == (405, options.headers["allow"])
    head, get = server.api.head("/api/v1/status"), server.api.get("/api/v1/status")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


DECLARED = (
    Parameter("level", "", Type.INTEGER, low=1, high=3, default=2),
    Parameter("which", "", choices=("a", "b"), default="a"),
    Parameter("several", "", choices=("a", "b"), many=True),
    Parameter("on", "", Type.FLAG),
    Parameter("number", "", Type.INTEGER),
)


def test_what_is_not_given_is_as_declared() -> None:
    read = Parameters([], DECLARED, 0)
    assert (read.integer("level"), read.choice("which"), read.choices("several")) == (2, "a", ())
    assert read.flag("on") is False
    given = Parameters([("level", "3"), ("which", "b"), ("several", "b, a"), ("on", "true")], DECLARED, 0)
    assert (given.integer("level"), given.choice("which")) == (3, "b")
    assert (given.choices("several"), given.flag("on")) == (("b", "a"), True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", "4"), ("level", "٣"), ("which", "a,b"), ("several", "a,,b"), ("on", "yes"), ("other", "1")],
)
def test_what_is_not_declared_is_refused(name: str, value: str) -> None:
    with pytest.raises(Problem) as refused:
        Parameters([(name, value)], DECLARED, 0)
    assert refused.value.errors[0]["parameter"] == name
