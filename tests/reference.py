"""The reference of the API's routes, made from what they declare: `make reference` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collector.api.app import routes_of
from collector.api.base import Api
from collector.api.declaring import PATH_PARAMETERS, Answer, Route
from collector.api.parameters import Parameter, Type
from collector.api.queries import FILTERS

REFERENCE = "collector/api/README.md"
END = {False: ";", True: ", without end;"}
HEAD = """# The API's routes

Made from what the routes declare; `make reference` writes it anew. `/api/v1/openapi.json` says the same to programs,
with every field of every answer. How requests choose runs is told [one folder up](../README.md).

*Several* are alternatives, separated by commas. *Filters* are the parameters that choose runs; `!` stands before texts
that must not fit:

"""


def reference() -> str:
    """The whole page."""
    sections = [HEAD + "\n".join(_rows(FILTERS)) + "\n"]
    sections += [_section(route) for route in routes_of(Api.__new__(Api))]
    return "\n".join(sections)


def _section(route: Route) -> str:
    lines = [f"## {route.method} {route.path}", "", route.purpose, ""]
    needs = "no key" if route.scope is None else f"scope `{route.scope}`"
    told = [f"Needs {needs}."]
    if route.body is not None:
        told.append(f"Body: `{_name(route.body)}`.")
    told.append(
        "Answers " + ", ".join(_answer(answer) for answer in route.every_answer()) + END[route.endless]
    )
    told.append("problems " + ", ".join(map(str, route.every_problem())) + ".")
    lines += [" ".join(told), ""]
    rows = list(_rows([*_in_path(route.path), *_own(route)]))
    return "\n".join([*lines, *rows, ""] if rows else lines)


def _own(route: Route) -> list[Parameter]:
    declared = list(route.parameters or ())
    if not set(FILTERS) <= set(declared):
        return declared
    return [Parameter("Filters", ""), *(one for one in declared if one not in FILTERS)]


def _in_path(path: str) -> Iterator[Parameter]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield Parameter(f"{{{name}}}", PATH_PARAMETERS[name])


def _rows(parameters: Any) -> Iterator[str]:
    parameters = list(parameters)
    if parameters:
        yield "| parameter | type | meaning |"
        yield "| --- | --- | --- |"
    for parameter in parameters:
        if parameter.name == "Filters":
            yield "| *Filters* | | |"
        else:
            yield f"| `{parameter.name}` | {_type(parameter)} | {parameter.purpose} |"


def _type(parameter: Parameter) -> str:
    if parameter.choices:
        told = ", ".join(f"`{choice}`" for choice in parameter.choices)
    elif parameter.type is Type.INTEGER:
        told = f"{parameter.low} to {parameter.high}"
    else:
        told = parameter.type.value
    if parameter.many:
        told += "; several" if parameter.choices else ", several"
    return told if parameter.default is None else f"{told}; `{parameter.default}` if not given"


def _answer(answer: Answer) -> str:
    told = str(answer.status)
    if answer.model is not None:
        told += f" `{_name(answer.model)}`"
    if answer.media and answer.media != "application/json":
        told += f" as `{answer.media}`"
    return told


def _name(model: Any) -> str:
    return model.__name__ if isinstance(model, type) and "[" not in str(model) else _plain(str(model))


def _plain(text: str) -> str:
    return (
        re.sub(r"collector\.(?:\w+\.)+", "", text)
        .replace(" | ", " or ")
        .replace("dict[str, object]", "object")
    )


if __name__ == "__main__":
    (Path(__file__).parent.parent / REFERENCE).write_text(reference(), encoding="utf-8")
