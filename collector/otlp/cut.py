"""Some of a request's items as a request of their own, byte for byte."""

from __future__ import annotations

from collections.abc import Collection

from collector.otlp import messages


def cut(body: bytes, places: Collection[int]) -> bytes:
    """The request with only these items, counted from 0 in the order in which they are decoded."""
    whole = messages.RequestSkeleton.FromString(body)
    part = messages.RequestSkeleton()
    number = 0
    for resource in whole.resources:
        of_resource = None
        for scope in resource.scopes:
            kept = [raw for place, raw in enumerate(scope.items, number) if place in places]
            number += len(scope.items)
            if not kept:
                continue
            if of_resource is None:
                of_resource = part.resources.add(resource=resource.resource, schema_url=resource.schema_url)
            of_resource.scopes.add(scope=scope.scope, items=kept, schema_url=scope.schema_url)
    serialized: bytes = part.SerializeToString()
    return serialized


def count(body: bytes) -> int:
    """How many items a request has."""
    request = messages.RequestSkeleton.FromString(body)
    return sum(len(scope.items) for resource in request.resources for scope in resource.scopes)
