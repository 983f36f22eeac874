"""The running API against its own OpenAPI document: whatever is asked, right or wrong, the answer is a declared one.

`make test-api` asks more of it than the suite does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from collector.api.app import routes_of
from collector.api.base import Api
from collector.api.declaring import Route
from collector.api.openapi import openapi_document
from collector.api.queries import FILTERS
from tests.corpus import select
from tests.sending import http_protobuf
from tests.server import TOKEN, Server

EXAMPLES = int(os.environ.get("EDDYLINE_EXAMPLES", "4"))
"""For each operation."""
WHOLE = EXAMPLES > 4
ONE_OF_EACH = ("model", "min_cost", "q", "since", "until")
"""Filters that stand for all others, which are read alike: to make examples of thirty parameters takes seconds."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def routes() -> Iterator[Route]:
    left_out = () if WHOLE else [one for one in FILTERS if one.name not in ONE_OF_EACH]
    for route in routes_of(Api.__new__(Api)):
        if route.endless:
            continue
        asked = None if route.parameters is None else [one for one in route.parameters if one not in left_out]
        yield replace(route, parameters=asked)


schema = schemathesis.openapi.from_dict(openapi_document(list(routes()), "0"))
schema.config.phases.coverage.enabled = WHOLE  # hundreds of requests for a route with many parameters


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector of its own: what is asked may create and delete."""
    running = Server(tmp_path_factory.mktemp("schemathesis") / "data").start()
    for scenario in select("openinference/openai/tools"):
        for file in scenario.traces:
            http_protobuf(running, file.read_bytes(), "default")
    running.settled()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def is_lenient(case: schemathesis.Case) -> bool:
    return any(route.lenient and route.path == case.operation.path for route in routes())


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not WHOLE,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_a_declared_one(asked: Server, case: schemathesis.Case) -> None:
    checks = [check for check in CHECKS if not (is_lenient(case) and check is negative_data_rejection)]
    case.call_and_validate(
        base_url=asked.endpoints["api"], headers={"Authorization": f"Bearer {TOKEN}"}, checks=checks
    )
