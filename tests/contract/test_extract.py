# SPDX-License-Identifier: Apache-2.0
"""The extractor on small OpenAPI files, and what the committed extract must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.extract import EXTRACT, as_text, extract, main

SERVERS = """
servers:
  - url: "{protocol}://{hostname}{basePath}"
    variables:
      basePath:
        default: /_matrix/client/v3
"""

ERROR = """
type: object
title: Error
description: prose
properties:
  errcode: {type: string, description: prose, example: M_UNKNOWN}
  error: {type: string}
required: [errcode]
"""

KNOCK = f"""
paths:
  "/rooms/{{roomId}}/knock ":
    post:
      x-addedInMatrixVersion: "1.1"
      operationId: knock
      deprecated: true
      security: [{{}}, {{accessTokenBearer: []}}]
      parameters:
        - $ref: '#/components/parameters/via'
        - in: path
          name: roomId
          required: true
          schema: {{type: string, format: mx-room-id, pattern: "^!", example: "!a:b"}}
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              properties:
                b: {{$ref: definitions/tree.yaml}}
                a: {{type: string, enum: [x, y], description: prose}}
              required: [b, a]
      responses:
        "200":
          description: prose
          content:
            application/json:
              schema: {{allOf: [{{$ref: definitions/tree.yaml}}, {{type: object, title: t}}]}}
        "403":
          description: The `errcode` is `M_BAD_STATE`, never `M_EXAMPLE_ERROR`.
          content:
            application/json:
              schema: {{$ref: definitions/errors/error.yaml}}
              examples:
                response: {{value: {{errcode: M_FORBIDDEN, error: no}}}}
{SERVERS}
components:
  parameters:
    via:
      in: query
      name: via
      schema: {{type: array, items: {{type: string}}}}
"""

TREE = """
type: object
properties:
  children:
    type: array
    items: {$ref: tree.yaml}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A specification with one operation of the client-server API."""
    client = tmp_path / "data" / "api" / "client-server"
    (client / "definitions" / "errors").mkdir(parents=True)
    (client / "knock.yaml").write_text(KNOCK)
    (client / "definitions" / "tree.yaml").write_text(TREE)
    (client / "definitions" / "errors" / "error.yaml").write_text(ERROR)
    prose = tmp_path / "content" / "client-server-api"
    prose.mkdir(parents=True)
    (prose / "_index.md").write_text("`M_WEAK_PASSWORD`\n: prose. M_EXAMPLE_ERROR")
    return tmp_path


def the_operation(spec: Path) -> dict[str, Any]:
    (operation,) = extract(spec)["operations"]
    return operation


def test_the_facts_of_an_operation(spec: Path) -> None:
    operation = the_operation(spec)
    assert (operation["api"], operation["method"]) == ("client-server", "POST")
    assert operation["path"] == "/_matrix/client/v3/rooms/{roomId}/knock"
    assert (operation["auth"], operation["deprecated"], operation["added"]) == ("token?", True, "1.1")
    assert operation["ids"] == ["knock"]


def test_parameters_are_sorted_and_references_to_them_followed(spec: Path) -> None:
    assert the_operation(spec)["parameters"] == [
        {
            "in": "path",
            "name": "roomId",
            "required": True,
            "schema": {"type": "string", "format": "mx-room-id", "pattern": "^!"},
        },
        {
            "in": "query",
            "name": "via",
            "required": False,
            "schema": {"type": "array", "items": {"type": "string"}},
        },
    ]


def test_the_body_keeps_what_validates_and_drops_prose(spec: Path) -> None:
    assert the_operation(spec)["body"] == {
        "required": True,
        "content": {
            "application/json": {
                "type": "object",
                "required": ["a", "b"],
                "properties": {
                    "a": {"type": "string", "enum": ["x", "y"]},
                    "b": {"$ref": "#/definitions/client-server.tree"},
                },
            }
        },
    }


def test_a_schema_that_contains_itself_is_a_definition(spec: Path) -> None:
    tree = {"$ref": "#/definitions/client-server.tree"}
    assert extract(spec)["definitions"]["client-server.tree"] == {
        "type": "object",
        "properties": {"children": {"type": "array", "items": tree}},
    }
    success = the_operation(spec)["responses"]["200"]
    assert success == {"content": {"application/json": {"allOf": [tree, {"type": "object"}]}}}


def test_error_codes_come_from_examples_and_text(spec: Path) -> None:
    extracted = extract(spec)
    (operation,) = extracted["operations"]
    assert operation["responses"]["403"]["errcodes"] == ["M_BAD_STATE", "M_FORBIDDEN"]
    assert extracted["errcodes"] == ["M_BAD_STATE", "M_FORBIDDEN", "M_UNKNOWN", "M_WEAK_PASSWORD"]


def test_two_forms_of_one_endpoint_become_one_operation(spec: Path) -> None:
    other = f"""
paths:
  "/rooms/{{roomId}}/knock":
    post:
      operationId: knockAgain
      security: [{{}}, {{accessTokenBearer: []}}]
      parameters:
        - {{in: query, name: why, required: true, schema: {{type: string}}}}
      requestBody:
        content: {{application/json: {{schema: {{type: object, required: [c]}}}}}}
      responses:
        "200": {{description: prose}}
        "403": {{description: "M_UNKNOWN"}}
{SERVERS}
"""
    (spec / "data" / "api" / "client-server" / "knock_again.yaml").write_text(other)
    operation = the_operation(spec)
    assert operation["ids"] == ["knock", "knockAgain"]
    assert [(p["name"], p["required"]) for p in operation["parameters"]] == [
        ("roomId", False),
        ("via", False),
        ("why", False),
    ]
    assert operation["body"]["required"] is False
    forms = operation["body"]["content"]["application/json"]["anyOf"]
    assert [form["required"] for form in forms] == [["a", "b"], ["c"]]
    assert operation["responses"]["403"]["errcodes"] == ["M_BAD_STATE", "M_FORBIDDEN", "M_UNKNOWN"]


def test_a_keyword_that_nobody_thought_of_is_an_error(spec: Path) -> None:
    tree = spec / "data" / "api" / "client-server" / "definitions" / "tree.yaml"
    tree.write_text(TREE + "dependentRequired: {}\n")
    with pytest.raises(ValueError, match="dependentRequired"):
        extract(spec)


def test_the_same_input_gives_the_same_text(spec: Path) -> None:
    assert as_text(extract(spec)) == as_text(extract(spec))


def test_a_wrong_path_is_told_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = EXTRACT.read_bytes()
    (tmp_path / "data/api/client-server").mkdir(parents=True)
    (tmp_path / "data/api/client-server/bad.yaml").write_text("paths: [")
    assert main([str(tmp_path)]) == 1
    assert main([]) == 2
    assert "cannot extract" in capsys.readouterr().err
    assert EXTRACT.read_bytes() == before


def test_the_committed_extract_is_as_the_extractor_writes_it() -> None:
    text = EXTRACT.read_text("utf-8")
    assert as_text(json.loads(text)) == text


@pytest.mark.parametrize(("api", "endpoints"), [("client-server", 164), ("server-server", 36)])
def test_the_committed_extract_is_whole(api: str, endpoints: int) -> None:
    """The specification has 166 and 36 operations; two of the first are second forms of another."""
    operations = json.loads(EXTRACT.read_text("utf-8"))["operations"]
    assert len([operation for operation in operations if operation["api"] == api]) == endpoints
