# SPDX-License-Identifier: Apache-2.0
"""The operations of the extract as records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

import attrs

from tests.contract.extract import EXTRACT

Schema = Mapping[str, Any]

PATH_PARAMETER = re.compile(r"\{(\w+)\}")


@attrs.frozen
class Parameter:
    """A parameter in the `path`, the `query` or a `header`."""

    place: str
    name: str
    required: bool
    schema: Schema


@attrs.frozen
class Response:
    """A response by media type; a response without a body has none. `errcodes` are those documented."""

    content: Mapping[str, Schema]
    errcodes: frozenset[str]


@attrs.frozen(eq=False)
class Operation:
    """An endpoint of the specification: one method at one path."""

    api: str
    method: str
    path: str
    auth: str
    """`none`, `token`, `token?` (optional), `as_token` or `signed`."""
    added: str | None
    deprecated: bool
    files: tuple[str, ...]
    """The names of the OpenAPI files that describe it; a second one describes a second form."""
    ids: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    body_required: bool
    body_content: Mapping[str, Schema]
    responses: Mapping[int, Response]

    @property
    def name(self) -> str:
        """The method and the path, as tables and test names have it."""
        return f"{self.method} {self.path}"

    @property
    def body(self) -> Schema | None:
        """The schema of the JSON body, if it has one."""
        return self.body_content.get("application/json")

    def in_place(self, place: str) -> tuple[Parameter, ...]:
        """The parameters of the path or of the query."""
        return tuple(parameter for parameter in self.parameters if parameter.place == place)

    def path_with(self, values: Mapping[str, str]) -> str:
        """The path with its parameters percent-encoded into it; raises `KeyError` for one that is missing."""
        return PATH_PARAMETER.sub(lambda match: quote(values[match[1]], safe=""), self.path)


@attrs.frozen(eq=False)
class Extract:
    """All operations by name, the schemas they share, and every error code of the specification."""

    operations: Mapping[str, Operation]
    definitions: Mapping[str, Schema]
    errcodes: frozenset[str]


@cache
def specification() -> Extract:
    """Return the committed extract."""
    return read_extract(json.loads(EXTRACT.read_text("utf-8")))


def read_extract(extracted: Mapping[str, Any]) -> Extract:
    """Return the records of what `extract.py` wrote."""
    operations = [_operation(node) for node in extracted["operations"]]
    return Extract(
        operations={operation.name: operation for operation in operations},
        definitions=extracted["definitions"],
        errcodes=frozenset(extracted["errcodes"]),
    )


def _operation(node: Mapping[str, Any]) -> Operation:
    body = node.get("body", {"content": {}, "required": False})
    return Operation(
        api=node["api"],
        method=node["method"],
        path=node["path"],
        auth=node["auth"],
        added=node["added"],
        deprecated=node["deprecated"],
        files=tuple(node["files"]),
        ids=tuple(node["ids"]),
        parameters=tuple(
            Parameter(place=p["in"], name=p["name"], required=p["required"], schema=p["schema"])
            for p in node["parameters"]
        ),
        body_required=body["required"],
        body_content=body["content"],
        responses={int(status): _response(response) for status, response in node["responses"].items()},
    )


def _response(node: Mapping[str, Any]) -> Response:
    return Response(content=node["content"], errcodes=frozenset(node.get("errcodes", ())))
