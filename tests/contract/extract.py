# SPDX-License-Identifier: Apache-2.0
"""Extract the facts of the specification's OpenAPI data into `openapi.json`.

Run by hand, with the directory of the specification that holds `content/` and `data/`, when the project
moves to a newer specification:

    python -m tests.contract.extract PATH_TO_SPEC

The extract holds facts alone (methods, paths, types, error codes), no prose and no examples, so that the
tests need no checkout of the specification. The output depends on nothing but the input: sorted, indented by
one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.contract.references import Schemas

EXTRACT = Path(__file__).with_name("openapi.json")
APIS = ("client-server", "server-server")
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
ERROR_CODE = re.compile(r"\bM_[A-Z]+(?:_[A-Z]+)*\b")
NOT_CODES = frozenset({"M_EXAMPLE_ERROR", "M_MISSING_PARAMS"})
"""The placeholder of the prose, and a slip of the pen for `M_MISSING_PARAM`."""

AUTH_OF_SCHEME = {
    "accessTokenBearer": "token",
    "appserviceAccessTokenBearer": "as_token",
    "signedRequest": "signed",
}
AUTH_CORRECTIONS = {
    # The data says `signedRequest`; the prose and the `membership` member speak of optional access tokens.
    ("client-server", "GET", "/_matrix/client/v1/room_summary/{roomIdOrAlias}"): "token?",
    # The data says `accessToken`, a scheme that it does not define; every endpoint of that section is signed.
    ("server-server", "GET", "/_matrix/federation/v1/timestamp_to_event/{roomId}"): "signed",
}


def extract(spec: Path) -> dict[str, Any]:
    """Return the extract of the specification under `spec`; raises `ValueError` for what it does not know."""
    schemas = Schemas()
    operations: dict[tuple[str, str, str], dict[str, Any]] = {}
    for api in APIS:
        for file in sorted((spec / "data" / "api" / api).glob("*.yaml")):
            for operation in operations_of(api, file, schemas):
                name = (operation["api"], operation["path"], operation["method"])
                operations[name] = (
                    join_forms(operations[name], operation) if name in operations else operation
                )
    return {
        "definitions": schemas.definitions,
        "errcodes": sorted(error_codes_of(spec)),
        "license": "Apache-2.0, after the OpenAPI data of the Matrix specification",
        "operations": [operations[name] for name in sorted(operations)],
    }


def operations_of(api: str, file: Path, schemas: Schemas) -> Iterator[dict[str, Any]]:
    """Yield every operation of one OpenAPI file."""
    document = schemas.load(file)
    base = document["servers"][0]["variables"]["basePath"]["default"]
    for path, methods in document["paths"].items():
        for method, node in methods.items():
            if method not in METHODS:
                raise ValueError(f"{file.name}: {path}: unknown member {method!r}")
            yield operation_of(api, method.upper(), base + path.strip(), node, file, schemas)


def operation_of(
    api: str, method: str, path: str, node: Mapping[str, Any], file: Path, schemas: Schemas
) -> dict[str, Any]:
    """Return the facts of one operation, the request body only where it has one."""
    operation = {
        "added": node.get("x-addedInMatrixVersion"),
        "api": api,
        "auth": AUTH_CORRECTIONS.get((api, method, path)) or auth_of(node.get("security", [])),
        "deprecated": node.get("deprecated", False),
        "files": [file.name],
        "ids": [node["operationId"]],
        "method": method,
        "parameters": parameters_of(node.get("parameters", []), file, schemas),
        "path": path,
        "responses": {
            str(status): response_of(status, response, file, schemas)
            for status, response in node["responses"].items()
        },
    }
    if "requestBody" in node:
        body, at = schemas.follow(node["requestBody"], file)
        operation["body"] = {
            "content": content_of(body["content"], at, schemas),
            "required": body.get("required", False),
        }
    return operation


def auth_of(security: list[dict[str, Any]]) -> str:
    """Return `none`, `token`, `token?` (optional), `as_token` or `signed`."""
    schemes = [AUTH_OF_SCHEME[scheme] for alternative in security for scheme in alternative]
    if not schemes:
        return "none"
    if len(schemes) > 1:
        raise ValueError(f"more than one security scheme: {security}")
    return schemes[0] + ("?" if {} in security else "")


def parameters_of(nodes: list[dict[str, Any]], file: Path, schemas: Schemas) -> list[dict[str, Any]]:
    """Return the parameters in path, query and headers, sorted by place and name."""
    parameters = []
    for node in nodes:
        parameter, at = schemas.follow(node, file)
        parameters.append(
            {
                "in": parameter["in"],
                "name": parameter["name"],
                "required": parameter.get("required", False),
                "schema": schemas.resolve(parameter["schema"], at),
            }
        )
    return sorted(parameters, key=lambda parameter: (parameter["in"], parameter["name"]))


def content_of(content: Mapping[str, Any], file: Path, schemas: Schemas) -> dict[str, Any]:
    """Return the schema of each media type."""
    return {
        media_type: schemas.resolve(media.get("schema", {}), file) for media_type, media in content.items()
    }


def response_of(status: str, node: Mapping[str, Any], file: Path, schemas: Schemas) -> dict[str, Any]:
    """Return a response's schemas and, if it is an error, the codes that its examples and text name."""
    response, at = schemas.follow(node, file)
    facts: dict[str, Any] = {"content": content_of(response.get("content", {}), at, schemas)}
    if int(status) >= 400:
        codes = set(ERROR_CODE.findall(response.get("description", "")))
        codes |= set(ERROR_CODE.findall(" ".join(_texts(response.get("content", {})))))
        facts["errcodes"] = sorted(codes - NOT_CODES)
    return facts


def join_forms(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return one operation for an endpoint that the specification describes twice: either form is right."""
    parameters = {(p["in"], p["name"]): p for p in other["parameters"]}
    parameters |= {(p["in"], p["name"]): p for p in one["parameters"]}
    in_both = {(p["in"], p["name"]) for p in one["parameters"]}
    in_both &= {(p["in"], p["name"]) for p in other["parameters"]}
    joined = {
        **one,
        "deprecated": one["deprecated"] and other["deprecated"],
        "files": sorted({*one["files"], *other["files"]}),
        "ids": sorted({*one["ids"], *other["ids"]}),
        "parameters": [
            {**parameters[key], "required": parameters[key]["required"] and key in in_both}
            for key in sorted(parameters)
        ],
        "responses": _join(one["responses"], other["responses"], _join_responses),
    }
    if "body" in one or "body" in other:
        joined["body"] = {
            "content": _join(one["body"]["content"], other["body"]["content"], _either),
            "required": one["body"]["required"] and other["body"]["required"],
        }
    return joined


def _join_responses(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    joined = {"content": _join(one["content"], other["content"], _either)}
    if "errcodes" in one:
        joined["errcodes"] = sorted({*one["errcodes"], *other["errcodes"]})
    return joined


def _join(one: dict[str, Any], other: dict[str, Any], both: Any) -> dict[str, Any]:
    return {
        key: both(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
        for key in sorted({*one, *other})
    }


def _either(one: Any, other: Any) -> Any:
    return one if one == other else {"anyOf": [one, other]}


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def error_codes_of(spec: Path) -> set[str]:
    """Return every error code that the client-server and server-server APIs name anywhere."""
    files = [
        *(spec / "content" / "client-server-api").rglob("*.md"),
        *(spec / "content").glob("server-server-api.md"),
        *(file for api in APIS for file in (spec / "data" / "api" / api).rglob("*.yaml")),
    ]
    codes = {code for file in files for code in ERROR_CODE.findall(file.read_text("utf-8"))}
    return codes - NOT_CODES


def as_text(extracted: Mapping[str, Any]) -> str:
    """Return the extract as it is kept in the repository."""
    return json.dumps(extracted, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the extract of the specification that the one argument names."""
    if len(arguments) != 1:
        print("usage: python -m tests.contract.extract PATH_TO_SPEC", file=sys.stderr)
        return 2
    try:
        text = as_text(extract(Path(arguments[0])))
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        print(f"cannot extract: {error!r}", file=sys.stderr)
        return 1
    EXTRACT.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
